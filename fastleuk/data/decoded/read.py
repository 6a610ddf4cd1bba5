"""The decoded cache: a data set's pixels, decoded and resized once, in one memory-mapped file.

A cache is a folder with ``pixels.npy`` (uint8), ``index.npz`` (paths, labels, subjects, file
hashes, mean RGB) and ``cache.json``, which is what makes it one: it is written last, and the
folder gets its name when everything is in it. Row ``i`` is image ``i`` of the manifest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fastleuk.data.dataset import DataSet
from fastleuk.data.user_cache.folder import cache_root
from fastleuk.data.user_cache.unfinished import being_built
from fastleuk.errors import DataError

VERSION = 2
"""Of the format; a cache of another version is never read."""

SOURCE = 0
"""The ``size`` of a cache that holds the images at their own size."""

PIXELS, INDEX, INFO = "pixels.npy", "index.npz", "cache.json"


@dataclass(frozen=True, kw_only=True)
class CacheInfo:
    """What ``cache.json`` says."""

    version: int
    key: str
    """Of content, size and backend, see :func:`cache_key`; the folder's name."""
    root: str
    """Where the images lay when they were read."""
    content_hash: str
    """Of the data set, as :class:`fastleuk.data.dataset.DataSet` has it."""
    backend: str
    """What decoded and resized: ``dali`` or ``torchvision``."""
    size: int
    """Edge in pixels; 0: each image as large as it was."""
    images: int
    bytes: int
    chunk: int
    """Images under one checksum."""
    checksums: tuple[int, ...]
    """CRC-32 of the pixels of each chunk."""
    index_checksum: int
    """CRC-32 of ``index.npz``."""
    created: str


def cache_key(dataset: DataSet, size: int, backend: str) -> str:
    """Return the name of the cache that fits: a hash of content, order, crops, size, backend."""
    manifest = dataset.manifest
    rows = [*dataset.sha256, *map(str, manifest.crops.tolist())]
    parts = [str(VERSION), backend, str(size), dataset.content_hash, *rows]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def decoded_root() -> Path:
    """Return the folder in which caches are kept by default, not necessarily there yet."""
    return cache_root() / "decoded"


class DecodedCache:
    """An open cache; pickles as its folder, so that worker processes map the file themselves.

    Args:
        folder: A complete cache, already checked.
        info: Its ``cache.json``.
    """

    def __init__(self, folder: Path, info: CacheInfo) -> None:
        self.folder, self.info = folder, info

    def __reduce__(self) -> tuple[Any, ...]:
        return DecodedCache, (self.folder, self.info)

    def __len__(self) -> int:
        """Return the number of images."""
        return self.info.images

    @property
    def size(self) -> int:
        """Edge of the images in pixels; 0 where each has its own size."""
        return self.info.size

    @cached_property
    def pixels(self) -> np.ndarray:
        """Mapped, read-only uint8: ``(N, size, size, 3)``, or flat where sizes differ."""
        return np.load(self.folder / PIXELS, mmap_mode="r")

    @cached_property
    def index(self) -> dict[str, np.ndarray]:
        """``paths labels subjects sha256 mean_rgb shapes offsets``, N entries each."""
        with np.load(self.folder / INDEX, allow_pickle=False) as arrays:
            return dict(arrays)

    def image(self, row: int) -> np.ndarray:
        """Return image ``row`` as a view: uint8 ``(H, W, 3)``, RGB."""
        if self.size != SOURCE:
            return np.asarray(self.pixels[row])
        start, shape = int(self.index["offsets"][row]), self.index["shapes"][row]
        flat = self.pixels[start : start + 3 * int(shape[0]) * int(shape[1])]
        return np.asarray(flat.reshape(*shape, 3))

    def images(self, rows: Sequence[int] | np.ndarray) -> list[np.ndarray]:
        """Return views of several images, without copying a pixel."""
        return [self.image(int(row)) for row in rows]

    def damage(self, workers: int = 4) -> str:
        """Compare every checksum; return what is wrong, or an empty text."""
        info, flat = self.info, self.pixels.reshape(-1)
        starts = self._chunk_starts()

        def checksum(chunk: int) -> int:
            return zlib.crc32(flat[starts[chunk] : starts[chunk + 1]].data)

        with ThreadPoolExecutor(workers) as pool:  # crc32 releases the interpreter lock
            found = pool.map(checksum, range(len(info.checksums)))
            for chunk, (now, then) in enumerate(zip(found, info.checksums, strict=True)):
                if now != then:
                    first = chunk * info.chunk
                    last = min(first + info.chunk, len(self)) - 1
                    return f"the pixels of images {first} to {last} are not those written"
        return ""

    def _chunk_starts(self) -> np.ndarray:
        edges = np.append(np.arange(0, len(self), self.info.chunk), len(self))
        return np.append(self.index["offsets"], self.info.bytes)[edges]


def read_info(folder: Path) -> CacheInfo | None:
    """Read ``cache.json``; None where there is none, or none that can be understood."""
    try:
        values = json.loads((folder / INFO).read_text(encoding="utf-8"))
        values["checksums"] = tuple(values["checksums"])
        info = CacheInfo(**values)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    kinds = {field.name: field.type for field in dataclasses.fields(CacheInfo)}
    sound = all(isinstance(getattr(info, k), int) for k, kind in kinds.items() if kind == "int")
    return info if sound and all(isinstance(c, int) for c in info.checksums) else None


def open_decoded(folder: Path) -> DecodedCache:
    """Open a cache after checking all but its pixels (see :meth:`DecodedCache.damage`).

    Raises:
        DataError: it is missing, incomplete, damaged, or of another version.
    """
    info = read_info(folder)
    if info is None:
        raise DataError(f"{folder}: no decoded cache, or its {INFO} is damaged.")
    if info.version != VERSION:
        raise DataError(
            f"{folder}: a decoded cache of format {info.version}; this fastleuk reads {VERSION}."
        )
    cache = DecodedCache(folder, info)
    try:
        if zlib.crc32((folder / INDEX).read_bytes()) != info.index_checksum:
            raise DataError(f"{folder / INDEX}: damaged (checksum).")
        found = (cache.pixels.nbytes, cache.pixels.dtype.name, len(cache.index["offsets"]))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder}: the decoded cache is damaged: {error}.") from error
    if found != (info.bytes, "uint8", info.images):
        raise DataError(f"{folder}: the decoded cache is damaged: {found} is not what was written.")
    return cache


def is_sound(folder: Path) -> bool:
    """Say whether a complete cache lies there whose every checksum is right."""
    try:
        return not open_decoded(folder).damage()
    except DataError:
        return False


def list_caches(root: Path) -> list[tuple[Path, CacheInfo | None, int]]:
    """Return (folder, info or None if unusable, bytes on disk) of what lies in ``root``."""
    found = []
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if (folder.is_dir() and (folder / INFO).exists()) or folder.name.endswith(".partial"):
            size = sum(file.stat().st_blocks * 512 for file in folder.iterdir() if file.is_file())
            info = None if folder.name.endswith(".partial") else read_info(folder)
            found.append((folder, info, size))
    return found


def clear_caches(root: Path) -> int:
    """Remove every cache in ``root``, unfinished ones too; return the bytes that were freed.

    One that a process is building right now is left alone.

    Raises:
        DataError: a folder can't be removed.
    """
    freed = 0
    for folder, _, size in list_caches(root):
        if folder.name.endswith(".partial") and being_built(folder):
            continue
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise DataError(f"Can't remove the cache {folder}: {error}.") from error
        freed += size
    return freed
