"""The CPU's kernel on arrays, without DALI: what is read by address is looked at here."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import numpy as np

from fastleuk.augment.appliers.lowering import compiled_arrays
from fastleuk.augment.appliers.row import ROW
from fastleuk.augment.params import AugmentParams
from fastleuk.errors import ConfigError, MissingDependencyError


def levels(images: Sequence[np.ndarray], params: AugmentParams) -> np.ndarray:
    """Augment images from their own pixels.

    Args:
        images: uint8 RGB ``(H, W, 3)``; none that is to be resized first.
        params: A row for each.

    Returns:
        ``(N, size, size, 3)`` float32, levels from 0 to 255.

    Raises:
        MissingDependencyError: numba is not installed.
    """
    arrays = compiled_arrays(params)
    kernels = [np.ascontiguousarray(kernel) for kernel in arrays["kernel"]]
    images = [np.ascontiguousarray(image) for image in images]
    table = np.array([image_place(*pair) for pair in zip(images, kernels, strict=True)])
    outputs = np.empty((len(images), params.size, params.size, 3), np.float32)
    one, zero = np.ones(3, np.float32), np.zeros(3, np.float32)
    rows = checked_rows(list(arrays["row"]))
    load_kernel().augment_batch(outputs, False, table, rows, one, zero, 0, 1)
    return outputs


def image_place(image: np.ndarray, kernel: np.ndarray) -> tuple[int, ...]:
    """Where an image, or a file's bytes, and its kernel lie: see the kernel's ``augment_batch``.

    What the kernel reads by its address is looked at here; nothing behind this checks anything.
    """
    of_image = image.ndim == 3 and image.shape[2] == 3 and image.size > 0
    if image.dtype != np.uint8 or not (of_image or image.ndim == 1):
        raise ConfigError(
            "the applier compiled takes uint8 images (H, W, 3), RGB, or the bytes of files, got "
            f"{image.dtype} of the shape {image.shape}"
        )
    edge = len(kernel)
    if kernel.dtype != np.float32 or kernel.shape != (edge, edge) or edge % 2 == 0:
        raise ConfigError(
            f"a kernel must be float32 and square, of an odd edge, got {kernel.dtype} of the shape "
            f"{kernel.shape}: param_nodes must be those of the applier compiled"
        )
    shape = (0, len(image)) if image.ndim == 1 else image.shape[:2]
    return _address(image), *shape, _address(kernel), edge


def checked_rows(rows: list[np.ndarray]) -> np.ndarray:
    """``(N, ROW)`` float32, checked."""
    stacked = np.stack(rows)
    if stacked.dtype != np.float32 or stacked.shape[1:] != (ROW,):
        raise ConfigError(
            f"rows must be float32 of {ROW} numbers, got {stacked.dtype} of the shape "
            f"{stacked.shape[1:]}: param_nodes must be those of the applier compiled"
        )
    return stacked


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def load_kernel() -> ModuleType:
    """Import the kernel; numba loads what it compiled once from its cache on the disk.

    Raises:
        MissingDependencyError: numba is not installed, or doesn't go with this NumPy.
    """
    try:
        from fastleuk.augment.appliers.compiled import cpu_batch as kernel
    except (ImportError, RuntimeError) as error:  # the latter: no folder for its cache
        raise MissingDependencyError(
            f"The applier compiled needs numba ({error}): pip install 'fastleuk[cpu]', or use "
            "the applier fused."
        ) from error
    return kernel


def has_kernel() -> bool:
    """Whether the kernel can be had: numba is installed and has a folder for its cache."""
    try:
        load_kernel()
    except MissingDependencyError:
        return False
    return True
