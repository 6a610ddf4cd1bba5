"""Unfinished folders: demo sets and shards that are being written, or that a killed process left.

A folder that is being written is noted in the user's cache folder with the process that writes
it. Where that process is no more, ``fastleuk cache`` lists it as
left over, and clears it.
Where it lives, or runs on another machine and has written something in the last day, the folder is
not touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastleuk.data.user_cache.folder import cache_root
from fastleuk.errors import DataError
from fastleuk.files import write_json
from fastleuk.locks import is_held

NOTES = "unfinished"
DAY, HOUR = 86_400.0, 3_600.0


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A folder that is not whole.

    Attributes:
        folder: Where it is.
        bytes: On the disk.
        what: Of what.
        writer: The process that is at it, or empty: none.
    """

    folder: Path
    bytes: int
    what: str
    writer: str = ""


def note_unfinished(folder: Path, what: str) -> None:
    """Note that this process writes ``folder``, which is of no use until it is renamed or done.

    That it can't be noted stops nothing.

    Args:
        folder: Exists.
        what: Words for a person, such as ``shards``.
    """
    place = folder.resolve()
    pid = os.getpid()
    about = {"folder": str(place), "what": what, "host": socket.gethostname(), "pid": pid}
    about["started"] = _start_of(pid)
    name = hashlib.sha256(os.fsencode(place)).hexdigest()[:32]
    with contextlib.suppress(OSError):
        list(_notes())  # removes old ones
        (cache_root() / NOTES).mkdir(parents=True, exist_ok=True)
        write_json(cache_root() / NOTES / f"{name}.json", about)


def find_unfinished() -> list[Unfinished]:
    """Return the folders that are not whole."""
    found = {}
    for about in _notes():
        folder = Path(about["folder"])
        found[folder] = Unfinished(folder, used(folder), str(about["what"]), _writer(about, folder))
    home = (cache_root() / "demo").resolve()
    for folder in sorted(home.glob(".v*-*")):  # of versions that noted nothing
        if folder.is_dir() and folder not in found:
            writer = "somebody, in the last hour" if _touched(folder) < HOUR else ""
            found[folder] = Unfinished(folder, used(folder), "demo set", writer)
    return list(found.values())


def clear_unfinished() -> tuple[int, list[Unfinished]]:
    """Remove what nobody is writing any more.

    Returns:
        The bytes that were freed, and what was left alone.

    Raises:
        DataError: a folder can't be removed.
    """
    freed, left = 0, []
    for unfinished in find_unfinished():
        if unfinished.writer:
            left.append(unfinished)
            continue
        try:
            shutil.rmtree(unfinished.folder)
        except OSError as error:
            raise DataError(f"Can't remove {unfinished.folder}: {error}.") from error
        freed += unfinished.bytes
    list(_notes())  # removes those of what is gone
    return freed, left


def being_built(partial: Path) -> bool:
    """Say whether a process is building the cache in a ``.partial`` folder: it holds the lock."""
    try:
        return is_held(partial.with_suffix(".lock"))
    except OSError:  # another user's, or no locks: it can't be known
        return True


def used(folder: Path) -> int:
    """Return the bytes that a folder takes on the disk."""
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += file.lstat().st_blocks * 512
    return total


def _notes() -> Iterator[dict[str, Any]]:
    """Yield what the notes say; those of folders that are gone, and damaged ones, are removed."""
    for note in sorted((cache_root() / NOTES).glob("*.json")):
        try:
            about = json.loads(note.read_text(encoding="utf-8"))
            whole = {"folder", "what", "host", "pid", "started"} <= about.keys()
        except (OSError, ValueError, AttributeError):
            whole = False
        if whole and Path(about["folder"]).is_dir():
            yield about
        else:
            with contextlib.suppress(OSError):
                note.unlink()


def _writer(about: dict[str, Any], folder: Path) -> str:
    """Return the process that a note names if it may be alive, else an empty text."""
    host, pid = str(about["host"]), int(about["pid"])
    if host == socket.gethostname():
        started = str(about["started"])
        alive = _start_of(pid) == started if started else _touched(folder) < DAY
    else:
        alive = _touched(folder) < DAY
    return f"{host} pid {pid}" if alive else ""


def _start_of(pid: int) -> str:
    """Return when a process started, in the kernel's ticks; empty where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]


def _touched(folder: Path) -> float:
    """Return the seconds since something in a folder was changed."""
    latest = 0.0
    for path in (folder, *folder.rglob("*")):
        with contextlib.suppress(OSError):
            latest = max(latest, path.lstat().st_mtime)
    return time.time() - latest
