"""Matrices and kernels of the nine steps, vectorised over a batch, in float64.

Geometry: ``(N, 3, 3)`` homographies from destination to source, acting on (x, y, 1) in
pixels with the origin at the outer corner of the top left pixel, so that the centre of the
pixel (0, 0) is (0.5, 0.5). Colour: ``(N, 3, 3)`` matrices acting on (R, G, B) columns.
"""

from __future__ import annotations

import numpy as np

from fastleuk.augment.params import AugmentParams, Bools, Floats, Ints, corners

GREY = np.array([0.2989, 0.587, 0.114])
"""torchvision's weights of ``rgb_to_grayscale``."""

SMOOTH = np.array([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]]) / 13
"""The blurred image of torchvision's ``adjust_sharpness`` and of PIL's ``SMOOTH``."""


def identities(n: int) -> Floats:
    """``(n, 3, 3)`` identity matrices."""
    return np.tile(np.eye(3), (n, 1, 1))


def flip_matrix(hflip: Bools, vflip: Bools, size: int) -> Floats:
    """Mirror left and right where ``hflip``, top and bottom where ``vflip``."""
    matrix = identities(len(hflip))
    for axis, flip in enumerate((hflip, vflip)):
        matrix[:, axis, axis] = np.where(flip, -1.0, 1.0)
        matrix[:, axis, 2] = np.where(flip, float(size), 0.0)
    return matrix


def rotate_matrix(angle: Floats, size: int) -> Floats:
    """``torchvision.transforms.functional.rotate``: degrees counter-clockwise."""
    n = len(angle)
    return affine_matrix(-angle, np.zeros((n, 2)), np.ones(n), np.zeros((n, 2)), size)


def affine_matrix(
    angle: Floats, translate: Floats | Ints, scale: Floats, shear: Floats, size: int
) -> Floats:
    """``torchvision.transforms.functional.affine``, about the image's centre."""
    rot = np.radians(angle)
    shear_x, shear_y = np.radians(shear[:, 0]), np.radians(shear[:, 1])
    a = np.cos(rot - shear_y) / np.cos(shear_y)
    b = -np.cos(rot - shear_y) * np.tan(shear_x) / np.cos(shear_y) - np.sin(rot)
    c = np.sin(rot - shear_y) / np.cos(shear_y)
    d = -np.sin(rot - shear_y) * np.tan(shear_x) / np.cos(shear_y) + np.cos(rot)
    matrix = identities(len(angle))
    # the matrix [[a, b], [c, d]] has the determinant 1: this is its inverse
    matrix[:, 0, 0], matrix[:, 0, 1] = d / scale, -b / scale
    matrix[:, 1, 0], matrix[:, 1, 1] = -c / scale, a / scale
    centre = size / 2
    matrix[:, :2, 2] = centre - (matrix[:, :2, :2] @ (centre + translate)[..., None])[..., 0]
    return matrix


def crop_matrix(crop: Ints, size: int) -> Floats:
    """``resized_crop`` of (top, left, height, width) to ``size`` x ``size``."""
    top, left, height, width = crop.T
    matrix = identities(len(crop))
    matrix[:, 0, 0], matrix[:, 0, 2] = width / size, left
    matrix[:, 1, 1], matrix[:, 1, 2] = height / size, top
    return matrix


def perspective_matrix(endpoints: Floats, size: int) -> Floats:
    """``perspective``: the homography that takes ``endpoints`` to the image's corners."""
    n, start = len(endpoints), corners(size)
    x, y = endpoints[..., 0], endpoints[..., 1]
    one, zero = np.ones((n, 4)), np.zeros((n, 4))
    u, v = (np.broadcast_to(start[:, axis], (n, 4)) for axis in (0, 1))
    rows_u = np.stack([x, y, one, zero, zero, zero, -u * x, -u * y], axis=-1)
    rows_v = np.stack([zero, zero, zero, x, y, one, -v * x, -v * y], axis=-1)
    matrix = identities(n)
    moved = (endpoints != start).any(axis=(1, 2))
    if moved.any():
        equations = np.concatenate([rows_u, rows_v], axis=1)[moved]
        targets = np.concatenate([u, v], axis=1)[moved][..., None]
        matrix.reshape(n, 9)[moved, :8] = _solve(equations, targets)
    return matrix


UNSOLVED = 1e8
"""A homography of such numbers is the rounding errors of equations that have no one solution."""


def _solve(equations: Floats, targets: Floats) -> Floats:
    """Solve ``(N, 8, 8)`` systems for ``(N, 8, 1)``; by least squares where none or many fit.

    That is so where corners meet or lie on one line, on small images with a large
    ``distortion_scale``. torchvision solves by least squares throughout, or gives up there.
    """
    try:
        solutions = np.linalg.solve(equations, targets)[..., 0]
    except np.linalg.LinAlgError:  # of one row: the others are to come out as in any other batch
        solutions = np.stack([_solve_one(*row) for row in zip(equations, targets, strict=True)])
    for i in np.flatnonzero(~(np.abs(solutions) < UNSOLVED).all(axis=1)):
        solutions[i] = np.linalg.lstsq(equations[i], targets[i], rcond=None)[0][:, 0]
    return np.asarray(solutions, np.float64)


def _solve_one(equations: Floats, targets: Floats) -> Floats:
    try:
        return np.asarray(np.linalg.solve(equations, targets)[:, 0], np.float64)
    except np.linalg.LinAlgError:
        return np.full(8, np.inf)


def saturation_matrix(factor: Floats) -> Floats:
    """``adjust_saturation``: a blend with each pixel's grey."""
    factor = factor[:, None, None]
    return factor * np.eye(3) + (1 - factor) * GREY


def hue_shift(hue: Floats) -> tuple[Floats, Ints]:
    """``adjust_hue`` without a conversion to HSV.

    A shift of the HSV hue keeps each pixel's greatest and least channel values and moves
    the colour along the edge of the HSV hexagon. For a shift of ``k`` sixths of a turn with
    ``|k| <= 1`` that is, for a channel ``c`` between ``before`` and ``after`` in the cycle
    red, green, blue,

        clip(c + (1 - |k|) * (c - middle) + k * (before - after), least, greatest)

    where least, middle and greatest are the pixel's channels in order of size. A turn by a
    third only permutes the channels, so greater shifts are reduced to ``|k| <= 1``.

    Args:
        hue: ``(N,)`` turns in [-0.5, 0.5].

    Returns:
        ``k`` ``(N,)`` in [-1, 1], and the number of thirds ``(N,)`` in -1 … 1 that come first
        (+1: red becomes green).
    """
    thirds = np.rint(3 * hue)
    return 6 * hue - 2 * thirds, thirds.astype(np.int64)


def third_turns(thirds: Ints) -> Floats:
    """``(N, 3, 3)``: the permutations of the channels by that many thirds of a turn."""
    source = (np.arange(3) - thirds[:, None]) % 3
    return np.eye(3)[source]


def gaussian_kernel(sigma: Floats, kernel_size: int) -> Floats:
    """``(N, k, k)``: torchvision's kernel; a single 1 in the middle where ``sigma`` is 0."""
    reach = (kernel_size - 1) * 0.5
    offsets = np.linspace(-reach, reach, kernel_size)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        row = np.exp(-0.5 * (offsets / sigma[:, None]) ** 2)
    row = np.where(sigma[:, None] > 0, row, offsets == 0)
    row /= row.sum(axis=1, keepdims=True)
    return row[:, :, None] * row[:, None, :]


def sharpness_kernel(factor: Floats) -> Floats:
    """``(N, 3, 3)``: ``adjust_sharpness`` as one correlation; it may exceed [0, 255]."""
    delta = np.zeros((3, 3))
    delta[1, 1] = 1
    factor = factor[:, None, None]
    return factor * delta + (1 - factor) * SMOOTH


def geometry_before_jitter(params: AugmentParams) -> Floats:
    """``(N, 3, 3)``: both flips and the rotation."""
    flip = flip_matrix(params.hflip, params.vflip, params.size)
    return flip @ rotate_matrix(params.angle, params.size)


def affine_of(params: AugmentParams) -> Floats:
    """``(N, 3, 3)``: the affine step."""
    return affine_matrix(
        params.affine_angle, params.translate, params.scale, params.shear, params.size
    )
