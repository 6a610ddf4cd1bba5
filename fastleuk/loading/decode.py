"""Decode one image with PIL: what the torchvision loader does, and DALI must agree with."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from fastleuk.data.shards import image_bytes
from fastleuk.errors import DataError


def decode(file: Path, crop: int = 0) -> np.ndarray:
    """Read an image as RGB uint8 ``(H, W, 3)``.

    Args:
        file: The image file; its EXIF orientation is applied.
        crop: Side in pixels of the centred square to cut out; 0 for the whole image.

    Raises:
        DataError: the file can't be decoded.
    """
    try:
        with Image.open(io.BytesIO(image_bytes(file).data)) as image:
            image = ImageOps.exif_transpose(image).convert("RGB")
            pixels = np.asarray(image)
    except OSError as error:
        raise DataError(f"{file}: can't be read as an image: {error}.") from error
    if crop:
        top, left = ((side - crop) // 2 for side in pixels.shape[:2])
        pixels = pixels[max(top, 0) : max(top, 0) + crop, max(left, 0) : max(left, 0) + crop]
    return pixels
