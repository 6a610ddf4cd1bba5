"""One image's parameters as the row of numbers that the compiled kernel reads: NumPy only."""

from __future__ import annotations

import numpy as np

from fastleuk.augment import matrices
from fastleuk.augment.params import AugmentParams, Bools

FLIP_ROTATE = 0
"""Here begins the homography of flips and rotation, 9 numbers."""
FLIP_ROTATE_CROP = 9
"""That of flips, rotation and crop."""
AFFINE = 18
PERSPECTIVE = 27
PERSPECTIVE_ON = 36
SHARPNESS_ON = 37
JITTER_ORDER = 38
"""Four numbers of steps, as in ``AugmentParams.jitter_order``."""
BRIGHTNESS, CONTRAST, SATURATION = 42, 43, 44
HUE_SIXTHS, HUE_THIRDS = 45, 46
"""The hue's shift, see :func:`fastleuk.augment.matrices.hue_shift`."""
MARGIN_X, MARGIN_Y = 47, 48
"""Half a pixel of what was cropped, in pixels of the output: nearer to the crop's edge, and beyond
it, is as at this distance."""
ROW = 49

PIVOT_POINTS = 48
"""Contrast needs the mean grey of the whole image: from so many points along each edge."""


def pack_rows(params: AugmentParams, perspective: Bools) -> np.ndarray:
    """``(N, ROW)`` float32, laid out as the names above say.

    Args:
        params: ``N`` rows.
        perspective: ``(N,)``: which of them the perspective changes.
    """
    n, size = len(params), params.size
    flip_rotate = matrices.geometry_before_jitter(params)
    rows = np.zeros((n, ROW), np.float32)
    for start, homography in (
        (FLIP_ROTATE, flip_rotate),
        (FLIP_ROTATE_CROP, flip_rotate @ matrices.crop_matrix(params.crop, size)),
        (AFFINE, matrices.affine_of(params)),
        (PERSPECTIVE, matrices.perspective_matrix(params.endpoints, size)),
    ):
        rows[:, start : start + 9] = homography.reshape(n, 9)
    rows[:, PERSPECTIVE_ON] = perspective
    rows[:, SHARPNESS_ON] = params.sharpness != 1
    rows[:, JITTER_ORDER : JITTER_ORDER + 4] = params.jitter_order
    rows[:, BRIGHTNESS] = params.brightness
    rows[:, CONTRAST] = params.contrast
    rows[:, SATURATION] = params.saturation
    rows[:, HUE_SIXTHS], rows[:, HUE_THIRDS] = matrices.hue_shift(params.hue)
    rows[:, MARGIN_X] = 0.5 * size / params.crop[:, 3]
    rows[:, MARGIN_Y] = 0.5 * size / params.crop[:, 2]
    return rows
