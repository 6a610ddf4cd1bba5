"""Images inside tar shards: where each member lies, and its bytes without unpacking."""

from __future__ import annotations

import os
import tarfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from fastleuk.data.shards.maps import MAPS
from fastleuk.errors import DataError

SUFFIX = ".tar"


@dataclass(frozen=True)
class Shard:
    """A tar whose headers were read: regular members by name, as (offset, bytes)."""

    path: Path
    members: dict[str, tuple[int, int]]
    """Names have no ``./`` in front, as ``tar -cf x.tar .`` writes it."""
    stamp: tuple[int, int]
    """Time of change and size of the tar."""

    def read(self, name: str) -> np.ndarray:
        """Return a member's bytes, read-only: uint8 ``(B,)``.

        They are a view of the mapped file, or a copy where very many shards are in use.

        Raises:
            DataError: no such member, or the tar can't be read any more.
        """
        if name not in self.members:
            raise DataError(f"{self.path}: has no member {name!r} any more.")
        start, size = self.members[name]
        try:
            return MAPS.read(self.path, self.stamp, start, size)
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path}: {name!r} can't be read: {error}.") from error


def image_bytes(file: Path) -> np.ndarray:
    """Return the bytes of an image, a file's or a tar member's (``x.tar/member``): uint8 ``(B,)``.

    Raises:
        OSError: the file can't be read.
        DataError: the tar or the member can't be read.
    """
    if any(parent.suffix == SUFFIX for parent in file.parents) and not file.is_file():
        shard, name = split_member(file)
        return open_shard(shard).read(name)
    return np.fromfile(file, np.uint8)


class ImageReader:
    """Reads images one after another into the same memory.

    A large array is new memory each time, and having it cleared takes several times as long as
    copying a file that the system holds already. One reader is for one thread.
    """

    def __init__(self) -> None:
        self._memory = np.empty(1 << 20, np.uint8)

    def read(self, file: Path) -> np.ndarray:
        """Return what :func:`image_bytes` returns, but only until the next call.

        Raises:
            OSError: the file can't be read.
            DataError: the tar or the member can't be read.
        """
        try:
            stream = file.open("rb", buffering=0)
        except (FileNotFoundError, NotADirectoryError):
            return image_bytes(file)
        with stream:
            size = os.fstat(stream.fileno()).st_size
            if size >= len(self._memory):
                self._memory = np.empty(size + (size >> 3) + 1, np.uint8)
            memory, end = self._memory.data, 0
            while end < len(memory) and (count := stream.readinto(memory[end:])):
                end += count
        if end == len(memory):  # the file is growing
            return image_bytes(file)
        return self._memory[:end]


def read_header(file: Path, count: int) -> bytes:
    """Return the first ``count`` bytes of an image, a file's or a tar member's.

    Raises:
        OSError: the file can't be read.
        DataError: the tar or the member can't be read.
    """
    try:
        with file.open("rb") as stream:
            return stream.read(count)
    except (FileNotFoundError, NotADirectoryError):
        return image_bytes(file)[:count].tobytes()


def split_member(file: Path) -> tuple[Path, str]:
    """Return the tar and the member's name of a path such as ``shards/a.tar/cell.bmp``."""
    for parent in file.parents:
        if parent.suffix == SUFFIX and not parent.is_dir():
            return parent, file.relative_to(parent).as_posix()
    raise DataError(f"{file}: not a member of a {SUFFIX} file.")


def open_shard(path: Path) -> Shard:
    """Read a tar's headers; they are kept until the file changes.

    Raises:
        DataError: it can't be read, is no whole tar, or holds a member that is refused: a name
            that climbs out, a link, a device.
    """
    try:
        stamp = os.stat(path)
    except OSError as error:
        raise DataError(f"{path}: can't be read: {error.strerror}.") from error
    return _open(path, stamp.st_mtime_ns, stamp.st_size)


@lru_cache(maxsize=1 << 16)
def _open(path: Path, changed: int, size: int) -> Shard:
    members: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                name = PurePosixPath(member.name).as_posix()
                problem = _refuse(member, name in members)
                if problem:
                    raise DataError(f"{path}: member {member.name!r} {problem}.")
                if member.isfile():
                    members[name] = (member.offset_data, member.size)
    except (tarfile.TarError, OSError, ValueError) as error:
        raise DataError(f"{path}: can't be read as an uncompressed tar: {error}.") from error
    torn = [name for name, (start, length) in members.items() if start + length > size]
    if torn:
        raise DataError(f"{path}: truncated: {torn[0]!r} goes on beyond its end.")
    return Shard(path, members, (changed, size))


def _refuse(member: tarfile.TarInfo, twice: bool) -> str:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name:
        return "has a name that leads out of the shard"
    if member.isdir():
        return ""
    if not member.isreg():
        return "is a link or a device, not a file"
    if member.sparse is not None:
        return "is stored sparsely"
    return "stands there twice" if twice else ""
