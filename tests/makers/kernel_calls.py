"""The CPU's kernel on one image, as the appliers call it."""

import numpy as np

from fastleuk.augment.appliers.compiled.on_arrays import image_place, load_kernel


def kernel_levels(pixels: np.ndarray | bytes, row: np.ndarray, kernel: np.ndarray, size: int):
    """Levels ``(size, size, 3)`` of uint8 RGB, or of the bytes of a BMP."""
    if isinstance(pixels, bytes):
        pixels = np.frombuffer(pixels, np.uint8).copy()
    output = np.zeros((1, size, size, 3), np.float32)
    table = np.array([image_place(pixels, kernel)])
    one, zero = np.ones(3, np.float32), np.zeros(3, np.float32)
    load_kernel().augment_batch(output, False, table, row[None], one, zero, 0, 1)
    return output[0]
