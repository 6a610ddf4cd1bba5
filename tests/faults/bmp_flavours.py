"""Every flavour of BMP, written by hand with the pixels that it means: no reader is trusted."""

import struct
from collections.abc import Callable

import numpy as np

HEIGHT, WIDTH = 12, 19
RNG = np.random.default_rng(3)
INDICES = RNG.integers(0, 16, (HEIGHT, WIDTH))
COLOURS = RNG.integers(0, 256, (16, 3)).astype(np.uint8)
DEEP = RNG.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)

Flavour = tuple[bytes, np.ndarray]


def file(body: bytes, *, bits: int, compression=0, palette=b"", info=40, masks=b"", height=HEIGHT,
         gap=0, behind=b"") -> bytes:  # fmt: skip
    """A file header, an info header of ``info`` bytes, masks, palette, gap and pixels."""
    colours = len(palette) // 4
    head = struct.pack(
        "<IiiHHIIiiII", info, WIDTH, height, 1, bits, compression, len(body), 0, 0, colours, 0
    )
    inside = masks if info > 40 else b""
    head += inside + bytes(info - 40 - len(inside)) + (masks if info == 40 else b"")
    start = 14 + len(head) + len(palette) + gap
    first = struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start)
    return first + head + palette + bytes(gap) + body + behind


def rows(lines: list[bytes]) -> bytes:
    """Pixel rows, each filled up to four bytes."""
    return b"".join(line + bytes(-len(line) % 4) for line in lines)


def table(colours: np.ndarray) -> bytes:
    return b"".join(bytes([*colour[::-1], 0]) for colour in colours)


def packed(indices: np.ndarray, bits: int) -> list[bytes]:
    """Rows of indices, the first pixel in the highest bits; the last row first."""
    lines = []
    for row in indices[::-1]:
        digits = "".join(f"{int(i):0{bits}b}" for i in row)
        digits += "0" * (-len(digits) % 8)
        lines.append(bytes(int(digits[i : i + 8], 2) for i in range(0, len(digits), 8)))
    return lines


def palette(bits: int, count: int) -> Flavour:
    indices = INDICES % count
    body = rows(packed(indices, bits))
    return file(body, bits=bits, palette=table(COLOURS[:count])), COLOURS[indices]


def rle8() -> Flavour:
    """Runs, literal stretches, and a jump over pixels that keep the first colour."""
    body, meant = b"", INDICES.copy()
    for y, row in enumerate(INDICES[::-1]):
        if y == 2:
            body += bytes([0, 2, 5, 0])  # five pixels to the right
            meant[HEIGHT - 1 - y, :5] = 0
            row = row[5:]
        literal = bytes(row[:7].tolist())
        body += bytes([0, 7]) + literal + b"\0"
        body += b"".join(bytes([1, int(i)]) for i in row[7:])
        body += b"\0\0"
    body += b"\0\1"
    return file(body, bits=8, compression=1, palette=table(COLOURS)), COLOURS[meant]


def rle4() -> Flavour:
    body = b""
    for row in INDICES[::-1]:
        body += b"".join(bytes([1, int(i) << 4]) for i in row) + b"\0\0"
    return file(body + b"\0\1", bits=4, compression=2, palette=table(COLOURS)), COLOURS[INDICES]


def scaled(values: np.ndarray, bits: int) -> np.ndarray:
    return (values.astype(np.uint32) * 255 // ((1 << bits) - 1)).astype(np.uint8)


def sixteen(green: int, masks: bytes = b"") -> Flavour:
    red, grn, blue = (
        DEEP[..., i].astype(np.uint16) >> (8 - n) for i, n in enumerate((5, green, 5))
    )
    words = (red << (5 + green)) | (grn << 5) | blue
    body = rows([line.astype("<u2").tobytes() for line in words[::-1]])
    meant = np.stack([scaled(red, 5), scaled(grn, green), scaled(blue, 5)], -1)
    return file(body, bits=16, compression=3 if masks else 0, masks=masks), meant


def thirty_two(masks: tuple[int, ...] = (), order: str = "bgrx", info: int = 40) -> Flavour:
    places = {"r": DEEP[..., 0], "g": DEEP[..., 1], "b": DEEP[..., 2]}
    places["x"] = np.zeros((HEIGHT, WIDTH), np.uint8)
    places["a"] = np.full((HEIGHT, WIDTH), 255, np.uint8)
    body = np.stack([places[name] for name in order], -1)[::-1].tobytes()
    packed_masks = struct.pack(f"<{len(masks)}I", *masks)
    compression = 3 if masks else 0
    return file(body, bits=32, compression=compression, masks=packed_masks, info=info), DEEP


def plain(*, top_down=False, **options) -> Flavour:
    lines = DEEP[:, :, ::-1] if top_down else DEEP[::-1, :, ::-1]
    body = rows([line.tobytes() for line in lines])
    return file(body, bits=24, height=-HEIGHT if top_down else HEIGHT, **options), DEEP


def os2() -> Flavour:
    body = rows([line.tobytes() for line in DEEP[::-1, :, ::-1]])
    head = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, 24)
    return struct.pack("<2sIHHI", b"BM", 26 + len(body), 0, 0, 26) + head + body, DEEP


def os2_palette() -> Flavour:
    body = rows(packed(INDICES, 4))
    head = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, 4)
    colours = b"".join(bytes(colour[::-1].tolist()) for colour in COLOURS)
    start = 26 + len(colours)
    first = struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start)
    return first + head + colours + body, COLOURS[INDICES]


BGRA = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
FLAVOURS: dict[str, Callable[[], Flavour]] = {
    "24 bits": plain,
    "top-down": lambda: plain(top_down=True),
    "header of version 4": lambda: plain(info=108),
    "header of version 5": lambda: plain(info=124),
    "gap before the pixels": lambda: plain(gap=84),
    "trailing bytes": lambda: plain(behind=b"comment" * 30),
    "1 bit": lambda: palette(1, 2),
    "4 bits": lambda: palette(4, 16),
    "4 bits, 5 colours": lambda: palette(4, 5),
    "8 bits": lambda: palette(8, 16),
    "RLE 8": rle8,
    "RLE 4": rle4,
    "16 bits, 555": lambda: sixteen(5),
    "16 bits, 565": lambda: sixteen(6, struct.pack("<3I", 0xF800, 0x7E0, 0x1F)),
    "32 bits": thirty_two,
    "32 bits, fields": lambda: thirty_two((0xFF0000, 0xFF00, 0xFF)),
    "32 bits, alpha, version 4": lambda: thirty_two(BGRA, "bgra", 108),
    "32 bits, alpha, version 5": lambda: thirty_two(BGRA, "bgra", 124),
    "OS/2": os2,
    "OS/2 with a palette": os2_palette,
}

LYING: dict[str, Callable[[], bytes]] = {
    "no pixels at all": lambda: plain()[0][:54],
    "a row is missing": lambda: plain()[0][: -4 * ((3 * WIDTH + 3) // 4)],
    "one byte of the last row is missing": lambda: plain(top_down=True)[0][: -1 - (-3 * WIDTH % 4)],
    "pixels begin behind the end": lambda: _with(plain()[0], 10, "<I", 10**6),
    "pixels begin in the header": lambda: _with(plain()[0], 10, "<I", 20),
    "no width": lambda: _with(plain()[0], 18, "<i", 0),
    "negative width": lambda: _with(plain()[0], 18, "<i", -WIDTH),
    "no height": lambda: _with(plain()[0], 22, "<i", 0),
    "largest negative height": lambda: _with(plain()[0], 22, "<i", -(2**31)),
    "huge in both ways": lambda: _with(_with(plain()[0], 18, "<i", 60_000), 22, "<i", 60_000),
    "3 bits": lambda: _with(plain()[0], 28, "<H", 3),
    "unknown compression": lambda: _with(plain()[0], 30, "<I", 9),
    "unknown header": lambda: _with(plain()[0], 14, "<I", 77),
    "RLE that ends early": lambda: rle8()[0][:-90],
    "32 bits, fields in an order that PIL does not know": lambda: thirty_two(
        (0xFF, 0xFF00, 0xFF0000), "rgbx"
    )[0],
    "JPEG inside": lambda: _with(plain()[0], 30, "<I", 4),
}


def _with(data: bytes, at: int, form: str, value: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, at, value)
    return bytes(changed)
