"""Drawing parameters: a pure function of (policy, seed, epoch, sample index), in NumPy.

Each (seed, epoch, index) owns a stream of the counter-based generator Philox: the key is
(seed, epoch) and the index is a word of the counter, so streams never overlap and a sample
gets the same parameters whatever the batch size, the shard, the order, the number of threads
or the point of resumption. Each use of a random number has its own column in the stream:
switching a step off doesn't change what the others draw.
"""

from __future__ import annotations

import itertools
import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastleuk.augment.params import AugmentParams, Floats, Ints, corners, identity
from fastleuk.augment.policy import AugmentPolicy, check_policy
from fastleuk.errors import ConfigError

__all__ = ["draw", "identity"]

CROP_ATTEMPTS = 10  # torchvision's RandomResizedCrop.get_params
_DOMAIN = 0x61756700  # keeps these streams apart from other uses of the same seed

# New entries go to the end: the columns before them keep their values.
_WIDTHS = {
    "hflip": 1,
    "vflip": 1,
    "rotation": 2,
    "jitter": 6,
    "crop": 3 + 2 * CROP_ATTEMPTS,
    "affine": 7,
    "blur": 2,
    "sharpness": 1,
    "perspective": 9,
}
_STARTS = dict(zip(_WIDTHS, itertools.accumulate(_WIDTHS.values(), initial=0), strict=False))
_PERMUTATIONS = np.array(list(itertools.permutations(range(4))))


def draw(
    policy: AugmentPolicy,
    *,
    seed: int,
    epoch: int,
    indices: ArrayLike,
    size: int,
    augmented: ArrayLike | None = None,
) -> AugmentParams:
    """Draw the augmentation of some samples in one epoch.

    The distributions are those of torchvision's ``get_params`` for an image that has been
    resized to ``size`` x ``size``.

    Args:
        policy: What to draw from.
        seed: Of the run, in [0, 2**64).
        epoch: In [0, 2**64). The same epoch gives the same parameters again.
        indices: ``(N,)`` whole numbers in [0, 2**63) that identify the samples.
        size: Edge of the output image in pixels.
        augmented: ``(N,)`` mask; rows where it is false get neutral parameters.

    Returns:
        Parameters with ``N`` rows, in the order of ``indices``.

    Raises:
        ConfigError: if an argument is out of its range.
    """
    check_policy(policy)
    seed, epoch = _whole("seed", seed, 2**64), _whole("epoch", epoch, 2**64)
    size = _whole("size", size, 2**15)
    uniforms = _uniforms(seed, epoch, _checked_indices(indices))
    column = {name: uniforms[:, _STARTS[name] :][:, :width] for name, width in _WIDTHS.items()}
    sigma = _between(column["blur"][:, 1], policy.sigma)
    sharpen = column["sharpness"][:, 0] < policy.p_sharpness
    rotate = column["rotation"][:, 0] < policy.p_rotation
    params = AugmentParams(
        size=size,
        interpolation=policy.interpolation,
        kernel_size=policy.kernel_size,
        hflip=column["hflip"][:, 0] < policy.p_hflip,
        vflip=column["vflip"][:, 0] < policy.p_vflip,
        angle=np.where(rotate, _between(column["rotation"][:, 1], policy.degrees), 0.0),
        sigma=np.where(column["blur"][:, 0] < policy.p_blur, sigma, 0.0),
        sharpness=np.where(sharpen, policy.sharpness_factor, 1.0),
        **_draw_jitter(column["jitter"], policy),
        crop=_draw_crop(column["crop"], policy, size),
        **_draw_affine(column["affine"], policy, size),
        endpoints=_draw_perspective(column["perspective"], policy, size),
    )
    return params if augmented is None else params.where(augmented)


def _whole(name: str, value: int, limit: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise ConfigError(f"{name} must be a whole number, got {value!r}") from None
    if not (name == "size") <= number < limit:
        raise ConfigError(
            f"{name} must be from {int(name == 'size')} to {limit - 1}, got {value!r}"
        )
    return number


def _checked_indices(indices: ArrayLike) -> Ints:
    array = np.asarray(indices)
    if array.ndim != 1 or not (array.size == 0 or np.issubdtype(array.dtype, np.integer)):
        raise ConfigError(
            f"indices must be one row of whole numbers, got {array.dtype} of the shape "
            f"{array.shape}"
        )
    if array.size and (array.min() < 0 or array.max() >= 2**63):
        raise ConfigError(f"indices must be in [0, 2**63), got {array.min()} to {array.max()}")
    return array.astype(np.int64)


def _uniforms(seed: int, epoch: int, indices: Ints) -> Floats:
    """``(N, columns)`` numbers in [0, 1), row ``i`` from the stream of ``indices[i]``."""
    bits = np.random.Philox(key=np.array([seed, epoch], np.uint64))
    generator = np.random.Generator(bits)
    state = bits.state  # setting the counter is four times faster than a new Philox a sample
    uniforms = np.empty((len(indices), sum(_WIDTHS.values())))
    for row, index in zip(uniforms, indices.tolist(), strict=True):
        state["state"]["counter"][:] = (0, index, _DOMAIN, 0)
        bits.state = state
        generator.random(out=row)
    return uniforms


def _between(uniform: Floats, limits: Any) -> Floats:
    low, high = limits
    return low + (high - low) * uniform


def _whole_numbers(uniform: Floats, count: Floats | int) -> Floats:
    """Whole numbers 0 … count - 1, as ``torch.randint(0, count)``."""
    return np.floor(uniform * count)


def _draw_jitter(uniform: Floats, policy: AugmentPolicy) -> dict[str, np.ndarray]:
    """``ColorJitter.get_params``."""
    active = uniform[:, 0] < policy.p_jitter
    return {
        "jitter_order": _PERMUTATIONS[_whole_numbers(uniform[:, 1], 24).astype(int)],
        "brightness": np.where(active, _between(uniform[:, 2], policy.brightness), 1.0),
        "contrast": np.where(active, _between(uniform[:, 3], policy.contrast), 1.0),
        "saturation": np.where(active, _between(uniform[:, 4], policy.saturation), 1.0),
        "hue": np.where(active, _between(uniform[:, 5], policy.hue), 0.0),
    }


def _draw_crop(uniform: Floats, policy: AugmentPolicy, size: int) -> Ints:
    """``RandomResizedCrop.get_params``: ten attempts, then the largest central crop."""
    rows = np.arange(len(uniform))
    area = size * size * _between(uniform[:, 3 : 3 + CROP_ATTEMPTS], policy.crop_scale)
    log_ratio = _between(uniform[:, 3 + CROP_ATTEMPTS :], np.log(policy.crop_ratio))
    ratio = np.exp(log_ratio)
    widths, heights = np.rint(np.sqrt(area * ratio)), np.rint(np.sqrt(area / ratio))
    fits = (widths > 0) & (widths <= size) & (heights > 0) & (heights <= size)
    found, first = fits.any(axis=1), fits.argmax(axis=1)
    low, high = policy.crop_ratio
    fallback_width = max(1, round(size * min(1.0, high)))
    fallback_height = max(1, round(size / max(1.0, low)))
    width = np.where(found, widths[rows, first], fallback_width)
    height = np.where(found, heights[rows, first], fallback_height)
    top, left = (
        np.where(found, _whole_numbers(u, size - edge + 1), (size - edge) // 2)
        for u, edge in ((uniform[:, 1], height), (uniform[:, 2], width))
    )
    crop = np.stack([top, left, height, width], axis=1)
    active = uniform[:, :1] < policy.p_crop
    return np.where(active, crop, [0, 0, size, size]).astype(np.int64)


def _draw_affine(uniform: Floats, policy: AugmentPolicy, size: int) -> dict[str, np.ndarray]:
    """``RandomAffine.get_params``."""
    active = uniform[:, :1] < policy.p_affine
    limit = size * np.array(policy.translate)
    shear = np.zeros((len(uniform), 2))
    shears = tuple(policy.shear)  # type: ignore[arg-type]
    for axis in range(len(shears) // 2):
        shear[:, axis] = _between(uniform[:, 5 + axis], shears[2 * axis : 2 * axis + 2])
    angle, scale = (
        _between(uniform[:, 1], policy.affine_degrees),
        _between(uniform[:, 4], policy.scale),
    )
    return {
        "affine_angle": np.where(active[:, 0], angle, 0.0),
        "translate": np.where(active, np.rint((2 * uniform[:, 2:4] - 1) * limit), 0).astype(
            np.int64
        ),
        "scale": np.where(active[:, 0], scale, 1.0),
        "shear": np.where(active, shear, 0.0),
    }


def _draw_perspective(uniform: Floats, policy: AugmentPolicy, size: int) -> Floats:
    """``RandomPerspective.get_params``."""
    active = uniform[:, 0] < policy.p_perspective
    reach = int(policy.distortion_scale * (size // 2))
    inwards = _whole_numbers(uniform[:, 1:], reach + 1).reshape(-1, 4, 2)
    # torchvision draws the far corners from size - reach - 1 … size - 1: inwards as well
    sign = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    return corners(size) + np.where(active[:, None, None], sign * inwards, 0.0)
