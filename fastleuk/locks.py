"""Locks between processes, and who holds them. A lock file is never removed.

Whoever removes a lock file leaves those that wait on it with a lock that nobody else sees. So the
files stay: they are empty and cost nothing. A process that ends in any way, ``kill -9`` included,
gives its locks up, since the system does that.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from fastleuk.files import write_json

GRACE = 0.5
"""Seconds that :func:`owned` tries: :func:`is_held` takes a lock for an instant."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that holds a lock, or held it when it was killed."""

    host: str
    pid: int
    since: str
    """Local time, ``YYYY-MM-DD HH:MM:SS``."""

    def __str__(self) -> str:
        return f"{self.host} pid {self.pid} since {self.since}"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``; waits until whoever holds it has done.

    Raises:
        OSError: the file can't be made.
    """
    with FileLock(path):
        yield


@contextmanager
def owned(path: Path, *, busy: Callable[[str], Exception]) -> Iterator[None]:
    """Hold the lock file ``path``, and let others read who does; nobody waits for it.

    Args:
        path: Ends in ``.lock``; the owner stands beside it, in ``.owner``.
        busy: Makes the error for a lock that is held, of the owner's description.

    Raises:
        OSError: the file can't be made.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=GRACE)
    except Timeout:
        raise busy(str(read_owner(path) or "another process")) from None
    owner = _owner_file(path)
    try:
        mine = Owner(socket.gethostname(), os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S"))
        write_json(owner, asdict(mine))
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def is_held(path: Path) -> bool:
    """Say whether a process holds the lock file ``path``; not to be asked by the one that does.

    Raises:
        OSError: the file can't be opened for writing, so that can't be known.
    """
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def read_owner(path: Path) -> Owner | None:
    """Return who holds the lock file ``path``, or was killed while it did; None: nobody known."""
    try:
        found = json.loads(_owner_file(path).read_text(encoding="utf-8"))
        return Owner(str(found["host"]), int(found["pid"]), str(found["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _owner_file(path: Path) -> Path:
    return path.with_suffix(".owner")
