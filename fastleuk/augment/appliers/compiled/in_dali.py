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

import numpy as np

from fastleuk.augment.appliers.compiled.on_arrays import checked_rows, image_place, load_kernel
from fastleuk.augment.appliers.exact import DataNode, Params, Pipeline, fn, resize_large
from fastleuk.augment.sampling import is_resized_first
from fastleuk.data.images.bmp import read_layout


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
        table = np.array([image_place(*pair) for pair in zip(images, kernels, strict=True)])
        given = outputs, planar, table, checked_rows(rows), factor, offset
        pool.each(lambda first: augment_batch(*given, first, threads))
        return list(outputs)

    return run


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
