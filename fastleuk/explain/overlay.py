"""A heat map laid over its cell."""

from __future__ import annotations

import numpy as np

STRENGTH = 0.75
"""How much the hottest place hides of the image; the coldest hides nothing."""

OUTLINE = (90, 230, 230)


def colours(heat: np.ndarray) -> np.ndarray:
    """Return the colours of heat from 0 to 1: uint8 ``(…, 3)``, dark to light (inferno)."""
    from matplotlib import colormaps

    return (colormaps["inferno"](np.clip(heat, 0, 1))[..., :3] * 255).round().astype(np.uint8)


def overlay(
    image: np.ndarray, heat: np.ndarray, mask: np.ndarray | None = None, *, side: int = 160
) -> np.ndarray:
    """Blend a heat map over its image, hotter places more; the cell's outline is drawn.

    Args:
        image: uint8 ``(H, W, 3)``.
        heat: ``(H, W)``, 0 to 1.
        mask: bool ``(H, W)``, the cell, or None.
        side: Side of the result in pixels.

    Returns:
        uint8 ``(side, side, 3)``.
    """
    base = enlarged(image, side).astype(np.float64)
    warm = np.clip(_scaled(heat.astype(np.float32), side), 0, 1)
    weight = (STRENGTH * warm)[..., None]
    mixed = (1 - weight) * base + weight * colours(warm)
    if mask is not None:
        mixed[_edge(_scaled(mask.astype(np.float32), side) > 0.5)] = OUTLINE
    return np.clip(mixed.round(), 0, 255).astype(np.uint8)


def enlarged(image: np.ndarray, side: int) -> np.ndarray:
    """Return an image ``(H, W, 3)`` uint8 at another size."""
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def _scaled(values: np.ndarray, side: int) -> np.ndarray:
    from PIL import Image

    picture = Image.fromarray(values)
    return np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR))


def _edge(mask: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    return mask & ~ndimage.binary_erosion(mask)


def colour_bar(width: int, height: int) -> np.ndarray:
    """Return the colours of 0 to 1 from left to right, over mid-grey as over an image."""
    warm = np.broadcast_to(np.linspace(0, 1, width), (height, width))
    weight = (STRENGTH * warm)[..., None]
    return ((1 - weight) * 128 + weight * colours(warm)).round().astype(np.uint8)
