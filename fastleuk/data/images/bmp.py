"""Uncompressed 24-bit BMPs, the format of C-NMC: their pixels lie in the file as they are."""

from __future__ import annotations

import struct
from typing import NamedTuple

HEADER = 54
"""Bytes that :func:`read_layout` needs at least."""


class BmpLayout(NamedTuple):
    """Where the pixels are: row ``y`` of the image begins at ``start + y * stride``, blue first."""

    start: int
    stride: int
    """Negative where the last row comes first, as is usual."""
    width: int
    height: int

    @property
    def length(self) -> int:
        """Bytes that the file must have at least."""
        return max(self.start, self.start + self.stride * (self.height - 1)) + abs(self.stride)


def read_layout(header: bytes | memoryview) -> BmpLayout | None:
    """Read the header of a BMP.

    Args:
        header: The first :data:`HEADER` bytes of a file, or more.

    Returns:
        None for any other kind of BMP and for anything else.
    """
    if len(header) < HEADER or header[:2] != b"BM":
        return None
    start, info, width, height, planes, bits, compression = struct.unpack_from(
        "<10xIIiiHHI", header
    )
    uncompressed = info in (40, 108, 124) and (planes, bits, compression) == (1, 24, 0)
    if not uncompressed or width <= 0 or height == 0 or start < 14 + info:
        return None
    stride = (3 * width + 3) // 4 * 4
    if height < 0:
        return BmpLayout(start, stride, width, -height)
    return BmpLayout(start + (height - 1) * stride, -stride, width, height)


def begins_in_header(data: bytes | memoryview) -> bool:
    """Say whether a BMP claims that its pixels begin within its header: they would be garbage.

    Readers take 0 for right behind the header.
    """
    if len(data) < 18 or data[:2] != b"BM":
        return False
    start, info = struct.unpack_from("<10xII", data)
    return bool(0 < start < 14 + info)
