"""From drawn parameters to the arrays that a DALI graph consumes: NumPy only.

A DALI graph is fixed when it is built; what differs from sample to sample enters it as data.
For each applier there is a list of names and a function that computes the arrays for a batch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastleuk.augment import matrices
from fastleuk.augment.params import AugmentParams
from fastleuk.errors import ConfigError

APPLIERS = ("fused", "exact", "reference")
JITTER_SLOTS = 4


def param_names(applier: str = "exact") -> tuple[str, ...]:
    """The names of the arrays of :func:`param_arrays`, in order."""
    return tuple(_lowering(applier)(_PROBE))


def param_arrays(params: AugmentParams, applier: str = "exact") -> tuple[np.ndarray, ...]:
    """What the graph of ``applier`` consumes for this batch.

    Args:
        params: ``N`` rows.
        applier: ``exact`` or ``fused``.

    Returns:
        Arrays with ``N`` rows each, named by :func:`param_names`: float32, int32 or bool.
    """
    return tuple(np.ascontiguousarray(array) for array in _lowering(applier)(params).values())


def _lowering(applier: str) -> Callable[[AugmentParams], dict[str, np.ndarray]]:
    if applier not in _LOWERINGS:
        raise ConfigError(
            f"applier {applier!r} has no DALI graph; choose {' or '.join(_LOWERINGS)}"
        )
    return _LOWERINGS[applier]


def _float32(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32)


def exact_arrays(params: AugmentParams) -> dict[str, np.ndarray]:
    """One operator a step: its arguments, and for costly steps whether to run it at all."""
    active = params.active()
    crop = params.crop.astype(np.int32)
    local_crop = params.crop * np.array([0, 0, 1, 1])  # the slice has moved its corner to (0, 0)
    return {
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
        "perspective_on": active["perspective"],
        "perspective": _float32(matrices.perspective_matrix(params.endpoints, params.size)),
    }


def _jitter_arrays(params: AugmentParams) -> dict[str, np.ndarray]:
    """The four slots of the colour jitter: in each, one of the four steps takes its turn."""
    hue, weight = matrices.hue_matrix(params.hue)
    factors = np.stack([params.brightness, params.contrast, np.ones(len(params))], axis=1)
    arrays = {
        "saturation": _float32(matrices.saturation_matrix(params.saturation)),
        "hue": _float32(hue),
        "hue_weight": _float32(weight),
    }
    for slot in range(JITTER_SLOTS):
        step = params.jitter_order[:, slot]
        factor = np.take_along_axis(factors, np.minimum(step, 2)[:, None], axis=1)[:, 0]
        pivot = np.where(step == 1, 1 - params.contrast, 0.0)
        arrays |= {
            f"saturate_{slot}": (step == 2) & (params.saturation != 1),
            f"shift_hue_{slot}": (step == 3) & (params.hue != 0),
            f"factor_{slot}": _float32(factor),
            f"pivot_{slot}": _float32(pivot[:, None, None] * np.ones((3, 1)) * matrices.GREY),
        }
    return arrays


_LOWERINGS = {"exact": exact_arrays}


def _probe() -> AugmentParams:
    from fastleuk.augment.params import identity

    return identity(1, 2)


_PROBE = _probe()
