"""The CPU's kernel on one image, as the appliers call it."""

import numpy as np

from fastleuk.augment.appliers.compiled.on_arrays import image_table, load_kernel


def kernel_levels(pixels: np.ndarray, row: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Levels ``(size, size, 3)`` of uint8 RGB of that shape."""
    size = len(pixels)
    output = np.zeros((1, size, size, 3), np.float32)
    table = image_table([pixels], [kernel], size)
    one, zero = np.ones(3, np.float32), np.zeros(3, np.float32)
    load_kernel().augment_batch(output, False, table, row[None], zero, one, 0, 1)
    return output[0]
