"""The chain as mathematics means it, in float64: the yardstick for all three appliers.

One resampling of the original image at 4 x 4 points for each output pixel, no rounding
between steps, the edges of canvas and crop respected, hue shifted exactly in HSV, blur and
sharpness as correlations in the frame before the perspective. About a second an image, and
independent of the appliers but for the homographies of single steps.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from fastleuk.augment import matrices
from fastleuk.augment.params import AugmentParams, Floats

SUB = 4
"""Points along each edge of an output pixel."""


def apply(image: np.ndarray, params: AugmentParams, i: int) -> np.ndarray:
    """Augment one image with row ``i`` of ``params``.

    Args:
        image: ``(H, W, 3)`` uint8, RGB, any size.
        params: The batch's parameters.
        i: The row.

    Returns:
        ``(size, size, 3)`` float64 in levels, 0 to 255.
    """
    row, size = params.take([i]), params.size
    x, y = _grid(size)
    crop_x, crop_y = _map(matrices.affine_of(row)[0], x, y)
    inside_crop = _inside(crop_x, crop_y, size)
    uncropped_x, uncropped_y = _map(matrices.crop_matrix(row.crop, size)[0], crop_x, crop_y)
    pixels = _flipped_and_rotated(image, row, uncropped_x, uncropped_y)
    whole = _flipped_and_rotated(image, row, *_grid(size))
    pixels = jitter(pixels, whole, row) * inside_crop[..., None]
    pixels = _filter(pixels, row)
    if row.active()["perspective"][0]:
        matrix = matrices.perspective_matrix(row.endpoints, size)[0]
        seen_x, seen_y = _map(matrix, x, y)
        pixels = _sample(pixels, seen_x * SUB, seen_y * SUB)
        pixels *= _inside(seen_x, seen_y, size)[..., None]
    return pixels.reshape(size, SUB, size, SUB, 3).mean(axis=(1, 3))


def _grid(size: int) -> tuple[Floats, Floats]:
    points = (np.arange(size * SUB) + 0.5) / SUB
    y, x = np.meshgrid(points, points, indexing="ij")
    return x, y


def _map(matrix: Floats, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    u, v, w = (row[0] * x + row[1] * y + row[2] for row in matrix)
    return u / w, v / w


def _inside(x: Floats, y: Floats, size: int) -> np.ndarray:
    return (x >= 0) & (x <= size) & (y >= 0) & (y <= size)


def _sample(image: np.ndarray, x: Floats, y: Floats) -> Floats:
    """Linear interpolation with the origin at the outer corner of the first pixel."""
    points = [y - 0.5, x - 0.5]
    planes = [
        ndimage.map_coordinates(image[..., c].astype(np.float64), points, order=1, mode="nearest")
        for c in range(3)
    ]
    return np.stack(planes, axis=-1)


def _flipped_and_rotated(image: np.ndarray, row: AugmentParams, x: Floats, y: Floats) -> Floats:
    """The flipped and rotated image at points of the ``size`` x ``size`` canvas."""
    u, v = _map(matrices.geometry_before_jitter(row)[0], x, y)
    height, width = image.shape[:2]
    pixels = _sample(image, u * width / row.size, v * height / row.size)
    return pixels * _inside(u, v, row.size)[..., None]


def jitter(pixels: Floats, whole: Floats, row: AugmentParams) -> Floats:
    """Jitter ``pixels`` ``(..., 3)``; contrast goes by the mean gray of ``whole`` at its turn.

    Args:
        pixels: Levels of the cropped image.
        whole: Levels of the image before the crop, which takes every step, too.
        row: Of one image.
    """
    for step in row.jitter_order[0]:
        pivot = float((whole @ matrices.GREY).mean())
        pixels, whole = (_jitter_step(values, step, pivot, row) for values in (pixels, whole))
    return pixels


def _jitter_step(pixels: Floats, step: int, pivot: float, row: AugmentParams) -> Floats:
    if step == 0:
        pixels = pixels * row.brightness[0]
    elif step == 1:
        pixels = row.contrast[0] * pixels + (1 - row.contrast[0]) * pivot
    elif step == 2:
        grey = pixels @ matrices.GREY
        pixels = row.saturation[0] * pixels + (1 - row.saturation[0]) * grey[..., None]
    elif row.hue[0]:
        pixels = shift_hue(pixels, row.hue[0])
    return np.clip(pixels, 0, 255)


def shift_hue(pixels: Floats, turns: float) -> Floats:
    """Shift the HSV hue by way of HSV: ``(..., 3)`` in any non-negative unit."""
    red, green, blue = np.moveaxis(pixels, -1, 0)
    greatest, chroma = pixels.max(-1), np.ptp(pixels, axis=-1)
    safe = np.where(chroma > 0, chroma, 1)
    hue = np.select(
        [greatest == red, greatest == green],
        [(green - blue) / safe, (blue - red) / safe + 2],
        (red - green) / safe + 4,
    )
    hue = hue + 6 * turns
    channels = []
    for offset in (5, 3, 1):
        k = (offset + hue) % 6
        channels.append(greatest - chroma * np.clip(np.minimum(k, 4 - k), 0, 1))
    return np.stack(channels, axis=-1)


def _filter(pixels: Floats, row: AugmentParams) -> Floats:
    """Blur and sharpness with taps one output pixel apart."""
    for kernel in (
        matrices.gaussian_kernel(row.sigma, row.kernel_size)[0],
        matrices.sharpness_kernel(row.sharpness)[0],
    ):
        spread = np.zeros([(edge - 1) * SUB + 1 for edge in kernel.shape])
        spread[::SUB, ::SUB] = kernel
        if np.count_nonzero(kernel) > 1:
            pixels = ndimage.correlate(pixels, spread[..., None], mode="mirror")
            pixels = np.clip(pixels, 0, 255)
    return pixels
