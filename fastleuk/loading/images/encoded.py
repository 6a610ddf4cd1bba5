"""Images that come one by one, from anywhere: checked, in a form that every decoder reads alike.

Data sets are verified before they are used; what comes by an upload, an array or a path of which
nobody has heard before is verified here, by the same rules (:mod:`fastleuk.data.images.decode`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastleuk.data.images.decode import RefusedImage, decode_checked, encode_bmp, to_rgb
from fastleuk.data.shards.read import image_bytes
from fastleuk.errors import DataError


class BadImage(DataError):
    """One image can't be used; the text is the reason alone."""


@dataclass(frozen=True, eq=False, slots=True)
class Encoded:
    """An image that can be decoded.

    Attributes:
        data: uint8 ``(B,)``, a file's bytes: a plain BMP, or a PNG or JPEG that all decoders read
            alike.
        width: Pixels.
        height: Pixels.
        crop: Side in pixels of the centred square to cut out; 0 for the whole image.
        note: What of the original is not used as it stands.
    """

    data: np.ndarray
    width: int
    height: int
    crop: int = 0
    note: str = ""

    @property
    def decoded_bytes(self) -> int:
        """Bytes of the decoded image."""
        return 3 * self.width * self.height


def encode_bytes(data: np.ndarray | bytes | memoryview, *, crop: int = 0) -> Encoded:
    """Check the bytes of an image file.

    Args:
        data: uint8 ``(B,)`` or bytes.
        crop: See :class:`Encoded`.

    Raises:
        BadImage: it breaks a rule, or is damaged.
    """
    array = data if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)
    found, rgb = decode_checked(array.data)
    if found.error:
        raise BadImage(found.error)
    if found.needs_pil:
        assert rgb is not None
        array = encode_bmp(rgb)
    return Encoded(array, found.width, found.height, crop, found.note)


def encode_file(file: Path, *, crop: int = 0) -> Encoded:
    """Read and check an image file, or a member of a tar shard (``x.tar/member``).

    Raises:
        BadImage: it can't be read, breaks a rule, or is damaged.
    """
    try:
        data = image_bytes(file)
    except OSError as error:
        raise BadImage(f"can't be read: {error.strerror or error}") from error
    except DataError as error:  # of a tar shard
        raise BadImage(str(error)) from error
    return encode_bytes(data, crop=crop)


def encode_array(array: Any) -> Encoded:
    """Take decoded pixels: uint8 RGB ``(H, W, 3)``, or grey ``(H, W)``.

    Raises:
        BadImage: another shape or dtype, or another size than a cell has.
    """
    from PIL import Image

    pixels = np.asarray(array)
    if pixels.dtype != np.uint8:
        raise BadImage(
            f"an array of {pixels.dtype}, but images are uint8 from 0 to 255: scale it to that"
        )
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise BadImage(
            f"an array of shape {pixels.shape}, but images are (height, width, 3) in RGB order, "
            "or (height, width) in grey"
        )
    return encode_picture(Image.fromarray(np.ascontiguousarray(pixels)))


def encode_picture(image: Any) -> Encoded:
    """Take a PIL image of any mode of 8 bits a channel, by the rules for files.

    Raises:
        BadImage: it breaks one of them, or its file is damaged.
    """
    try:
        rgb = to_rgb(image)
    except RefusedImage as reason:
        raise BadImage(str(reason)) from reason
    except Exception as damage:  # a file that PIL decodes only now
        raise BadImage(f"damaged or truncated: {damage}") from damage
    return Encoded(encode_bmp(rgb), *rgb.size)


def encode_any(image: Any) -> Encoded:
    """Take an array, a PIL image, a path, or the bytes of a file.

    Raises:
        BadImage: it can't be used.
    """
    if isinstance(image, Encoded):
        return image
    if isinstance(image, str | os.PathLike):
        return encode_file(Path(image).expanduser())
    if isinstance(image, bytes | bytearray | memoryview):
        return encode_bytes(memoryview(image))
    if hasattr(image, "convert") and hasattr(image, "getbands"):
        return encode_picture(image)
    return encode_array(image)


TOGETHER_BYTES = 256 << 20
"""Of decoded images that are held at once; larger ones are decoded one after the other."""


def groups(images: Sequence[Encoded], most: int) -> Iterator[slice]:
    """Cut images into runs that are decoded together: at most ``most``, and not too many bytes."""
    start = held = 0
    for place, image in enumerate(images):
        full = place - start == most or held + image.decoded_bytes > TOGETHER_BYTES
        if full and place > start:
            yield slice(start, place)
            start, held = place, 0
        held += image.decoded_bytes
    if start < len(images):
        yield slice(start, len(images))
