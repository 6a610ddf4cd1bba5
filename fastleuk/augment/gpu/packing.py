"""What a batch is for the kernels: where its images lie and the rows of its parameters, as bytes.

A batch goes up as one buffer. In it stand, one behind the other: the table of the images; the
table of those of another size than the output's; whole numbers of the caller's (labels, say); the
normalisation; the rows of parameters; and the images themselves where they aren't on the device
yet. Behind what goes up there is room for the images that are resized. One rule for all: an image
of another size is resized with antialiasing, whatever is drawn for it, and the nine steps sample
images of the output's size only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastleuk.augment.appliers.lowering import kernel_groups
from fastleuk.augment.appliers.row import ROW, pack_rows
from fastleuk.augment.params import AugmentParams

IMAGE_NUMBERS = 5
"""Of each image, int64: the address of its top left pixel, the bytes from a row to the next
(negative where the last row comes first), height, width, and whether blue comes first."""
MOMENTS = 6
"""float32: means of the three channels in levels, then factors: 1 over standard deviations."""
ALIGNED = 16
"""Every part of a buffer begins at a multiple of this, or Triton would compile for each case."""


class Upload(Protocol):
    """An image that goes up with its batch."""

    @property
    def nbytes(self) -> int:
        """How many bytes."""

    def fill(self, target: np.ndarray) -> None:
        """Write them into uint8 ``(nbytes,)``; may be called by any thread."""


@dataclass(frozen=True, eq=False, slots=True)
class Array:
    """An array that goes up: C-contiguous."""

    array: np.ndarray

    @property
    def nbytes(self) -> int:
        """How many bytes."""
        return self.array.nbytes

    def fill(self, target: np.ndarray) -> None:
        """Copy them."""
        target[:] = self.array.reshape(-1).view(np.uint8)


def packed_rows(params: AugmentParams) -> np.ndarray:
    """Lay out the parameters of a batch as the kernels read them.

    Returns:
        ``(N, L)`` float32: of each image its row, the edge of its kernel, and the kernel.
    """
    active, count = params.active(), len(params)
    narrow, widest = params.kernel_size, params.kernel_size + 2  # with sharpness
    numbers = np.zeros((count, ROW + 1 + widest**2), np.float32)
    numbers[:, :ROW] = pack_rows(params, active["perspective"])
    blur, sharpened, both = kernel_groups(params)
    numbers[:, ROW], numbers[sharpened, ROW] = narrow, widest
    numbers[:, ROW + 1 : ROW + 1 + narrow**2] = blur.reshape(count, narrow**2)
    numbers[sharpened, ROW + 1 :] = both.reshape(len(sharpened), widest**2)
    return numbers


@dataclass(frozen=True, eq=False, slots=True)
class Images:
    """Where a batch's images lie.

    Attributes:
        table: ``(N, IMAGE_NUMBERS)`` int64. The address of an image that goes up is counted from
            the beginning of its own bytes.
        uploads: Of each image, if they go up; else none.
        owners: What holds the memory at those addresses: it lives as long as this.
    """

    table: np.ndarray
    uploads: Sequence[Upload] = ()
    owners: Any = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.table)


def on_device(tensors: Sequence[Any]) -> Images:
    """Images that are on a device: tensors ``(H, W, 3)``, whose rows may have gaps."""
    numbers = [(t.data_ptr(), t.stride(0), *t.shape[:2], 0) for t in tensors]
    return Images(np.array(numbers, np.int64), owners=tensors)


def on_host(arrays: Sequence[np.ndarray]) -> Images:
    """Images that go up: C-contiguous arrays ``(H, W, 3)``."""
    numbers = [(0, 3 * a.shape[1], *a.shape[:2], 0) for a in arrays]
    return Images(np.array(numbers, np.int64), [Array(array) for array in arrays])


class Layout(NamedTuple):
    """What stands where in a batch's buffer."""

    images: int
    resized: int
    """Images of another size than the output's."""
    numbers: int
    """int64 values of the caller's."""
    length: int
    """Numbers a row."""
    pixels: int = 0
    """Bytes of images that go up."""
    size: int = 1
    """Edge of the output."""

    @property
    def table(self) -> slice:
        """``(images, IMAGE_NUMBERS)`` int64, in bytes as the others."""
        return slice(0, 8 * IMAGE_NUMBERS * self.images)

    @property
    def sources(self) -> slice:
        """``(resized, IMAGE_NUMBERS)`` int64: the images before they are resized."""
        return _behind(self.table, 8 * IMAGE_NUMBERS * self.resized)

    @property
    def extra(self) -> slice:
        """``(numbers,)`` int64."""
        return _behind(self.sources, 8 * self.numbers)

    @property
    def moments(self) -> slice:
        """``(MOMENTS,)`` float32."""
        return _behind(self.extra, 4 * MOMENTS)

    @property
    def rows(self) -> slice:
        """``(images, length)`` float32."""
        return _behind(self.moments, 4 * self.length * self.images)

    @property
    def images_up(self) -> slice:
        """The images that go up; what is before them, and they, is all that goes up."""
        return _behind(self.rows, self.pixels)

    @property
    def room(self) -> slice:
        """``(resized, size, size, 3)`` uint8: the images once they are resized."""
        return _behind(self.images_up, 3 * self.size**2 * self.resized)


def _behind(part: slice, nbytes: int) -> slice:
    first = -(-part.stop // ALIGNED) * ALIGNED
    return slice(first, first + nbytes)


class Packed:
    """A batch, ready to go up.

    Args:
        images: Where its images lie.
        rows: ``(N, L)`` float32, their parameters, of :func:`packed_rows`.
        size: Edge of the output.
        moments: ``(MOMENTS,)`` float32.
        numbers: int64: whatever the caller wants to have on the device with the batch.
    """

    def __init__(
        self,
        images: Images,
        rows: np.ndarray,
        *,
        size: int,
        moments: np.ndarray,
        numbers: Sequence[np.ndarray] = (),
    ) -> None:
        assert len(images) == len(rows)
        self._images, self._rows, self._moments, self._numbers = images, rows, moments, numbers
        self._resized = np.flatnonzero((images.table[:, 2:4] != size).any(axis=1))
        self.layout = Layout(
            len(images),
            len(self._resized),
            sum(len(array) for array in numbers),
            rows.shape[1],
            sum(upload.nbytes for upload in images.uploads),
            size,
        )

    def uploads(self, address: int) -> list[Upload]:
        """Return what goes up, one behind the other, to a buffer at ``address``."""
        layout, table, size = self.layout, self._images.table.copy(), self.layout.size
        if self._images.uploads:
            sizes = [upload.nbytes for upload in self._images.uploads]
            table[:, 0] += address + layout.images_up.start + np.cumsum([0, *sizes[:-1]])
        sources = table[self._resized]
        table[self._resized, 0] = (
            address + layout.room.start + 3 * size**2 * np.arange(len(sources))
        )
        table[self._resized, 1:] = 3 * size, size, size, 0
        head = np.zeros(layout.images_up.start, np.uint8)
        for part, array in (
            (layout.table, table),
            (layout.sources, sources),
            (layout.extra, np.concatenate([np.empty(0, np.int64), *self._numbers])),
            (layout.moments, self._moments),
            (layout.rows, self._rows),
        ):
            head[part] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return [Array(head), *self._images.uploads]
