"""Fill the decoded cache from uncompressed BMPs without DALI: much faster, with equal pixels."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from fastleuk.augment.appliers.compiled.cpu_resize import level_sums, resize_rows
from fastleuk.data.dataset import DataSet
from fastleuk.data.decoded.read import SOURCE
from fastleuk.data.decoded.write import Decoded
from fastleuk.data.images.bmp import HEADER, BmpLayout, read_layout
from fastleuk.data.shards.read import ImageReader, read_header
from fastleuk.errors import DataError
from fastleuk.memory import keep_freed_memory

AHEAD = 2
"""Pieces that are decoded while one is written."""

_Running = tuple[np.ndarray | list[np.ndarray], list[Future]]
"""The images of a piece, and the mean colours to be, each there when its image is."""


def uncompressed_cuts(dataset: DataSet, cuts: list[np.ndarray], workers: int) -> list[bool]:
    """Say which of the ``cuts``, rows of the manifest, are uncompressed BMPs that aren't cropped.

    Only headers are read. A file that can't be read is not one; its error is raised later.
    """
    manifest = dataset.manifest

    def is_uncompressed(row: int) -> bool:
        if manifest.crops[row] or (manifest.needs_pil is not None and manifest.needs_pil[row]):
            return False
        try:
            return read_layout(read_header(manifest.file(row), HEADER)) is not None
        except (OSError, DataError):
            return False

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda cut: all(is_uncompressed(int(row)) for row in cut), cuts))


def decode_uncompressed(
    dataset: DataSet, cuts: list[np.ndarray], *, size: int, workers: int
) -> Iterator[Decoded]:
    """Read, resize and average uncompressed BMPs.

    Args:
        dataset: The images.
        cuts: Rows of the manifest, for which :func:`uncompressed_cuts`.
        size: Edge in pixels, or :data:`~fastleuk.data.decoded.read.SOURCE`.
        workers: Threads.

    Yields:
        Each cut decoded, in order.

    Raises:
        DataError: a file isn't what it was when it was verified; it is named.
    """
    keep_freed_memory()
    own = threading.local()

    def start() -> None:
        own.reader = ImageReader()

    def one(row: int, output: np.ndarray) -> np.ndarray:
        data, layout = _read(dataset, row, own.reader)
        resize_rows(output, data, layout)
        return level_sums(output) / (output.shape[0] * output.shape[1])

    def submit(pool: ThreadPoolExecutor, cut: np.ndarray) -> _Running:
        images: np.ndarray | list[np.ndarray]
        if size == SOURCE:
            images = [np.empty((*sides[::-1], 3), np.uint8) for sides in dataset.sizes[cut]]
        else:
            images = np.empty((len(cut), size, size, 3), np.uint8)
        return images, [pool.submit(one, row, images[i]) for i, row in enumerate(cut.tolist())]

    running: deque[_Running] = deque()
    pool = ThreadPoolExecutor(workers, initializer=start)
    try:
        for cut in cuts:
            running.append(submit(pool, cut))
            if len(running) > AHEAD:
                yield _finished(*running.popleft())
        while running:
            yield _finished(*running.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(images: np.ndarray | list[np.ndarray], means: list[Future]) -> Decoded:
    return images, np.array([mean.result() for mean in means], np.float32)


def _read(dataset: DataSet, row: int, reader: ImageReader) -> tuple[np.ndarray, BmpLayout]:
    file = dataset.manifest.file(row)
    try:
        data = reader.read(file)
    except OSError as error:
        raise _changed(str(file), f"can't be read: {error.strerror or error}") from error
    layout = read_layout(data.data)
    if layout is None or layout.length > len(data):
        raise _changed(str(file), "is no whole BMP any more")
    if (layout.width, layout.height) != tuple(dataset.sizes[row]):
        raise _changed(str(file), f"has {layout.width}x{layout.height} pixels now")
    return data, layout


def _changed(file: str, how: str) -> DataError:
    return DataError(f"{file} was readable when the run started, but {how}. Restore it.")
