"""Locks between processes, and who holds them. A lock file is never removed.

Whoever removes a lock file leaves those that wait on it with a lock that nobody else sees. So the
files stay: they are empty and cost nothing. A process that ends in any way, ``kill -9`` included,
gives its locks up, since the system does that. On a file system without flock (Lustre without
``-o flock``, NFS without lockd), work continues without locks, and a line reports it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from fastleuk.files import write_json
from fastleuk.run_log import say

_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
_POLL = 0.05
"""Seconds between two tries to lock a file."""
_without_locks: set[int] = set()
"""Devices that were reported."""

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


def try_lock(descriptor: int, path: Path) -> bool:
    """Lock an open file until it is closed; return False where another process holds the lock.

    A file system that has no locks is reported once, and True returned.

    Args:
        descriptor: Of the file, open for writing.
        path: Of the file, for the report.
    """
    try:
        return _flock(descriptor)
    except OSError as error:
        device = os.fstat(descriptor).st_dev
        if device not in _without_locks:
            _without_locks.add(device)
            say(
                f"note: {path}: this file system has no locks ({error.strerror}), so work continues"
                " without. Run one command at a time there."
            )
        return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``; waits until whoever holds it has done.

    Raises:
        OSError: the file can't be made.
    """
    with _held(path, float("inf")):
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
    with _held(path, GRACE) as held:
        if not held:
            raise busy(str(read_owner(path) or "another process"))
        owner = _owner_file(path)
        try:
            mine = Owner(socket.gethostname(), os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S"))
            write_json(owner, asdict(mine))
            yield
        finally:
            owner.unlink(missing_ok=True)


def is_held(path: Path) -> bool:
    """Say whether a process holds the lock file ``path``; not to be asked by the one that does.

    Raises:
        OSError: the file can't be opened for writing, or the file system has no locks, so that
            can't be known.
    """
    if not path.exists():
        return False
    with _opened(path) as descriptor:
        return not _flock(descriptor)


@contextmanager
def _held(path: Path, timeout: float) -> Iterator[bool]:
    """Yield True with the lock, or False where it is held for ``timeout`` seconds."""
    until = time.monotonic() + timeout
    with _opened(path) as descriptor:
        while not (free := try_lock(descriptor, path)) and time.monotonic() < until:
            time.sleep(_POLL)
        yield free


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open a lock file; its lock is given up at the end, in forked children, too."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield descriptor
    finally:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _flock(descriptor: int) -> bool:
    """Lock an open file; return False where it is locked already.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise
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
