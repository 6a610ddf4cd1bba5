"""Whether an uploaded file is an image of a cell, before anything of it is decoded."""

from __future__ import annotations

import io

from PIL import Image

from fastleuk.data.images.decode import FORMATS
from fastleuk.loading.images.encoded import BadImage, Encoded, encode_bytes
from fastleuk.serve.limits import Limits


def check_image(data: bytes, limits: Limits) -> Encoded | str:
    """Check an uploaded file by the rules for all images, and by the server's limits.

    The header says how large an image is: what is too large is never decoded.

    Returns:
        The image, or why it can't be used.
    """
    if len(data) > limits.image_bytes:
        return f"{len(data) / 1e6:.1f} MB: an image may have {limits.image_mb:g} MB"
    size = _size(data)
    if size is not None and size[0] * size[1] > limits.pixels:
        return (
            f"{size[0]}x{size[1]} pixels: an image may have {limits.megapixels:g} million; "
            "send crops of single cells"
        )
    try:
        return encode_bytes(data)
    except BadImage as reason:
        return str(reason)


def _size(data: bytes) -> tuple[int, int] | None:
    """Return width and height by the header; None where no header can be read."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.size
    except Exception:  # PIL's, of many kinds; decoding says what is wrong
        return None
