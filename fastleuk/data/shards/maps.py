"""Mapped shards, as many at a time as the system lets a process keep open."""

from __future__ import annotations

import mmap
import os
import resource
import threading
import weakref
from collections import OrderedDict
from pathlib import Path

import numpy as np

_MOST = 512
"""Maps; each holds a file descriptor for as long as anybody views it."""


class Maps:
    """Maps files when they are read, and lets go of those that were not read for the longest.

    A view keeps its map, and so its descriptor, alive. Where views do that for more files than
    :attr:`limit`, further ones are copied.
    """

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[Path, tuple[int, int]], mmap.mmap] = OrderedDict()
        self._alive: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
        self._lock = threading.Lock()
        # A worker forked while another thread holds the lock would wait for ever.
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    @property
    def limit(self) -> int:
        """How many maps may be alive: a quarter of the files that the process may open."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return _MOST if soft == resource.RLIM_INFINITY else max(1, min(_MOST, soft // 4))

    @property
    def alive(self) -> int:
        """The number of files that are mapped now."""
        return len(self._alive)

    def read(self, path: Path, stamp: tuple[int, int], start: int, size: int) -> np.ndarray:
        """Return ``size`` bytes from ``start`` on, read-only: uint8 ``(size,)``.

        Args:
            path: The file.
            stamp: What sets this state of it apart from a later one.
            start: Offset in bytes.
            size: Number of bytes.

        Raises:
            OSError: the file can't be read.
            ValueError: it is shorter.
        """
        if not size:
            return np.frombuffer(b"", np.uint8)
        with self._lock:
            mapped = self._get(path, stamp)
        if mapped is not None:
            return np.frombuffer(mapped, np.uint8, count=size, offset=start)
        with path.open("rb") as file:
            data = os.pread(file.fileno(), size, start)
        return np.frombuffer(data, np.uint8, count=size)

    def _get(self, path: Path, stamp: tuple[int, int]) -> mmap.mmap | None:
        key = (path, stamp)
        if key in self._open:
            self._open.move_to_end(key)
            return self._open[key]
        limit = self.limit
        while self._open and len(self._alive) >= limit:
            self._open.popitem(last=False)
        if len(self._alive) >= limit:
            return None
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._open[key] = mapped
        self._alive.add(mapped)
        return mapped


MAPS = Maps()
