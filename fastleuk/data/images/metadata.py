"""Metadata of image files: remove what a decoder stumbles over, keep the pixels.

PIL refuses a whole file for a text chunk, a color profile or a tag that is too large or malformed.
None of them changes a pixel, so the file is decoded without them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from fastleuk.data.images.headers import JPEG, PNG

Bytes = bytes | memoryview

NOTE = "metadata that can't be read, which is not used"

_TIFF_PIXEL_TAGS = frozenset(
    {
        254, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323,
        324, 325, 338, 339, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531,
    }
)  # fmt: skip
"""Tags without which the pixels of a TIFF can't be decoded."""

_ORIENTATION = 274


def without_metadata(data: Bytes) -> Iterator[bytes]:
    """Yield the file without metadata: first with its EXIF orientation, then without any.

    Nothing is yielded for other formats than PNG, JPEG and TIFF, nor where nothing is removed.
    """
    before: Bytes = data
    for keep_orientation in (True, False):
        try:
            if data[:8] == PNG:
                rest = _strip_png(data, keep_orientation)
            elif data[:3] == JPEG:
                rest = _strip_jpeg(data, keep_orientation)
            elif data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
                rest = _strip_tiff(data, keep_orientation)
            else:
                return
        except (struct.error, IndexError, OverflowError):  # a torn file
            return
        if rest != before:
            yield rest
            before = rest


def _strip_png(data: Bytes, keep_orientation: bool) -> bytes:
    """Keep the critical chunks, transparency, and a sound ``eXIf``."""
    kept, position = [bytes(data[:8])], 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 12 + length
        name = bytes(data[position + 4 : position + 8])
        critical = not name[0] & 0x20
        if name == b"eXIf" and keep_orientation and end <= len(data):
            (checksum,) = struct.unpack_from(">I", data, end - 4)
            critical = zlib.crc32(data[position + 4 : end - 4]) == checksum
        if critical or name == b"tRNS":
            kept.append(bytes(data[position:end]))
        position = end
    return b"".join(kept)


def _strip_jpeg(data: Bytes, keep_orientation: bool) -> bytes:
    """Keep all but comments and application segments; of those JFIF, Adobe and EXIF if sound."""
    kept, position = [bytes(data[:2])], 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill
            position += 1
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker == 0xDA or length < 2:
            break
        content = bytes(data[position + 4 : position + 2 + length])
        sound = {
            0xE0: content.startswith(b"JFIF\0") and length >= 16,
            0xE1: content.startswith(b"Exif\0") and keep_orientation,
            0xEE: content.startswith(b"Adobe") and length >= 14,
        }
        if sound.get(marker, not (0xE0 <= marker <= 0xEF or marker == 0xFE)):
            kept.append(bytes(data[position : position + 2 + length]))
        position += 2 + length
    return b"".join([*kept, bytes(data[position:])])


def _strip_tiff(data: Bytes, keep_orientation: bool) -> bytes:
    """Keep the tags of the first page that its pixels need; offsets stay as they are."""
    order = "<" if data[:2] == b"II" else ">"
    if data[2:4] in (b"+\0", b"\0+"):
        head, entry, (start,) = order + "Q", 20, struct.unpack_from(order + "Q", data, 8)
    else:
        head, entry, (start,) = order + "H", 12, struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(head, data, start)
    first = start + struct.calcsize(head)
    end = first + count * entry
    if end + 4 > len(data):
        return bytes(data)
    kept = []
    for position in range(first, end, entry):
        (tag,) = struct.unpack_from(order + "H", data, position)
        wanted = tag in _TIFF_PIXEL_TAGS or (tag == _ORIENTATION and keep_orientation)
        if wanted:
            kept.append(bytes(data[position : position + entry]))
    rest = bytearray(data)
    # The offset of the next page follows the entries; without it there is one page.
    table = struct.pack(head, len(kept)) + b"".join(kept)
    rest[start:end] = table + b"\0" * (end - start - len(table))
    return bytes(rest)
