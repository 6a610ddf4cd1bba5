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

from fastleuk.data.images.decode import RefusedImage, decode_checked, encode_bmp, to_rgb_noted
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


CHANNELS_FIRST = (
    "channels come first: move them to the end with permute(1, 2, 0) of torch or "
    "transpose(1, 2, 0) of NumPy; of a batch, with (0, 2, 3, 1)"
)
FORMS = "(height, width, 3) in RGB order, (height, width, 4) with alpha, or (height, width) in gray"


def encode_array(array: Any) -> Encoded:
    """Take decoded pixels, a NumPy array or a torch tensor of one image.

    Args:
        array: uint8 RGB ``(H, W, 3)``, RGBA ``(H, W, 4)`` or gray ``(H, W)`` or ``(H, W, 1)``; or
            the bytes of an image file, uint8 ``(B,)``.

    Raises:
        BadImage: another shape or dtype, or another size than a cell has.
    """
    from PIL import Image

    pixels = _pixels(array)
    if pixels.dtype != np.uint8:
        raise BadImage(
            f"an array of {pixels.dtype}, but images are uint8 from 0 to 255: scale it to that"
        )
    if pixels.ndim == 1:
        return encode_bytes(np.ascontiguousarray(pixels))
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        first = pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4)
        reason = CHANNELS_FIRST if first else f"images are {FORMS}"
        raise BadImage(f"an array of shape {pixels.shape}, but {reason}")
    return encode_picture(Image.fromarray(np.ascontiguousarray(pixels)))


def _pixels(array: Any) -> np.ndarray:
    """Return an array's numbers, wherever they lie.

    Raises:
        BadImage: it holds no numbers.
    """
    kind = type(array).__name__
    if not getattr(array, "shape", ()) and not isinstance(array, list | tuple):
        shown = f"{array!r} ({kind})" if isinstance(array, int | float | None) else f"a {kind}"
        raise BadImage(f"{shown}: no path, PIL image, array or bytes of a file")
    try:
        if hasattr(array, "detach"):  # torch's, on any device and of any of its dtypes
            array = array.detach().cpu()
            if not hasattr(np, str(array.dtype).removeprefix("torch.")):
                array = array.float()
        pixels = np.asarray(array)
    except Exception as error:  # of whatever library the array is
        raise BadImage(f"a {kind} that NumPy can't convert: pass uint8 arrays ({error})") from error
    if pixels.dtype.kind not in "buif":
        raise BadImage(f"a {kind} of {pixels.dtype}, but images are uint8 arrays")
    return pixels


def encode_picture(image: Any) -> Encoded:
    """Take a PIL image of any mode of 8 bits a channel, by the rules for files.

    Raises:
        BadImage: it breaks one of them, or its file is damaged.
    """
    try:
        rgb, note = to_rgb_noted(image)
    except RefusedImage as reason:
        raise BadImage(str(reason)) from reason
    except Exception as damage:  # a file that PIL decodes only now
        raise BadImage(f"damaged or truncated: {damage}") from damage
    return Encoded(encode_bmp(rgb), *rgb.size, note=note)


def encode_any(image: Any) -> Encoded:
    """Take an array, a PIL image, a path, an open file, or the bytes of a file.

    Raises:
        BadImage: it can't be used.
    """
    if isinstance(image, Encoded):
        return image
    if isinstance(image, str | os.PathLike):
        return encode_file(Path(image).expanduser())
    if isinstance(image, bytes | bytearray | memoryview):
        return encode_bytes(memoryview(image))
    if is_file(image):
        return encode_bytes(_read(image))
    if hasattr(image, "convert") and hasattr(image, "getbands"):
        return encode_picture(image)
    return encode_array(image)


def is_file(image: Any) -> bool:
    """Return whether an object is an open file."""
    return hasattr(image, "read") and not hasattr(image, "getbands")


def _read(file: Any) -> bytes:
    try:
        data = file.read()
    except (OSError, ValueError) as error:
        raise BadImage(f"can't be read: {error}") from error
    if not isinstance(data, bytes):
        raise BadImage("a file that was opened as text: use mode 'rb'")
    return data


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
