"""The compiled kernel inside a DALI graph, on the CPU: ``compiled``.

DALI reads, decodes and resizes; the nine steps and the normalisation of a batch are one call
of a function, which shares the images among as many threads as the pipeline has. The kernel
runs outside Python's lock.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import numpy as np

from fastleuk.augment.appliers.compiled.row import ROW
from fastleuk.augment.appliers.exact import DataNode, Params, Pipeline, fn, resize_large
from fastleuk.augment.sampling import is_resized_first
from fastleuk.data.images.bmp import read_layout
from fastleuk.errors import ConfigError, MissingDependencyError


def augment_and_normalize(
    images: DataNode, params: Params, mean: Sequence[float], std: Sequence[float], layout: str
) -> DataNode:
    """The whole chain, then ``(levels - mean) / std``.

    Args:
        images: ``(H, W, 3)`` uint8 on the CPU, any size.
        params: Of :func:`fastleuk.augment.appliers.lowering.compiled_arrays`, and ``size``,
            ``resized``.
        mean: Of each channel, in levels.
        std: Likewise.
        layout: ``HWC`` or ``CHW``.

    Returns:
        ``(size, size, 3)`` or ``(3, size, size)`` float32.

    Raises:
        MissingDependencyError: numba is not installed.
    """
    size = params["size"]
    if not params["resized"]:
        images = resize_large(images, size)
    return _apply(images, params, mean, std, layout)


def augment_and_normalize_bmp(
    encoded: DataNode, params: Params, mean: Sequence[float], std: Sequence[float], layout: str
) -> DataNode:
    """As :func:`augment_and_normalize`, from the bytes of files for which :func:`is_plain_bmp`.

    Nothing decodes them: the kernel reads the rows where they lie. An image whose file is no
    plain BMP any more becomes NaN.
    """
    return _apply(encoded, params, mean, std, layout)


def is_plain_bmp(header: bytes, size: int) -> bool:
    """Whether the kernel can read a file from its bytes, for an output of ``size`` pixels.

    Args:
        header: The file's first :data:`fastleuk.data.images.bmp.HEADER` bytes.
        size: Edge of the output; images that :func:`.sampling.is_resized_first` are to be decoded
            and resized instead.
    """
    layout = read_layout(header)
    return layout is not None and not is_resized_first(layout.height, layout.width, size)


def _apply(
    inputs: DataNode,
    params: Params,
    mean: Sequence[float],
    std: Sequence[float],
    layout: str,
) -> DataNode:
    factor = 1 / np.asarray(std, np.float32)
    offset = -np.asarray(mean, np.float32) * factor
    return fn.python_function(
        inputs,
        params["row"],
        params["kernel"],
        function=_batch_function(params["size"], layout, factor, offset, _threads()),
        batch_processing=True,
        num_outputs=1,
        output_layouts=layout,
        device="cpu",
    )


def _batch_function(
    size: int, layout: str, factor: np.ndarray, offset: np.ndarray, threads: int
) -> Callable[..., list[np.ndarray]]:
    augment_batch = load_kernel().augment_batch
    pool = _pool(threads)
    planar = layout == "CHW"
    shape = (3, size, size) if planar else (size, size, 3)

    def run(
        images: list[np.ndarray], rows: list[np.ndarray], kernels: list[np.ndarray]
    ) -> list[np.ndarray]:
        outputs = np.empty((len(images), *shape), np.float32)
        images = [np.ascontiguousarray(image) for image in images]
        kernels = [np.ascontiguousarray(kernel) for kernel in kernels]
        pointers = np.array([_pointers(*pair) for pair in zip(images, kernels, strict=True)])
        given = outputs, planar, pointers, _rows(rows), factor, offset
        pool.each(lambda first: augment_batch(*given, first, threads))
        return list(outputs)

    return run


def _pointers(image: np.ndarray, kernel: np.ndarray) -> tuple[int, ...]:
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


def _rows(rows: list[np.ndarray]) -> np.ndarray:
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
        from fastleuk.augment.appliers.compiled import cpu as kernel
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


def _threads() -> int:
    pipeline = Pipeline.current()
    return max(1, pipeline.num_threads if pipeline is not None else 1)


class _Pool:
    """Threads that wait for work, started by the first of it in every process."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pid, self._executor = 0, None  # type: int, ThreadPoolExecutor | None

    def each(self, work: Callable[[int], object]) -> None:
        """Call ``work`` with 0, 1, … in as many threads, and wait for all."""
        executor = self._executor
        if executor is None or self._pid != os.getpid():  # a fork copies no threads
            executor = ThreadPoolExecutor(self._threads, thread_name_prefix="fastleuk-augment")
            self._executor, self._pid = executor, os.getpid()
        list(executor.map(work, range(self._threads)))


_pools: weakref.WeakValueDictionary[int, _Pool] = weakref.WeakValueDictionary()


def _pool(threads: int) -> _Pool:
    """The pool of all pipelines that want as many threads; it ends with the last of them."""
    pool = _pools.get(threads)
    if pool is None:
        pool = _pools[threads] = _Pool(threads)
    return pool
