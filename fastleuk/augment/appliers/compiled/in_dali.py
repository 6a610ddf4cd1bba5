"""The compiled kernels inside a DALI graph, on the CPU: ``compiled``, and the resize of plain BMPs.

The nine steps and the normalization of a batch are one call of a function, which shares the images
among as many threads as the pipeline has. The kernels run outside Python's lock.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from fastleuk.augment.appliers.compiled.on_arrays import (
    checked_rows,
    image_table,
    load_kernel,
    load_resize,
)
from fastleuk.augment.appliers.exact import DataNode, Params, Pipeline, fn


def augment_and_normalize(
    images: DataNode, params: Params, mean: Sequence[float], std: Sequence[float], layout: str
) -> DataNode:
    """Apply the whole chain, then ``(levels - mean) / std``.

    Args:
        images: ``(size, size, 3)`` uint8 on the CPU.
        params: Of :func:`fastleuk.augment.appliers.lowering.compiled_arrays`, and ``size``.
        mean: Of each channel, in levels.
        std: Likewise.
        layout: ``HWC`` or ``CHW``.

    Returns:
        ``(size, size, 3)`` or ``(3, size, size)`` float32.

    Raises:
        MissingDependencyError: numba is not installed.
    """
    levels, factor = np.asarray(mean, np.float32), 1 / np.asarray(std, np.float32)
    return fn.python_function(
        images,
        params["row"],
        params["kernel"],
        function=_batch_function(params["size"], layout, levels, factor, _threads()),
        batch_processing=True,
        num_outputs=1,
        output_layouts=layout,
        device="cpu",
    )


def _batch_function(
    size: int, layout: str, mean: np.ndarray, factor: np.ndarray, threads: int
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
        table = image_table(images, kernels, size)
        given = outputs, planar, table, checked_rows(rows), mean, factor
        pool.each(lambda first: augment_batch(*given, first, threads))
        return list(outputs)

    return run


def resize_bmps(encoded: DataNode, *crops: DataNode, size: int) -> DataNode:
    """Read plain BMPs from their bytes and resize them; equal to DALI's decoder and resize.

    Args:
        encoded: ``(B,)`` uint8 on the CPU, the bytes of a file.
        crops: One node or none, as :func:`fastleuk.loading.decode.dali.decode_bytes` takes it.
        size: Edge of the output.

    Returns:
        ``(size, size, 3)`` uint8 RGB. The run fails on a file that is no plain BMP.

    Raises:
        MissingDependencyError: numba is not installed.
    """
    resize_bmp, threads = load_resize().resize_bmp, _threads()
    pool = _pool(threads)

    def run(files: list[np.ndarray], sides: Sequence[np.ndarray] = ()) -> list[np.ndarray]:
        outputs = np.empty((len(files), size, size, 3), np.uint8)
        kept = [int(side) for side in sides] or [0] * len(files)

        def share(first: int) -> None:
            for i in range(first, len(files), threads):
                resize_bmp(outputs[i], files[i], kept[i])

        pool.each(share)
        return list(outputs)

    return fn.python_function(
        encoded,
        *crops,
        function=run,
        batch_processing=True,
        num_outputs=1,
        output_layouts="HWC",
        device="cpu",
    )


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
