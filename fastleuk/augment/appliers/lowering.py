"""From drawn parameters to the arrays that a DALI graph consumes: NumPy only.

A DALI graph is fixed when it is built; what differs from sample to sample enters it as data.
For each applier there is a list of names and a function that computes the arrays for a batch.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable

import numpy as np

from fastleuk.augment import matrices
from fastleuk.augment.appliers.row import pack_rows
from fastleuk.augment.params import AugmentParams, Bools, identity
from fastleuk.errors import ConfigError

APPLIERS = ("compiled", "compiled-host", "fused", "exact", "reference")
JITTER_SLOTS = 4
HUE = 3  # its number in jitter_order

SAMPLE = 48
"""``fused`` fits its color map, and checks it, on so many pixels along each edge."""
NEAR = 0.7
"""Levels, root mean square: so near that map must come to be used. torchvision, which truncates
to whole levels after each step, is 1 to 2 from the exact jitter;"""
NEAR_IN_HUE = 0.25
"""and 0.25 where hue alone is shifted, which it truncates once."""
MEAN_ROWS = 32
"""Rows of ``size`` points, of which ``fused`` takes the mean for contrast in its exact jitter."""

Array = np.ndarray | list[np.ndarray]
"""Rows of equal shape, or a list where the shape differs from row to row."""


@functools.cache
def param_names(applier: str = "exact") -> tuple[str, ...]:
    """The names of the arrays of :func:`param_arrays`, in order."""
    return tuple(_lowering(applier)(_PROBE))


def param_arrays(params: AugmentParams, applier: str = "exact") -> tuple[Array, ...]:
    """What the graph of ``applier`` consumes for this batch.

    Args:
        params: ``N`` rows.
        applier: ``exact``, ``fused`` or ``compiled``.

    Returns:
        Arrays with ``N`` rows each, named by :func:`param_names`: float32, int32 or bool.
    """
    arrays = _lowering(applier)(params).values()
    return tuple(a if isinstance(a, list) else np.ascontiguousarray(a) for a in arrays)


def fastest_in_graph(interpolation: str, device: str) -> str:
    """The fastest applier of a DALI graph that is installed; nothing is imported to find out.

    Triton's kernels are no part of a graph, so on a GPU it is never ``compiled``.

    Args:
        interpolation: Of the policy; ``exact`` alone knows ``nearest``.
        device: ``cpu`` or ``gpu``: where the images are.
    """
    if interpolation != "bilinear":
        return "exact"
    if device == "cpu" and importlib.util.find_spec("numba") is not None:
        return "compiled"
    return "fused"


def _lowering(applier: str) -> Callable[[AugmentParams], dict[str, Array]]:
    if applier == "auto":
        raise ConfigError(
            "applier: auto. Parameters are lowered for one applier: name it, the same for "
            "param_names, param_arrays and apply_graph."
        )
    if applier not in _LOWERINGS:
        raise ConfigError(
            f"applier {applier!r} has no DALI graph; choose {' or '.join(_LOWERINGS)}"
        )
    return _LOWERINGS[applier]


def _float32(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, np.float32)


def any_step(active: dict[str, Bools]) -> Bools:
    """Whether anything is done to an image, of whether each step is."""
    return np.any(list(active.values()), axis=0)


def exact_arrays(params: AugmentParams) -> dict[str, Array]:
    """One operator a step: its arguments, and for costly steps whether to run it at all."""
    active = params.active()
    crop = params.crop.astype(np.int32)
    local_crop = params.crop * np.array([0, 0, 1, 1])  # the slice has moved its corner to (0, 0)
    return {
        "augment_on": any_step(active),
        "hflip": params.hflip.astype(np.int32),
        "vflip": params.vflip.astype(np.int32),
        "rotate_on": active["rotate"],
        "rotate": _float32(matrices.rotate_matrix(params.angle, params.size)),
        **_jitter_arrays(params),
        "crop_on": active["resized_crop"],
        "crop_start": crop[:, :2],
        "crop_shape": crop[:, 2:],
        "crop": _float32(matrices.crop_matrix(local_crop, params.size)),
        "affine_on": active["affine"],
        "affine": _float32(matrices.affine_of(params)),
        "blur": _float32(matrices.gaussian_kernel(params.sigma, params.kernel_size)),
        "sharpness_on": active["adjust_sharpness"],
        "sharpness": _float32(matrices.sharpness_kernel(params.sharpness)),
        **_perspective_arrays(params, active),
    }


def _jitter_arrays(params: AugmentParams) -> dict[str, Array]:
    """The four slots of the colour jitter: in each, one of the four steps takes its turn."""
    factors = np.stack([params.brightness, params.contrast, np.ones(len(params))], axis=1)
    arrays: dict[str, Array] = {
        "saturation": _float32(params.saturation),
        **_hue_arrays(params),
    }
    for slot in range(JITTER_SLOTS):
        step = params.jitter_order[:, slot]
        factor = np.take_along_axis(factors, np.minimum(step, 2)[:, None], axis=1)[:, 0]
        pivot = np.where(step == 1, 1 - params.contrast, 0.0)
        arrays |= {
            f"saturate_{slot}": (step == 2) & (params.saturation != 1),
            f"shift_hue_{slot}": (step == HUE) & (params.hue != 0),
            f"factor_{slot}": _float32(factor),
            f"contrast_{slot}": step == 1,
            f"pivot_{slot}": _float32(pivot[:, None, None] * matrices.GREY),
        }
    return arrays


def _hue_arrays(params: AugmentParams) -> dict[str, Array]:
    """The shift in sixths of a turn, and the plane each channel comes from before that."""
    k, thirds = matrices.hue_shift(params.hue)
    source = ((np.arange(3) - thirds[:, None]) % 3).astype(np.int32)
    return {
        "hue": _float32(k),
        "hue_complement": _float32(1 - np.abs(k)),
        "hue_red": source[:, :1],
        "hue_green": source[:, 1:2],
        "hue_blue": source[:, 2:],
    }


def _perspective_arrays(params: AugmentParams, active: dict[str, Bools]) -> dict[str, Array]:
    return {
        "perspective_on": active["perspective"],
        "perspective": _float32(matrices.perspective_matrix(params.endpoints, params.size)),
    }


def fused_arrays(params: AugmentParams) -> dict[str, Array]:
    """Three homographies, one kernel, and the colour map but for what depends on the image."""
    size, active = params.size, params.active()
    before_jitter = matrices.geometry_before_jitter(params)
    before = before_jitter @ matrices.crop_matrix(params.crop, size)
    return {
        "augment_on": any_step(active),
        "edge_seen": active["rotate"] & _sees_edge(before, size),
        "before": _float32(before),
        "affine": _float32(matrices.affine_of(params)),
        "kernel": _kernels(params),
        "sharpness_on": params.sharpness != 1,
        **_perspective_arrays(params, active),
        "jitter_on": active["color_jitter"],
        # constants come in as data, too: DALI's own don't follow a batch that is split
        **_jitter_arrays(params),
        "color_map": _color_map(params, before_jitter),
    }


def _sees_edge(homographies: np.ndarray, size: int) -> Bools:
    """Whether an output pixel lies on the image's edge or beyond it, not wholly on the image.

    Args:
        homographies: ``(N, 3, 3)``, affine, from the output to the ``size`` x ``size`` image.
        size: Edge of both.
    """
    first, last = 0.5, size - 0.5  # centres of the outermost pixels
    corners = np.array([(x, y, 1.0) for x in (first, last) for y in (first, last)])
    src_coords = (homographies @ corners.T)[:, :2]
    return ((src_coords < first) | (src_coords > last)).any(axis=(1, 2))


COLOR_MAP = ("mean_points", "points", "pre", "post", "base", "pre_mean", "post_mean", "base_mean")
"""The matrices ``(3, 3)`` in ``color_map``, one below the other; the last row is the limit."""


def _color_map(params: AugmentParams, before_jitter: np.ndarray) -> np.ndarray:
    """``(N, 25, 3)``: all that the affine map of colors needs, in one array.

    One, because a GPU's graph reads the first matrix only, and DALI warns of unread arrays.
    """
    parts = {
        "mean_points": before_jitter @ _grid(params, MEAN_ROWS, params.size),
        "points": before_jitter @ _grid(params, SAMPLE, SAMPLE),
        **_colour_arrays(params),
    }
    near = np.where(_scales_levels(params), NEAR, NEAR_IN_HUE) ** 2
    rows = [parts[name] for name in COLOR_MAP] + [np.tile(near[:, None, None], (1, 1, 3))]
    return _float32(np.concatenate(rows, axis=1))


def _scales_levels(params: AugmentParams) -> Bools:
    """Find the rows that change brightness, contrast or saturation."""
    return (params.brightness != 1) | (params.contrast != 1) | (params.saturation != 1)


def _grid(params: AugmentParams, rows: int, columns: int) -> np.ndarray:
    """Homographies that sample ``rows`` x ``columns`` points from all over the image."""
    steps = np.diag([params.size / columns, params.size / rows, 1.0])
    return np.tile(steps, (len(params), 1, 1))


def _kernels(params: AugmentParams) -> list[np.ndarray]:
    """Blur and, where it is on, sharpness as one kernel each: two pixels wider with it."""
    blur, rows, wide = kernel_groups(params)
    kernels = list(blur)
    for row, kernel in zip(rows.tolist(), wide, strict=True):
        kernels[row] = kernel
    return kernels


def kernel_groups(params: AugmentParams) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the kernels by their width.

    Returns:
        ``(N, k, k)`` float32 of the blur; the ``M`` rows that are sharpened as well; and
        ``(M, k + 2, k + 2)`` float32, theirs of both.
    """
    blur = matrices.gaussian_kernel(params.sigma, params.kernel_size)
    rows = np.flatnonzero(params.sharpness != 1)
    sharpen = matrices.sharpness_kernel(params.sharpness[rows])
    edge = params.kernel_size
    wide = np.zeros((len(rows), edge + 2, edge + 2))
    for i, j in np.ndindex(3, 3):
        wide[:, i : i + edge, j : j + edge] += sharpen[:, i, j, None, None] * blur[rows]
    return _float32(blur), rows, _float32(wide)


def _colour_arrays(params: AugmentParams) -> dict[str, Array]:
    """The jitter's matrices before and after the hue step: for pixels, and for the mean.

    Brightness, contrast and saturation multiply a pixel by a matrix (contrast adds a share
    of the mean grey, too) and multiply the image's mean colour by a matrix. If ``H`` is the
    hue step's matrix, a pixel becomes ``post H pre pixel + (post_mean H pre_mean - post H pre)
    mean``. ``H`` is a permutation, known here, plus what ``fused`` fits to the image.
    """
    n = len(params)
    scale = [f[:, None, None] * np.eye(3) for f in (params.brightness, params.contrast)]
    saturation = matrices.saturation_matrix(params.saturation)
    grey = (1 - params.contrast[:, None, None]) * (np.ones((3, 1)) * matrices.GREY)
    of_pixel = np.stack([*scale, saturation], axis=1)
    of_mean = np.stack([scale[0], scale[1] + grey, saturation], axis=1)
    turn = matrices.third_turns(matrices.hue_shift(params.hue)[1])
    before_hue = np.cumsum(params.jitter_order == HUE, axis=1) == 0
    arrays: dict[str, Array] = {}
    for name, steps in (("", of_pixel), ("_mean", of_mean)):
        pre, post = matrices.identities(n), matrices.identities(n)
        for slot in range(JITTER_SLOTS):
            number = params.jitter_order[:, slot]
            matrix = steps[np.arange(n), np.minimum(number, HUE - 1)]
            matrix[number == HUE] = np.eye(3)
            first = before_hue[:, slot, None, None]
            pre, post = np.where(first, matrix @ pre, pre), np.where(first, post, matrix @ post)
        arrays |= {
            f"pre{name}": _float32(pre.transpose(0, 2, 1)),
            f"post{name}": _float32(post),
            f"base{name}": _float32((post @ turn @ pre).transpose(0, 2, 1)),
        }
    return arrays


def compiled_arrays(params: AugmentParams) -> dict[str, Array]:
    """What the compiled kernel reads: a row of numbers, and blur and sharpness as one kernel."""
    active = params.active()
    return {
        "augment_on": any_step(active),
        "row": pack_rows(params, active["perspective"]),
        "kernel": _kernels(params),
    }


_LOWERINGS: dict[str, Callable[[AugmentParams], dict[str, Array]]] = {
    "compiled": compiled_arrays,
    "compiled-host": compiled_arrays,
    "exact": exact_arrays,
    "fused": fused_arrays,
}
_PROBE = identity(1, 2)

JITTER = tuple(_jitter_arrays(_PROBE))
"""The names of the color jitter's arrays, which ``exact`` and ``fused`` share."""
