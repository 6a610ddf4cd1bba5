"""Images through the runs, batch by batch: files are read ahead, networks never wait for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from fastleuk.loading.images.encoded import BadImage, Encoded, encode_file
from fastleuk.predict.ensemble import Ensemble, Prepared, Scored
from fastleuk.predict.inputs import Item

AHEAD = 2
"""Batches that are read and decoded while the networks are at one."""


def score_items(ensemble: Ensemble, items: Iterable[Item]) -> Iterator[tuple[list[Item], Scored]]:
    """Yield images and what the runs say of them, a batch at a time, in order.

    A batch is always the same images, whether one of them can be read or not: figures don't depend
    on where a command was stopped and resumed. At most :data:`AHEAD` + 1 batches are held.

    Args:
        ensemble: The runs.
        items: The images.
    """
    source, size = iter(items), ensemble.batch_size
    readers = ThreadPoolExecutor(ensemble.workers, thread_name_prefix="read")
    preparer = ThreadPoolExecutor(1, thread_name_prefix="prepare")
    waiting: deque[tuple[list[Item], Future[Prepared]]] = deque()

    def prepare(reading: list[Future[Encoded | str]]) -> Prepared:
        return ensemble.prepare([image.result() for image in reading])

    def begin() -> None:
        batch = list(islice(source, size))
        if batch:
            reading = [readers.submit(_read, item) for item in batch]
            waiting.append((batch, preparer.submit(prepare, reading)))

    try:
        for _ in range(AHEAD + 1):
            begin()
        while waiting:
            batch, future = waiting.popleft()
            prepared = future.result()
            begin()
            yield batch, ensemble.score(prepared)
    finally:
        preparer.shutdown(cancel_futures=True, wait=False)
        readers.shutdown(cancel_futures=True)
        preparer.shutdown()


def _read(item: Item) -> Encoded | str:
    if item.problem:
        return item.problem
    try:
        return encode_file(item.file, crop=item.crop)
    except BadImage as reason:
        return str(reason)
