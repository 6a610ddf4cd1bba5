"""The CPU's kernels on arrays, without DALI; arguments are checked before addresses are read."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType

import numpy as np

from fastleuk.augment.appliers.lowering import compiled_arrays
from fastleuk.augment.appliers.row import ROW
from fastleuk.augment.params import AugmentParams
from fastleuk.errors import ConfigError, MissingDependencyError


def levels(images: Sequence[np.ndarray], params: AugmentParams) -> np.ndarray:
    """Resize and augment images.

    Args:
        images: uint8 RGB ``(H, W, 3)``, of any sizes.
        params: A row for each.

    Returns:
        ``(N, size, size, 3)`` float32, levels from 0 to 255.

    Raises:
        MissingDependencyError: numba is not installed.
    """
    kernel, resize = load_kernel(), load_resize()
    arrays = compiled_arrays(params)
    kernels = [np.ascontiguousarray(kernel) for kernel in arrays["kernel"]]
    images = [np.ascontiguousarray(resize.resize_image(i, params.size)) for i in images]
    table = image_table(images, kernels, params.size)
    outputs = np.empty((len(images), params.size, params.size, 3), np.float32)
    one, zero = np.ones(3, np.float32), np.zeros(3, np.float32)
    rows = checked_rows(list(arrays["row"]))
    kernel.augment_batch(outputs, False, table, rows, zero, one, 0, 1)
    return outputs


def image_table(
    images: Sequence[np.ndarray], kernels: Sequence[np.ndarray], size: int
) -> np.ndarray:
    """Return the addresses that ``augment_batch`` of the kernel reads, which checks nothing itself.

    Args:
        images: ``(size, size, 3)`` uint8, contiguous.
        kernels: For each image ``(k, k)`` float32, contiguous.
        size: Edge of the output.

    Returns:
        ``(N, 3)`` int64, valid as long as the arrays live.

    Raises:
        ConfigError: an array has another type or shape.
    """
    return np.array([_addresses(*pair, size) for pair in zip(images, kernels, strict=True)])


def _addresses(image: np.ndarray, kernel: np.ndarray, size: int) -> tuple[int, int, int]:
    if image.dtype != np.uint8 or image.shape != (size, size, 3):
        raise ConfigError(
            f"the applier compiled takes uint8 images ({size}, {size}, 3), RGB, got "
            f"{image.dtype} of the shape {image.shape}"
        )
    edge = len(kernel)
    if kernel.dtype != np.float32 or kernel.shape != (edge, edge) or edge % 2 == 0:
        raise ConfigError(
            f"a kernel must be float32 and square, of an odd edge, got {kernel.dtype} of the shape "
            f"{kernel.shape}: param_nodes must be those of the applier compiled"
        )
    if not (image.flags.c_contiguous and kernel.flags.c_contiguous):
        raise ConfigError("images and kernels must be contiguous arrays")
    return _address(image), _address(kernel), edge


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
    """Import the kernel; numba loads the machine code from its cache on the disk.

    Raises:
        MissingDependencyError: numba is not installed, or doesn't go with this NumPy.
    """
    return _import("cpu_batch")


def load_resize() -> ModuleType:
    """Import :mod:`.cpu_resize`; as :func:`load_kernel`."""
    return _import("cpu_resize")


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"fastleuk.augment.appliers.compiled.{name}")
    except (ImportError, RuntimeError) as error:  # the latter: no folder for its cache
        raise MissingDependencyError(
            f"The applier compiled needs numba ({error}): pip install 'fastleuk[cpu]', or use "
            "the applier fused."
        ) from error


def has_kernel() -> bool:
    """Check that numba is installed and has a folder for its cache."""
    try:
        load_kernel()
    except MissingDependencyError:
        return False
    return True
