"""The chain as mathematics means it, in float64: the yardstick for all appliers.

The image is resized with antialiasing to the output's size, as every applier does it first. All
maps of the plane are composed, and at the center of each output pixel that image is interpolated
once; hue is shifted exactly in HSV; blur and sharpness are correlations in the frame before the
perspective, whose taps are evaluated where they fall. Nothing is rounded, the resized image
neither. At the edges of canvas and crop counts the share of the pixel that lies within, from 4 x 4
points. Independent of the appliers but for the homographies of single steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from scipy import ndimage, signal

from fastleuk.augment import matrices
from fastleuk.augment.params import AugmentParams, Floats

POINTS = (np.arange(4) + 0.5) / 4 - 0.5
"""Along each edge of a pixel, from its center, where its share within an edge is taken."""


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
    image = resize(image, size)
    x, y = centers(size)
    pivots = jitter_pivots(_turned(image, row, np.eye(3), x, y), row)
    kernel = _kernel(row)
    if not row.active()["perspective"][0]:  # all taps fall on centers
        pixels = _before_filter(image, row, pivots, x, y)
        return np.clip(ndimage.correlate(pixels, kernel[..., None], mode="mirror"), 0, 255)
    perspective = matrices.perspective_matrix(row.endpoints, size)[0]
    seen = _share(lambda u, v: _inside(*_map(perspective, u, v), size), x, y)
    x, y = (np.clip(points, 0.5, size - 0.5) for points in _map(perspective, x, y))
    reach = len(kernel) // 2
    pixels = np.zeros((size, size, 3))
    for down, across in itertools.product(range(len(kernel)), repeat=2):
        points = (_mirrored(p + k - reach, size) for p, k in ((x, across), (y, down)))
        pixels += kernel[down, across] * _before_filter(image, row, pivots, *points)
    return np.clip(pixels, 0, 255) * seen


def resize(image: np.ndarray, size: int) -> Floats:
    """Resize with antialiasing as torchvision's ``Resize`` does, without rounding.

    Args:
        image: ``(H, W, 3)``.
        size: Edge of the output.

    Returns:
        ``(size, size, 3)`` float64.
    """
    down, across = (triangle_weights(side, size) for side in image.shape[:2])
    return np.einsum("ih,hwc,jw->ijc", down, image.astype(np.float64), across, optimize=True)


def triangle_weights(count: int, size: int) -> Floats:
    """Return ``(size, count)``: the weight of each of ``count`` pixels in each of ``size``.

    A triangle that reaches as far as the step between output pixels, at least one source pixel;
    the part beyond the image's edge is left out.
    """
    step = count / size
    centers = (np.arange(size) + 0.5) * step
    distance = np.abs(np.arange(count) + 0.5 - centers[:, None])
    weights = np.maximum(1 - distance / max(step, 1.0), 0)
    return weights / weights.sum(axis=1, keepdims=True)


def centers(size: int) -> tuple[Floats, Floats]:
    """Return x and y of the centers of ``size`` x ``size`` pixels."""
    y, x = np.mgrid[:size, :size] + 0.5
    return x, y


def _before_filter(
    image: Floats, row: AugmentParams, pivots: list[float], x: Floats, y: Floats
) -> Floats:
    """The flipped, rotated, jittered, cropped and moved image at points of the canvas."""
    affine, crop = matrices.affine_of(row)[0], matrices.crop_matrix(row.crop, row.size)[0]
    inside = _share(lambda u, v: _inside(*_map(affine, u, v), row.size), x, y)
    x, y = (
        np.clip(points, 0.5 * row.size / side, row.size - 0.5 * row.size / side)
        for points, side in zip(_map(affine, x, y), row.crop[0, :1:-1], strict=True)
    )  # no pixel beyond the crop takes part
    return jitter(_turned(image, row, crop, x, y), pivots, row) * inside


def _turned(image: Floats, row: AugmentParams, matrix: Floats, x: Floats, y: Floats) -> Floats:
    """The flipped and rotated image where ``matrix`` maps points to; black beyond its edges."""
    matrix = matrices.geometry_before_jitter(row)[0] @ matrix
    inside = _share(lambda u, v: _inside(*_map(matrix, u, v), row.size), x, y)
    u, v = _map(matrix, x, y)
    points = [v - 0.5, u - 0.5]
    planes = [
        ndimage.map_coordinates(image[..., c], points, order=1, mode="nearest") for c in range(3)
    ]
    return np.stack(planes, axis=-1) * inside


def _map(matrix: Floats, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    u, v, w = (row[0] * x + row[1] * y + row[2] for row in matrix)
    return u / w, v / w


def _inside(x: Floats, y: Floats, size: int) -> np.ndarray:
    return (x >= 0) & (x <= size) & (y >= 0) & (y <= size)


def _share(inside: Callable[[Floats, Floats], np.ndarray], x: Floats, y: Floats) -> Floats:
    """Return ``(size, size, 1)``: the share of pixels about ``x, y`` that is ``inside``."""
    shares = [inside(x + right, y + down) for right in POINTS for down in POINTS]
    return np.mean(shares, axis=0)[..., None]


def jitter(pixels: Floats, pivots: list[float], row: AugmentParams) -> Floats:
    """Jitter ``pixels`` ``(..., 3)``, with the pivots of :func:`jitter_pivots`."""
    for step, pivot in zip(row.jitter_order[0], pivots, strict=True):
        pixels = _jitter_step(pixels, step, pivot, row)
    return pixels


def jitter_pivots(whole: Floats, row: AugmentParams) -> list[float]:
    """Return the mean gray before each step of the jitter, where contrast has its pivot.

    Args:
        whole: Levels of the image before the crop, which takes every step, too.
        row: Of one image.
    """
    pivots = []
    for step in row.jitter_order[0]:
        pivots.append(float((whole @ matrices.GREY).mean()))
        whole = _jitter_step(whole, step, pivots[-1], row)
    return pivots


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


def _kernel(row: AugmentParams) -> Floats:
    """Blur and sharpness as one correlation; a single 1 where neither is on."""
    blur = matrices.gaussian_kernel(row.sigma, row.kernel_size)[0]
    both = signal.convolve2d(blur, matrices.sharpness_kernel(row.sharpness)[0])
    filled = np.abs(np.array(np.nonzero(both)) - len(both) // 2)
    cut = len(both) // 2 - int(filled.max())
    return both[cut : len(both) - cut, cut : len(both) - cut]


def _mirrored(points: Floats, size: int) -> Floats:
    """Mirror points beyond the outermost pixels at the centers of those."""
    reach = size - 1
    if reach == 0:
        return np.full_like(points, 0.5)
    distance = np.abs(points - 0.5) % (2 * reach)
    return 0.5 + np.minimum(distance, 2 * reach - distance)
