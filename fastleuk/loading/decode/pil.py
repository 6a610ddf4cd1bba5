"""Decode one image with PIL: what the torchvision loader does, and DALI must agree with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fastleuk.data.images.decode import decode_rgb
from fastleuk.data.shards.read import image_bytes
from fastleuk.errors import DataError


def decode(file: Path, crop: int = 0) -> np.ndarray:
    """Read an image as RGB uint8 ``(H, W, 3)``, by the rules of :mod:`fastleuk.data.images.decode`.

    Args:
        file: The image file.
        crop: Side in pixels of the centred square to cut out, see :func:`cut_centre`; 0 for the
            whole image.

    Raises:
        DataError: the file can't be decoded.
    """
    return cut_centre(np.asarray(decode_image(file)), crop)


def decode_image(file: Path) -> Image.Image:
    """Read an image as PIL has it, by the same rules.

    Raises:
        DataError: the file can't be decoded.
    """
    try:
        return decode_rgb(image_bytes(file).data)
    except DataError:
        raise
    except Exception as error:  # PIL's decoders raise nearly anything
        raise DataError(f"{file}: can't be read as an image: {error}.") from error


def cut_centre(pixels: np.ndarray, crop: int) -> np.ndarray:
    """Cut the centred square of side ``crop`` out of ``(H, W, 3)``; 0 cuts nothing.

    An axis shorter than that stays whole. Where an odd number of pixels goes, the one more is
    cut at the bottom and at the right.
    """
    if not crop:
        return pixels
    top, left = (max(0, side - crop) // 2 for side in pixels.shape[:2])
    return pixels[top : top + crop, left : left + crop]
