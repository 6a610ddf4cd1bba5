"""Image files of every kind that a data set may hold, made from RGB pixels."""

import io
import struct
import zlib

import numpy as np
import PIL
from packaging.version import Version
from PIL import Image

from tests.makers.bmp_files import bmp


def tolerance(kind):
    """Levels by which decoders may differ: libjpeg's have a choice, all others have none."""
    return 1 if kind.startswith("JPEG") else 0


def photo(seed, height=24, width=31):
    """Return a smooth picture with some noise, uint8 ``(height, width, 3)``."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [128 + 90 * np.sin(x / rng.uniform(3, 9) + y / rng.uniform(3, 9)) for _ in range(3)]
    pixels = np.stack(waves, -1) + rng.normal(0, 6, (height, width, 3))
    return pixels.clip(0, 255).astype(np.uint8)


def save(image, kind, **options):
    """Encode an image, or pixels, by PIL."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def mode(name, kind, **options):
    return lambda pixels: save(Image.fromarray(pixels).convert(name), kind, **options)


def alpha(kind, name="RGBA", opaque=False, **options):
    """With an alpha channel from clear to opaque, and hidden colours under it."""

    def encode(pixels):
        image = Image.fromarray(pixels).convert(name[:-1])
        ramp = np.linspace(255 if opaque else 0, 255, pixels.shape[1])
        image.putalpha(Image.fromarray(np.broadcast_to(ramp, pixels.shape[:2]).astype(np.uint8)))
        return save(image, kind, **options)

    return encode


def turned(orientation, kind, **options):
    """Lying as a camera was held; the data set is to show it upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return lambda pixels: save(pixels, kind, exif=exif, **options)


def keyed(name):
    """A PNG that calls one colour transparent."""

    def encode(pixels):
        image = Image.fromarray(pixels).convert(name)
        image = image.quantize(12) if name == "P" else image
        first = image.getpixel((0, 0))
        return save(image, "PNG", transparency=first)

    return encode


def pages(kind, **options):
    def encode(pixels):
        more = [Image.fromarray(255 - pixels)]
        return save(pixels, kind, save_all=True, append_images=more, **options)

    return encode


def png_chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def raw_png(rows, width, height, depth, colour):
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = ((b"IHDR", head), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def png16(channels):
    """12 bits of a camera in 16 bits a channel."""
    colour = {1: 0, 2: 4, 3: 2}[channels]

    def encode(pixels):
        deep = pixels[..., :channels].astype(">u2") * 16
        return raw_png([r.tobytes() for r in deep], *pixels.shape[1::-1], 16, colour)

    return encode


def tiff16(pixels):
    height, width = pixels.shape[:2]
    data = (pixels.astype("<u2") * 16).tobytes()
    bits = struct.pack("<3H", 16, 16, 16)
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, 8 + len(data)), (259, 3, 1, 1),
            (262, 3, 1, 2), (273, 4, 1, 8), (277, 3, 1, 3), (278, 4, 1, height),
            (279, 4, 1, len(data)), (284, 3, 1, 1)]  # fmt: skip
    table = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    start = struct.pack("<I", 8 + len(data) + len(bits))
    return b"II*\0" + start + data + bits + struct.pack("<H", len(tags)) + table + bytes(4)


def bmp32(masks=b"", clear=False):
    """A BMP of 32 bits, with an alpha mask in a header of version 4 if asked."""

    def encode(pixels):
        height, width = pixels.shape[:2]
        fourth = np.zeros((height, width, 1), np.uint8) if clear else pixels[..., :1]
        body = np.concatenate([pixels[..., ::-1], fourth], -1)[::-1].tobytes()
        info = 108 if masks else 40
        sizes = (info, width, height, 1, 32, 3 if masks else 0, len(body), 0, 0, 0, 0)
        header = struct.pack("<IiiHHIIiiII", *sizes) + masks + bytes(info - 40 - len(masks))
        start = 14 + info
        return struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start) + header + body

    return encode


def bmp16(pixels):
    height, width = pixels.shape[:2]
    five = pixels.astype("<u2") >> 3
    rows = ((five[..., 0] << 10) | (five[..., 1] << 5) | five[..., 2]).astype("<u2")[::-1]
    body = b"".join(row.tobytes() + bytes(-2 * width % 4) for row in rows)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 16, 0, len(body), 0, 0, 0, 0)
    return struct.pack("<2sIHHI", b"BM", 54 + len(body), 0, 0, 54) + header + body


def bmp_rle(pixels):
    height, width = pixels.shape[:2]
    palette = b"".join(bytes([i, i, i, 0]) for i in range(256))
    rows = (b"".join(bytes([1, v]) for v in row) + b"\0\0" for row in pixels[::-1, :, 0])
    body = b"".join(rows) + b"\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    start = 54 + len(palette)
    head = struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start)
    return head + header + palette + body


def bmp_os2(pixels):
    height, width = pixels.shape[:2]
    pad = bytes(-3 * width % 4)
    body = b"".join(row.tobytes() + pad for row in pixels[::-1, :, ::-1])
    header = struct.pack("<IHHHH", 12, width, height, 1, 24)
    return struct.pack("<2sIHHI", b"BM", 26 + len(body), 0, 0, 26) + header + body


ALPHA_MASKS = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)

ACCEPTED = {
    "BMP": bmp,
    "BMP top-down": lambda p: bmp(p, top_down=True),
    "BMP preliminary": lambda p: bmp(p, gap=84),
    "BMP without the last padding": lambda p: bmp(p)[: -(-3 * p.shape[1] % 4) or None],
    "BMP 32": bmp32(),
    "BMP 32 alpha": bmp32(ALPHA_MASKS),
    "BMP 16": bmp16,
    "BMP RLE": bmp_rle,
    "BMP OS/2": bmp_os2,
    "BMP L": mode("L", "BMP"),
    "BMP 1": mode("1", "BMP"),
    "BMP P": mode("P", "BMP"),
    "PNG": mode("RGB", "PNG"),
    "PNG L": mode("L", "PNG"),
    "PNG 1": mode("1", "PNG"),
    "PNG P": mode("P", "PNG"),
    "PNG RGBA": alpha("PNG"),
    "PNG RGBA opaque": alpha("PNG", opaque=True),
    "PNG LA": alpha("PNG", "LA"),
    "PNG P keyed": keyed("P"),
    "PNG RGB keyed": keyed("RGB"),
    "PNG L keyed": keyed("L"),
    "PNG turned": turned(6, "PNG"),
    "PNG animated": pages("PNG"),
    "PNG without end": lambda p: save(p, "PNG")[:-12],
    "JPEG": mode("RGB", "JPEG", quality=92),
    "JPEG 4:4:4": mode("RGB", "JPEG", subsampling=0, quality=95),
    "JPEG 4:2:2": mode("RGB", "JPEG", subsampling=1),
    "JPEG progressive": mode("RGB", "JPEG", progressive=True),
    "JPEG L": mode("L", "JPEG"),
    "JPEG CMYK": mode("CMYK", "JPEG"),
    "JPEG RGB": mode("RGB", "JPEG", keep_rgb=True),
    "JPEG turned": turned(8, "JPEG"),
    "JPEG mirrored": turned(5, "JPEG"),
    "JPEG turned nowhere": turned(0, "JPEG"),
    "JPEG and more": lambda p: save(p, "JPEG") + b"more" * 99,
    "TIFF": mode("RGB", "TIFF"),
    "TIFF LZW": mode("RGB", "TIFF", compression="tiff_lzw"),
    "TIFF deflate": mode("RGB", "TIFF", compression="tiff_adobe_deflate"),
    "TIFF LZMA": mode("RGB", "TIFF", compression="lzma"),
    "TIFF JPEG": mode("RGB", "TIFF", compression="jpeg"),
    "TIFF 1": mode("1", "TIFF"),
    "TIFF 1 fax": mode("1", "TIFF", compression="group4"),
    "TIFF L": mode("L", "TIFF"),
    "TIFF LA": alpha("TIFF", "LA"),
    "TIFF P": mode("P", "TIFF"),
    "TIFF RGBA": alpha("TIFF"),
    "TIFF CMYK": mode("CMYK", "TIFF"),
    "TIFF YCbCr": mode("YCbCr", "TIFF"),
    "TIFF LAB": mode("LAB", "TIFF"),
    "TIFF turned": turned(3, "TIFF"),
    "TIFF pages": pages("TIFF"),
    "WEBP": mode("RGB", "WEBP"),
    "WEBP lossless": mode("RGB", "WEBP", lossless=True),
    "WEBP RGBA": alpha("WEBP", lossless=True),
    "WEBP turned": turned(6, "WEBP", lossless=True),
    "WEBP animated": pages("WEBP", lossless=True),
}
"""Kind to its encoder; each gives an image, though not the pixels bit for bit."""

if Version(PIL.__version__) < Version("13"):  # which has no wheels for Python 3.10
    del ACCEPTED["TIFF YCbCr"]  # written by it, but taken for truncated when it is read

REFUSED = {
    "nothing": lambda _: b"",
    "text": lambda _: b"path,label\n",
    "GIF": mode("RGB", "GIF"),
    "PNG 16": png16(3),
    "PNG 16 L": png16(1),
    "PNG 16 LA": png16(2),
    "TIFF 16": tiff16,
    "TIFF float": lambda p: save(Image.fromarray(p[..., 0].astype(np.float32)), "TIFF"),
    "PNG cut": lambda p: save(p, "PNG")[:-60],
    "JPEG cut": lambda p: save(p, "JPEG")[:-40],
    "BMP cut": lambda p: bmp(p)[:-200],
    "TIFF cut": lambda p: save(p, "TIFF", compression="raw")[:300],
    "WEBP cut": lambda p: save(p, "WEBP", lossless=True)[:-200],
    "PNG invisible": lambda p: save(np.dstack([p, np.zeros_like(p[..., :1])]), "PNG"),
    "BMP invisible": bmp32(ALPHA_MASKS, clear=True),
    "PNG bomb": lambda _: raw_png([], 60_000, 60_000, 8, 2),
    "PNG tape": lambda _: raw_png([], 8, 40_000, 8, 2),
    "dot": lambda p: save(p[:2, :2], "PNG"),
}
"""Kind to the encoder of a file that no loader may get."""
