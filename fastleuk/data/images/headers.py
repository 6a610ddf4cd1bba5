"""What the first bytes of an image file tell: its kind, its depth, whether decoders agree on it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

Bytes = bytes | memoryview

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"

_OTHERS = (
    (b"GIF8", "a GIF"),
    (b"\0\0\0\x0cjP", "a JPEG 2000"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (b"8BPS", "a Photoshop file"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\0\0\x01\0", "an icon"),
)


_ENDINGS = {
    b"BM": (".bmp", ".dib"),
    PNG[:2]: (".png",),
    JPEG[:2]: (".jpg", ".jpeg", ".jfif", ".jpe"),
    b"II": (".tif", ".tiff"),
    b"MM": (".tif", ".tiff"),
    b"RI": (".webp",),
}


def content_endings(head: bytes) -> tuple[str, ...]:
    """Return the endings that suit an image file which begins with ``head``; none: no image."""
    return _ENDINGS.get(head[:2], ())


def kind(data: Bytes) -> str:
    """Say what a file that isn't an accepted image seems to be."""
    head = bytes(data[:4096])
    if head[4:8] == b"ftyp":
        return f"a {head[8:12].decode('ascii', 'replace')} file (HEIF, AVIF or a film)"
    if head[128:132] == b"DICM":
        return "a DICOM file"
    for magic, name in _OTHERS:
        if head.startswith(magic):
            return name
    if head[:2] in (b"BM", b"II", b"MM") or head[:3] == JPEG or head[:4] in (PNG[:4], b"RIFF"):
        return "begins like one, but its header is damaged"
    if b"\0" not in head:
        return f"text, beginning {head[:24].decode('utf-8', 'replace')!r}"
    return f"{len(data)} bytes of another kind"


def bits_per_channel(data: Bytes) -> int:
    """Return the depth that a PNG or a JPEG states; 8 for anything else."""
    if data[:8] == PNG and len(data) > 24:
        return int(data[24])
    if data[:3] == JPEG:
        for marker, segment in _segments(data):
            if marker in _FRAMES and len(segment) > 0:
                return int(segment[0])
    return 8


def is_unambiguous_png(data: Bytes) -> bool:
    """Whether a PNG is sound, of 8-bit RGB or grey, with nothing that decoders treat differently.

    Interlacing, palettes, transparency, animation and an orientation are such things.
    """
    header = bytes(data[16:29])
    if len(header) < 13 or header[8] != 8 or header[9] not in (0, 2) or header[12] != 0:
        return False
    position = 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        name = bytes(data[position + 4 : position + 8])
        if name in (b"tRNS", b"acTL", b"eXIf"):
            return False
        start, position = position, position + 12 + length
        if position > len(data):
            return False
        (checksum,) = struct.unpack_from(">I", data, position - 4)
        if zlib.crc32(data[start + 4 : position - 4]) != checksum:
            return False
        if name == b"IEND":
            return True
    return False


_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_SAMPLINGS = frozenset({0x11, 0x12, 0x21, 0x22})


def is_unambiguous_jpeg(data: Bytes) -> bool:
    """Whether a JPEG is grey or YCbCr of 8 bits, baseline or progressive, usually subsampled."""
    frame, jfif, transform, marker = b"", False, None, 0
    for marker, segment in _segments(data):
        if marker in _FRAMES:
            if marker > 0xC2 or frame:
                return False
            frame = bytes(segment)
        elif marker == 0xE0 and segment[:4] == b"JFIF":
            jfif = True
        elif marker == 0xEE and segment[:5] == b"Adobe" and len(segment) >= 12:
            transform = int(segment[11])
        elif marker == 0xDC:  # the height comes later
            return False
    if marker != 0xDA:  # bytes that belong to nothing, which some decoders skip
        return False
    if len(frame) < 6 or frame[0] != 8 or len(frame) < 6 + 3 * frame[5]:
        return False
    ids, samplings = frame[6::3][: frame[5]], frame[7::3][: frame[5]]
    if frame[5] == 1:
        return samplings[0] == 0x11
    if frame[5] != 3 or samplings[0] not in _SAMPLINGS or samplings[1:] != b"\x11\x11":
        return False
    if transform is not None:
        return transform == 1 and ids == b"\1\2\3"
    return jfif or ids == b"\1\2\3"


def _segments(data: Bytes) -> Iterator[tuple[int, Bytes]]:
    """Yield (marker, content) of a JPEG's segments up to the first scan's, if they are in order."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill
            position += 1
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        yield marker, data[position + 4 : position + 2 + length]
        if marker == 0xDA or length < 2:
            return
        position += 2 + length
