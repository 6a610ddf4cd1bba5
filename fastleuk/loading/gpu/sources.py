"""Where the loader of a GPU has its images from: GPU memory, the mapped cache, or the files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from fastleuk.augment.gpu.packing import Array, Images, Upload, on_host
from fastleuk.data.decoded.read import DecodedCache
from fastleuk.data.images.bmp import HEADER, BmpLayout, read_layout
from fastleuk.data.manifest import Manifest
from fastleuk.data.shards.read import image_bytes, read_header
from fastleuk.errors import ConfigError, DataError, listed
from fastleuk.loading.decode.pil import decode
from fastleuk.loading.prepare import Pixels

Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


class Source(Protocol):
    """Finds the images of a batch; in the thread that makes batches ahead."""

    def images(self, rows: np.ndarray, each: Each) -> Images:
        """Return images by their rows of the manifest; ``each`` is ``map`` in several threads."""

    def used(self) -> None:
        """The kernels that read a batch have been put on torch's current stream."""


class Resident:
    """The decoded cache in GPU memory: a batch is its addresses.

    Args:
        pixels: uint8 ``(N, size, size, 3)``.
        device: Where the kernels run.

    Raises:
        ConfigError: that is another device than the pixels'.
    """

    def __init__(self, pixels: torch.Tensor, device: torch.device) -> None:
        if pixels.device != device:
            raise ConfigError(
                f"the cache's pixels are on {pixels.device}, but the batches are made on {device}"
            )
        self._pixels = pixels

    def images(self, rows: np.ndarray, each: Each) -> Images:
        """Return their addresses."""
        del each
        pixels = self._pixels
        table = np.zeros((len(rows), 5), np.int64)
        table[:, 0] = pixels.data_ptr() + rows * pixels.stride(0)
        table[:, 1:4] = pixels.stride(1), *pixels.shape[1:3]
        return Images(table, owners=pixels)

    def used(self) -> None:
        """Keep the pixels, should they be dropped, until the kernels have read them."""
        if self._pixels.device.type == "cuda":
            self._pixels.record_stream(torch.cuda.current_stream(self._pixels.device))


@dataclass(frozen=True, eq=False)
class Mapped:
    """The decoded cache in its file: a batch's pixels go up as uint8, of whatever sizes."""

    cache: DecodedCache

    def images(self, rows: np.ndarray, each: Each) -> Images:
        """Return views of the file; they are read when they are copied into pinned memory."""
        del each
        return on_host(self.cache.images(rows))

    def used(self) -> None:
        """Nothing of it is on the device."""


class Files:
    """The files: plain BMPs go up as they are, their rows are read by the kernels.

    Whatever is no plain 24-bit BMP, or is to be turned or made opaque first, is decoded by PIL on
    the host and goes up as pixels.

    Args:
        manifest: The images.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def images(self, rows: np.ndarray, each: Each) -> Images:
        """Return the files' bytes.

        Raises:
            DataError: files can't be read or decoded any more; they are named.
        """
        found = list(each(self._one, rows.tolist()))
        bad = [str(image) for image in found if isinstance(image, DataError)]
        if bad:
            raise _gone(bad)
        return Images(np.array([numbers for numbers, _ in found]), [up for _, up in found])

    def _one(self, row: int) -> tuple[tuple[int, ...], Upload] | DataError:
        manifest = self._manifest
        file, crop = manifest.file(row), int(manifest.crops[row])
        for_pil = manifest.needs_pil is not None and bool(manifest.needs_pil[row])
        try:
            layout = None if for_pil else read_layout(read_header(file, HEADER))
            if layout is not None:
                return bmp_numbers(layout, crop), _bmp(file, layout)
            pixels = np.ascontiguousarray(decode(file, crop))
            return (0, 3 * pixels.shape[1], *pixels.shape[:2], 0), Array(pixels)
        except OSError as error:
            return DataError(f"{file}: can't be read: {error.strerror or error}.")
        except DataError as error:
            return error

    def used(self) -> None:
        """Nothing of them is on the device."""


def bmp_numbers(layout: BmpLayout, crop: int = 0) -> tuple[int, int, int, int, int]:
    """Return where a BMP's pixels are, from the beginning of its file: a row of the table.

    Args:
        layout: Of the file.
        crop: Side of the centred square to cut out, see
            :func:`fastleuk.loading.decode.pil.cut_centre`; 0 for the whole image.
    """
    height, width = (min(side, crop or side) for side in (layout.height, layout.width))
    top, left = (layout.height - height) // 2, (layout.width - width) // 2
    return layout.start + top * layout.stride + 3 * left, layout.stride, height, width, 1


def _bmp(file: Path, layout: BmpLayout) -> Upload:
    """The bytes of a BMP; a tar's member is mapped, a file is read when it goes up."""
    try:
        size = os.stat(file).st_size
    except (FileNotFoundError, NotADirectoryError):
        data = image_bytes(file)
        if layout.length > len(data):
            raise DataError(f"{file}: is shorter than its header says.") from None
        return Array(data)
    if layout.length > size:
        raise DataError(f"{file}: is shorter than its header says.")
    return _File(file, layout)


@dataclass(frozen=True, eq=False, slots=True)
class _File:
    """The bytes of a BMP up to its last pixel, read straight into pinned memory."""

    file: Path
    layout: BmpLayout

    @property
    def nbytes(self) -> int:
        """How many bytes."""
        return self.layout.length

    def fill(self, target: np.ndarray) -> None:
        """Read them.

        Raises:
            DataError: the file isn't what its header said a moment ago.
        """
        memory, end = target.data, 0
        try:
            with self.file.open("rb", buffering=0) as stream:
                while end < len(memory) and (count := stream.readinto(memory[end:])):
                    end += count
        except OSError as error:
            raise _gone([f"{self.file}: can't be read: {error.strerror or error}."]) from error
        if end < len(memory) or read_layout(memory[:HEADER]) != self.layout:
            raise _gone([f"{self.file}: was a plain BMP and is not one any more."])


def _gone(lines: list[str]) -> DataError:
    return DataError(
        f"Files that were readable when the run started are not any more:\n{listed(lines)}\n"
        "Restore them and resume the run."
    )


def source_of(manifest: Manifest, pixels: Pixels | None, device: torch.device) -> Source:
    """Return the source for what there is: GPU memory before the cache's file before the files."""
    if pixels is None:
        return Files(manifest)
    if pixels.resident is not None:
        return Resident(pixels.resident, device)
    return Mapped(pixels.cache)


def mostly_bmp(manifest: Manifest) -> bool:
    """Whether more than half of the files are BMPs by their names: then nothing decodes these."""
    names = sum(path.lower().endswith(".bmp") for path in manifest.paths)
    return 2 * names > len(manifest)


def each_of(pool: Executor | None) -> Each:
    """Return ``map`` in the threads of ``pool``, or in this one."""
    return map if pool is None else pool.map
