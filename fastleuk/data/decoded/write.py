"""Write a decoded cache: chunk by chunk, restartable, and complete or not there at all."""

from __future__ import annotations

import dataclasses
import errno
import io
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from fastleuk.data.dataset import DataSet
from fastleuk.data.decoded.read import (
    INDEX,
    INFO,
    PIXELS,
    SOURCE,
    VERSION,
    CacheInfo,
    cache_key,
    is_sound,
)
from fastleuk.errors import DataError
from fastleuk.files import write_atomically, write_json
from fastleuk.locks import locked
from fastleuk.progress import Progress, no_progress

CHUNK = 64
"""Images under one checksum: what a restart may have to do again."""

MARGIN = 256 << 20
"""Bytes that must stay free on the disk."""

JOURNAL, ROWS = "done.txt", "rows.f32"
ROW = 5
"""Numbers an image in ``ROWS``: mean red, green and blue, height, width."""

Decoded = tuple[list[np.ndarray] | np.ndarray, np.ndarray]
"""Images, uint8 ``(H, W, 3)`` each, and their mean RGB, float32 ``(B, 3)``."""

Decode = Callable[[np.ndarray], Iterator[Decoded]]
"""Takes rows of the manifest; yields them in order, in pieces of :func:`pieces`."""


def pieces(rows: np.ndarray, most: int = CHUNK) -> Iterator[np.ndarray]:
    """Cut rows into runs of at most ``most`` that lie in one chunk each."""
    for chunk in np.split(rows, np.flatnonzero(np.diff(rows // CHUNK)) + 1):
        for start in range(0, len(chunk), most):
            yield chunk[start : start + most]


def final_shapes(dataset: DataSet, size: int) -> np.ndarray:
    """Return ``(N, 2)``: height and width of each image in the cache."""
    if size != SOURCE:
        return np.full((len(dataset.manifest), 2), size, np.int64)
    sides, crops = dataset.sizes[:, ::-1], dataset.manifest.crops[:, None]
    return np.where(crops > 0, np.minimum(sides, np.where(crops > 0, crops, sides)), sides)


def write_cache(
    dataset: DataSet,
    folder: Path,
    decode: Decode,
    *,
    size: int,
    backend: str,
    progress: Progress = no_progress,
) -> Path:
    """Decode the data set into ``folder/<key>`` and return that path.

    What a killed build had finished is checked and kept. When it fails for want of room,
    nothing is left behind.

    Args:
        dataset: What to decode; every file has been verified.
        folder: Where caches are kept.
        decode: Decodes rows of the manifest, see :data:`Decode`.
        size: Edge in pixels, or :data:`~fastleuk.data.decoded.read.SOURCE`.
        backend: Name of what decodes.
        progress: Called as ``progress(done, total)``.

    Raises:
        DataError: the folder can't be written, the disk lacks room, or files have changed.
    """
    key = cache_key(dataset, size, backend)
    with _folder_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f"{key}.lock"):  # whoever waits finds the cache complete
            target = folder / key
            partial = folder / f"{key}.partial"
            if is_sound(target):  # another process was faster
                return target
            shutil.rmtree(target, ignore_errors=True)
            try:
                partial.mkdir(exist_ok=True)
                build = _Build(dataset, partial, size, key, backend)
                build.run(decode, progress)
                _require_unchanged(dataset, partial)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    shutil.rmtree(partial, ignore_errors=True)
                raise
            os.rename(partial, target)
    return target


def _require_unchanged(dataset: DataSet, partial: Path) -> None:
    """Keep no pixels of files that were exchanged under the name of those that were verified."""
    try:
        dataset.require_unchanged()
    except DataError:
        shutil.rmtree(partial, ignore_errors=True)
        raise


class _Build:
    """One build in its ``.partial`` folder."""

    def __init__(self, dataset: DataSet, partial: Path, size: int, key: str, backend: str) -> None:
        self.dataset, self.partial, self.size = dataset, partial, size
        self.key, self.backend = key, backend
        self.shapes = final_shapes(dataset, size)
        lengths = 3 * self.shapes.prod(axis=1)
        self.offsets = np.cumsum(lengths) - lengths
        self.total = int(lengths.sum())
        self.count = len(lengths)
        self.header = _npy_header(self.count, size, self.total)

    def run(self, decode: Decode, progress: Progress) -> None:
        """Decode what an earlier build has not, and complete the folder."""
        with _open(self.partial / PIXELS) as pixels, _open(self.partial / ROWS) as table:
            self._reserve(pixels)
            checksums = self._finished(pixels)
            todo = [c for c in range(-(-self.count // CHUNK)) if c not in checksums]
            rows = [np.arange(c * CHUNK, min((c + 1) * CHUNK, self.count)) for c in todo]
            done = self.count - sum(map(len, rows))
            progress(done, self.count)
            decoded = decode(np.concatenate(rows)) if rows else iter(())
            for chunk, members in zip(todo, rows, strict=True):
                checksum, row, last = 0, int(members[0]), int(members[-1]) + 1
                while row < last:
                    images, mean_rgb = next(decoded)
                    checksum = self._write(pixels, row, images, checksum)
                    sides = [image.shape[:2] for image in images]
                    described = np.concatenate([mean_rgb, sides], axis=1, dtype=np.float32)
                    _write_at(table, 4 * ROW * row, described)
                    row += len(images)
                checksums[chunk] = checksum
                with open(self.partial / JOURNAL, "a", encoding="ascii") as journal:
                    journal.write(f"{chunk} {checksum}\n")
                done += len(members)
                progress(done, self.count)
            os.fsync(pixels.fileno())
        self._finish([checksums[chunk] for chunk in sorted(checksums)])

    def _reserve(self, pixels: IO[bytes]) -> None:
        """Take all the room now, so that a disk that is too full is known before work starts."""
        whole = len(self.header) + self.total
        there = os.fstat(pixels.fileno())
        missing = whole - getattr(there, "st_blocks", there.st_size // 512) * 512
        free = shutil.disk_usage(self.partial).free
        if missing > 0 and free < missing + MARGIN:
            raise OSError(
                errno.ENOSPC,
                f"{missing / 1e9:.2f} GB and {MARGIN >> 20} MiB to spare are needed, "
                f"{free / 1e9:.2f} GB are free",
            )
        if hasattr(os, "posix_fallocate"):  # not on macOS
            os.posix_fallocate(pixels.fileno(), 0, whole)
        os.ftruncate(pixels.fileno(), whole)
        _write_at(pixels, 0, np.frombuffer(self.header, np.uint8))

    def _write(
        self, pixels: IO[bytes], row: int, images: list[np.ndarray] | np.ndarray, checksum: int
    ) -> int:
        start = len(self.header) + int(self.offsets[row])
        for block in [images] if isinstance(images, np.ndarray) else images:
            block = np.ascontiguousarray(block)
            checksum = zlib.crc32(block.data, checksum)
            start = _write_at(pixels, start, block)
        end = len(self.header) + int(np.append(self.offsets, self.total)[row + len(images)])
        assert start == end, "the images have not the sizes that were scanned"
        return checksum

    def _finished(self, pixels: IO[bytes]) -> dict[int, int]:
        """Return the chunks of an earlier build whose pixels are still as it wrote them."""
        try:
            lines = (self.partial / JOURNAL).read_text(encoding="ascii").splitlines()
            entries = {int(chunk): int(crc) for chunk, crc in map(str.split, lines)}
        except (OSError, ValueError):
            entries = {}
        sound = {}
        ends = np.append(self.offsets, self.total)
        for chunk, crc in entries.items():
            first, last = chunk * CHUNK, min((chunk + 1) * CHUNK, self.count)
            if not 0 <= first < last:
                continue
            pixels.seek(len(self.header) + int(ends[first]))
            if zlib.crc32(pixels.read(int(ends[last] - ends[first]))) == crc:
                sound[chunk] = crc
        text = "".join(f"{chunk} {crc}\n" for chunk, crc in sound.items())
        (self.partial / JOURNAL).write_text(text, encoding="ascii")
        return sound

    def _finish(self, checksums: list[int]) -> None:
        manifest = self.dataset.manifest
        table = np.fromfile(self.partial / ROWS, np.float32).reshape(-1, ROW)
        index = io.BytesIO()
        np.savez(
            index,
            paths=np.array(manifest.paths),
            labels=manifest.labels,
            subjects=np.array(manifest.subjects),
            sha256=np.array(self.dataset.sha256),
            mean_rgb=table[:, :3],
            shapes=table[:, 3:].astype(np.int64),
            offsets=self.offsets,
        )
        write_atomically(self.partial / INDEX, lambda file: file.write(index.getvalue()))
        info = CacheInfo(
            version=VERSION,
            key=self.key,
            root=str(manifest.root),
            content_hash=self.dataset.content_hash,
            backend=self.backend,
            size=self.size,
            images=self.count,
            bytes=self.total,
            chunk=CHUNK,
            checksums=tuple(checksums),
            index_checksum=zlib.crc32(index.getvalue()),
            created=time.strftime("%Y-%m-%d %H:%M:%S"),
        )
        write_json(self.partial / INFO, dataclasses.asdict(info))
        for name in (JOURNAL, ROWS):
            (self.partial / name).unlink()


def _open(path: Path) -> IO[bytes]:
    """Open for reading and writing, unbuffered, without truncating what is there."""
    path.touch()
    return path.open("r+b", buffering=0)


def _write_at(file: IO[bytes], start: int, array: np.ndarray) -> int:
    """Write an array's bytes at ``start``; return where they end."""
    data = memoryview(array.data).cast("B")
    file.seek(start)
    while data:  # a disk that runs full takes a part first, and then raises
        written = file.write(data)
        start, data = start + written, data[written:]
    return start


def _npy_header(count: int, size: int, total: int) -> bytes:
    shape = (total,) if size == SOURCE else (count, size, size, 3)
    stream = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


@contextmanager
def _folder_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(
                f"The disk of the cache folder {folder} has too little room: {error.strerror}. "
                "Nothing was left there. Free some room (fastleuk cache clear), name a folder on "
                "another disk with --cache DIR, or train from the files with --cache off."
            ) from error
        raise DataError(
            f"Can't write the cache folder {folder}: {error}. Name another with --cache DIR, or "
            "train from the files with --cache off."
        ) from error
