"""The decoding that every loader answers for: an image file to 8-bit RGB, by stated rules.

* What a file is, its content says, not its name.
* The EXIF orientation is applied.
* Transparent parts are laid over black, the background of segmented cells; a fully transparent
  image is refused.
* Of a file of several pages the first is read.
* More than 8 bits a channel are refused: how 10 to 14 bits of a camera fill 16 differs.
* CMYK, YCbCr and the like become RGB as PIL converts them; colour profiles are not applied.
* Metadata never spoil an image: where PIL can't read them, the file is decoded without them.

PIL does it. Other decoders agree with it on part of the files: which these are,
:func:`examine` tells (``needs_pil``), and all others reach them by way of :func:`encode_bmp`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import struct
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.Image import Transpose

from fastleuk.data.images.bmp import BmpLayout, begins_in_header, read_layout
from fastleuk.data.images.headers import (
    bits_per_channel,
    is_unambiguous_jpeg,
    is_unambiguous_png,
    kind,
)
from fastleuk.data.images.metadata import NOTE, without_metadata

FORMATS = ("BMP", "PNG", "JPEG", "TIFF", "WEBP")
MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
MIN_SIDE, MAX_SIDE = 8, 30_000
BLENDED = "transparent parts, laid over black"
MAX_PIXELS = 50_000_000
"""A cell crop has 0.2 million pixels; anything near this is not one, or is a bomb."""

VERSION = 3
"""Of the rules above; results kept under another version are not used."""

_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112

_IN_HEADER = "damaged: its pixels would begin in its header"

Bytes = bytes | memoryview


@dataclass(frozen=True)
class Examined:
    """What :func:`examine` found."""

    width: int = 0
    height: int = 0
    """Pixels of the decoded, upright image; 0 where unknown, as of a damaged file."""
    error: str = ""
    """Why the file can't be used."""
    needs_pil: bool = False
    """Only PIL is known to give these pixels: loaders that decode otherwise are handed them."""
    note: str = ""
    """What of the file is not used as it stands."""
    pixels: str = ""
    """Hex SHA-256 of size and pixels: equal for equal images, whatever the file."""


class RefusedImage(ValueError):
    """A whole image that breaks one of the rules."""


def examine(data: Bytes) -> Examined:
    """Decode an image file from memory and say what it is, and what is wrong with it, if anything.

    Every decoder's failure becomes :attr:`Examined.error`.
    """
    return examine_image(data)[0]


def examine_image(data: Bytes) -> tuple[Examined, Image.Image | None]:
    """Examine as :func:`examine`, and return the RGB image; None where there is an error."""
    found, rgb = decode_checked(data)
    if found.error:
        return found, None
    if rgb is not None:
        return replace(found, pixels=_hash_image(rgb)), rgb
    layout = read_layout(data)
    assert layout is not None
    return replace(found, pixels=_hash_rows(data, layout)), _image_of_rows(data, layout)


def decode_checked(data: Bytes) -> tuple[Examined, Image.Image | None]:
    """Return what :func:`examine` does, but for the hash, and the RGB image decoded for it.

    There is no image where there is an error, nor of a plain BMP, whose pixels lie in the file.
    """
    if not data:
        return Examined(error="empty file (0 bytes)"), None
    layout = read_layout(data)
    if layout is not None and layout.length <= len(data):
        # Nothing else can be wrong with it: not to decode it makes verifying C-NMC faster.
        error = _size_error(layout.width, layout.height)
        return Examined(layout.width, layout.height, error), None
    if begins_in_header(data):
        return Examined(error=_IN_HEADER), None
    found, rgb = _decode_checked(data)
    if not found.error or found.width:
        return found, rgb
    for rest in without_metadata(data):
        found, rgb = _decode_checked(rest)
        if not found.error or found.width:
            note = ", ".join(filter(None, (found.note, NOTE)))
            return replace(found, needs_pil=True, note=note), rgb
    return found, None


def _decode_checked(data: Bytes) -> tuple[Examined, Image.Image | None]:
    """Decode once; an error without a size is a failure of PIL's, with one it is a rule's."""
    bits = bits_per_channel(data)
    found = Examined()
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            error = _size_error(width, height) or _mode_error(image, bits)
            found = Examined(width, height, error)
            if error:
                return found, None
            image.load()
            needs_pil = not _decodes_alike(image, data)
            rgb, blended = _to_rgb(image)
            note = _note(image)  # last: it looks at the other pages, and may leave the first
    except UnidentifiedImageError:
        return Examined(error=_depth_error(bits) or f"not an image ({kind(data)})"), None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return replace(found, error="absurdly many pixels: not a cell crop"), None
    except RefusedImage as broken:
        return replace(found, error=str(broken)), None
    except Exception as damage:
        # PIL's decoders raise nearly anything on damaged input.
        return Examined(error=f"damaged or truncated: {damage}"), None
    if blended:
        note = ", ".join(filter(None, (note, BLENDED)))
    return Examined(*rgb.size, needs_pil=needs_pil, note=note), rgb


def decode_rgb(data: Bytes) -> Image.Image:
    """Decode an image file from memory by the rules, as a PIL image of mode RGB.

    Raises:
        Exception: PIL's, of many kinds, where the data are damaged or break a rule.
    """
    if begins_in_header(data):
        raise RefusedImage(_IN_HEADER)
    try:
        return _decode_rgb(data)
    except RefusedImage:
        raise
    except Exception:  # PIL's, of many kinds
        for rest in without_metadata(data):
            with contextlib.suppress(Exception):
                return _decode_rgb(rest)
        raise


def _decode_rgb(data: Bytes) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        problem = _size_error(*image.size) or _mode_error(image, bits_per_channel(data))
        if problem:
            raise RefusedImage(problem)
        return _to_rgb(image)[0]


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an opened image as mode RGB, by the rules.

    Raises:
        RefusedImage: too many or too few pixels, more than 8 bits a channel, or all transparent.
    """
    return to_rgb_noted(image)[0]


def to_rgb_noted(image: Image.Image) -> tuple[Image.Image, str]:
    """Return an opened image as mode RGB, by the rules, and a note on what was changed in it.

    Raises:
        RefusedImage: see :func:`to_rgb`.
    """
    problem = _size_error(*image.size) or _mode_error(image, 8)
    if problem:
        raise RefusedImage(problem)
    rgb, blended = _to_rgb(image)
    return rgb, BLENDED if blended else ""


def opaque_rgb(image: Image.Image) -> Image.Image:
    """Return a decoded image of any size as mode RGB: by the rules, but never turned.

    Raises:
        RefusedImage: more than 8 bits a channel, or all transparent.
    """
    problem = _mode_error(image, 8)
    if problem:
        raise RefusedImage(problem)
    return _opaque(image)[0]


def encode_bmp(image: Image.Image) -> np.ndarray:
    """Return an RGB image as the bytes of a plain BMP, which every decoder reads alike."""
    width, height = image.size
    stride = (3 * width + 3) // 4 * 4
    start = 54
    head = struct.pack("<2sIHHI", b"BM", start + stride * height, 0, 0, start)
    head += struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, stride * height, 0, 0, 0, 0)
    return np.frombuffer(head + image.tobytes("raw", "BGR", stride, -1), np.uint8)


def _size_error(width: int, height: int) -> str:
    bomb = Image.MAX_IMAGE_PIXELS
    if bomb and width * height > bomb:
        return "absurdly many pixels: not a cell crop"
    if (
        width * height > MAX_PIXELS
        or min(width, height) < MIN_SIDE
        or max(width, height) > MAX_SIDE
    ):
        return f"{width}x{height} pixels: not a cell crop"
    return ""


def _mode_error(image: Image.Image, bits: int) -> str:
    """Say what of an opened, not yet decoded image is beyond 8-bit pictures."""
    if image.format == "TIFF":
        tags: Any = image.tag_v2  # type: ignore[attr-defined]
        bits = max(_numbers(tags.get(258, 1)))
        if bits <= 8 and max(_numbers(tags.get(339, 1))) not in (1, 4):  # SampleFormat
            return "signed or floating-point pixels: convert it to 8-bit RGB"
    if bits > 8 or image.mode.startswith(("I", "F")):
        return _depth_error(max(bits, 16))
    if image.mode not in MODES:
        return f"pixel mode {image.mode}: convert it to 8-bit RGB"
    return ""


def _depth_error(bits: int) -> str:
    if bits <= 8:
        return ""
    return (
        f"{bits} bits a channel: convert it to 8-bit RGB, all images by one rule (what a camera "
        "of 10 to 14 bits calls white is rarely 65535)"
    )


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(map(int, value)) if isinstance(value, tuple) else (int(value),)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF data say nothing
        return 1
    return value if value in _TURNS else 1


def _decodes_alike(image: Image.Image, data: Bytes) -> bool:
    """Whether the other decoders are known to give the same pixels."""
    checks = {"JPEG": is_unambiguous_jpeg, "PNG": is_unambiguous_png}
    check = checks.get(image.format or "")
    return check is not None and check(data) and _orientation(image) == 1


def _note(image: Image.Image) -> str:
    try:
        pages = getattr(image, "n_frames", 1)
    except Exception:  # PIL's, of many kinds, on damage
        return "damaged pages behind the first, which is used"
    if image.format == "MPO":  # a phone's photograph: the others are previews or depth
        return ""
    return f"{pages} pages, only the first of which is used" if pages > 1 else ""


def _to_rgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """Return the upright RGB image, and whether anything in it was transparent."""
    image.load()  # before anything that would swallow its failure
    turn = _TURNS.get(_orientation(image))
    rgb, blended = _opaque(image)
    return (rgb if turn is None else rgb.transpose(turn)), blended


def _opaque(image: Image.Image) -> tuple[Image.Image, bool]:
    if not image.has_transparency_data:
        return image.convert("RGB"), False
    image = image.convert("RGBA")
    low, high = image.getchannel("A").getextrema()
    if high == 0:
        raise RefusedImage("every pixel is fully transparent: save it without its alpha channel")
    if low == 255:
        return image.convert("RGB"), False
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, image).convert("RGB"), True


def _hash_rows(data: Bytes, layout: BmpLayout) -> str:
    """Hash a plain BMP from its rows where they lie."""
    height, step = layout.height, abs(layout.stride)
    first = min(layout.start, layout.start + layout.stride * (height - 1))
    rows = np.frombuffer(data, np.uint8, count=height * step, offset=first).reshape(height, step)
    if layout.stride > 0:
        rows = rows[::-1]
    return _digest(layout.width, height, np.ascontiguousarray(rows[:, : 3 * layout.width]))


def _image_of_rows(data: Bytes, layout: BmpLayout) -> Image.Image:
    """Read a plain BMP from its rows where they lie: four times as fast as PIL's own reader."""
    width, height, step = layout.width, layout.height, abs(layout.stride)
    first = min(layout.start, layout.start + layout.stride * (height - 1))
    rows = memoryview(data)[first : first + height * step]
    way = 1 if layout.stride > 0 else -1
    return Image.frombytes("RGB", (width, height), rows, "raw", "BGR", step, way)


def _hash_image(rgb: Image.Image) -> str:
    return _digest(*rgb.size, rgb.tobytes("raw", "BGR", 0, -1))


def _digest(width: int, height: int, rows: Any) -> str:
    """Hash the rows from the last to the first, blue first: as a BMP has them."""
    digest = hashlib.sha256(f"{width}x{height}:".encode())
    digest.update(rows)
    return digest.hexdigest()
