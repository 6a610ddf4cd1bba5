"""BMP files, written here and not by PIL: no two readers share a mistake."""

import struct

import numpy as np


def bmp(pixels, *, top_down=False, gap=0):
    """Return the bytes of an uncompressed 24-bit BMP."""
    height, width = pixels.shape[:2]
    rows = pixels[:, :, ::-1] if top_down else pixels[::-1, :, ::-1]
    pad = b"\0" * (-3 * width % 4)
    data = b"".join(row.tobytes() + pad for row in rows)
    signed = -height if top_down else height
    info = struct.pack("<IiiHHIIiiII", 40, width, signed, 1, 24, 0, len(data), 0, 0, 0, 0)
    start = 14 + len(info) + gap
    return struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start) + info + b"\0" * gap + data


def photo(height, width):
    """Return noise, uint8 ``(height, width, 3)``."""
    rng = np.random.default_rng(height * width)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
