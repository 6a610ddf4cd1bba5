"""The drawn parameters of a batch, as plain NumPy arrays: :class:`AugmentParams`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastleuk.augment.policy_checks import INTERPOLATIONS
from fastleuk.errors import ConfigError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LIMIT = 1e9
"""No parameter may be greater: all that is computed from them has to fit into float32."""

JITTER_STEPS = ("brightness", "contrast", "saturation", "hue")
"""What the numbers 0 to 3 in ``AugmentParams.jitter_order`` mean (as in torchvision)."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class AugmentParams:
    """What is done to each image of a batch of ``N``; every array has ``N`` rows.

    Pixels are those of the ``size`` x ``size`` image. Each step has a neutral value, with
    which it leaves the image as it is bit for bit; :func:`identity` has neutral values only.

    Raises:
        ConfigError: if an array has the wrong shape, type or range.
    """

    size: int
    """Edge of the square output image in pixels."""
    interpolation: str
    """Of rotation and affine: ``bilinear`` or ``nearest``."""
    kernel_size: int
    """Edge of the blur's kernel in pixels, odd."""
    hflip: Bools
    """``(N,)``; neutral: False."""
    vflip: Bools
    """``(N,)``; neutral: False."""
    angle: Floats
    """``(N,)`` degrees, counter-clockwise; neutral: 0."""
    jitter_order: Ints
    """``(N, 4)``: the order of the four jitter steps, see :data:`JITTER_STEPS`."""
    brightness: Floats
    """``(N,)`` factor; neutral: 1."""
    contrast: Floats
    """``(N,)`` factor about the image's mean grey; neutral: 1."""
    saturation: Floats
    """``(N,)`` factor; neutral: 1."""
    hue: Floats
    """``(N,)`` turns within [-0.5, 0.5]; neutral: 0."""
    crop: Ints
    """``(N, 4)``: top, left, height, width in pixels; neutral: 0, 0, size, size."""
    affine_angle: Floats
    """``(N,)`` degrees, clockwise; neutral: 0."""
    translate: Ints
    """``(N, 2)``: pixels to the right and down; neutral: 0, 0."""
    scale: Floats
    """``(N,)`` zoom; neutral: 1."""
    shear: Floats
    """``(N, 2)`` degrees along x and y; neutral: 0, 0."""
    sigma: Floats
    """``(N,)`` the blur's standard deviation in pixels; neutral: 0 (no blur)."""
    sharpness: Floats
    """``(N,)`` factor; neutral: 1."""
    endpoints: Floats
    """``(N, 4, 2)``: where the perspective moves the corners top left, top right, bottom
    right, bottom left, as (x, y) in pixels; neutral: the corners ``[0, size - 1]``."""

    def __post_init__(self) -> None:
        self._check_options()
        n = len(np.atleast_1d(self.hflip))
        for name, (row_shape, dtype) in _ARRAYS.items():
            array = np.asarray(getattr(self, name))
            if array.shape != (n, *row_shape):
                raise ConfigError(
                    f"{name} must have the shape {(n, *row_shape)} (hflip has {n} rows), "
                    f"got {array.shape}"
                )
            _check_values(name, array, dtype)
            object.__setattr__(self, name, np.ascontiguousarray(array, dtype))
        self._check_ranges()

    def _check_options(self) -> None:
        for name, most in (("size", 2**15 - 1), ("kernel_size", 31)):
            value = getattr(self, name)
            whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if not whole or not 1 <= value <= most:
                raise ConfigError(f"{name} must be a whole number from 1 to {most}, got {value!r}")
        if self.kernel_size % 2 == 0:
            raise ConfigError(f"kernel_size must be odd, got {self.kernel_size}")
        if self.interpolation not in INTERPOLATIONS:
            raise ConfigError(
                f"interpolation must be {' or '.join(INTERPOLATIONS)}, got {self.interpolation!r}"
            )

    def _check_ranges(self) -> None:
        top, left, height, width = self.crop.T
        inside = (top >= 0) & (left >= 0) & (height > 0) & (width > 0)
        inside &= (top + height <= self.size) & (left + width <= self.size)
        rules = {
            "jitter_order": (np.sort(self.jitter_order) == np.arange(4), "a permutation of 0..3"),
            "hue": (np.abs(self.hue) <= 0.5, "within [-0.5, 0.5]"),
            "brightness": (self.brightness >= 0, "not negative"),
            "contrast": (self.contrast >= 0, "not negative"),
            "saturation": (self.saturation >= 0, "not negative"),
            "crop": (inside, f"(top, left, height, width) inside {self.size}x{self.size}"),
            "scale": (self.scale >= 1 / LIMIT, f"greater than 0 (at least {1 / LIMIT:g})"),
            "shear": (np.abs(self.shear) < 90, "within (-90, 90) degrees"),
            "sigma": (self.sigma >= 0, "not negative (0: no blur)"),
            "sharpness": (self.sharpness >= 0, "not negative"),
        }
        for name, (good, rule) in rules.items():
            if not good.all():
                row = int(np.argwhere(~good)[0, 0])
                raise ConfigError(f"{name}[{row}] must be {rule}, got {getattr(self, name)[row]}")

    def __len__(self) -> int:
        return len(self.hflip)

    def take(self, rows: ArrayLike) -> AugmentParams:
        """The parameters of some rows: an index array, a boolean mask or a slice."""
        chosen: Any = rows if isinstance(rows, slice) else np.atleast_1d(np.asarray(rows))
        return dataclasses.replace(self, **{name: getattr(self, name)[chosen] for name in _ARRAYS})

    @classmethod
    def concatenate(cls, parts: Sequence[AugmentParams]) -> AugmentParams:
        """The rows of all parts in order; size, interpolation and kernel size must agree."""
        for name in ("size", "interpolation", "kernel_size"):
            values = {getattr(part, name) for part in parts}
            if len(values) != 1:
                raise ConfigError(f"parts must agree on one {name}, got {sorted(values)}")
        joined: dict[str, Any] = {
            name: np.concatenate([getattr(p, name) for p in parts]) for name in _ARRAYS
        }
        return dataclasses.replace(parts[0], **joined)

    def where(self, augmented: ArrayLike) -> AugmentParams:
        """Keep the rows where ``augmented`` ``(N,)`` is true; make the others neutral."""
        keep = np.asarray(augmented, bool)
        if keep.shape != (len(self),):
            raise ConfigError(
                f"augmented must be a mask of {len(self)} values, got the shape {keep.shape}"
            )
        if keep.all():
            return self
        neutral = _neutral(self.size)
        changes = {}
        for name, (row_shape, _) in _ARRAYS.items():
            mask = keep.reshape(-1, *[1] * len(row_shape))
            changes[name] = np.where(mask, getattr(self, name), getattr(neutral, name))
        return dataclasses.replace(self, **changes)

    def active(self) -> dict[str, Bools]:
        """For each of the nine steps, which rows it changes: ``(N,)`` masks by step name."""
        neutral = _neutral(self.size)
        masks = {}
        for step, names in STEPS.items():
            changed = np.zeros(len(self), bool)
            for name in names:
                differs = getattr(self, name) != getattr(neutral, name)
                changed |= differs.any(axis=tuple(range(1, differs.ndim)))
            masks[step] = changed
        return masks

    def only(self, *steps: str) -> AugmentParams:
        """Keep the named steps (see :data:`STEPS`) and make the others neutral."""
        for step in steps:
            if step not in STEPS:
                raise ConfigError(f"unknown step {step!r}; the steps are {', '.join(STEPS)}")
        neutral = identity(len(self), self.size)
        off = [name for step, names in STEPS.items() if step not in steps for name in names]
        return dataclasses.replace(self, **{name: getattr(neutral, name) for name in off})


def _check_values(name: str, array: np.ndarray, dtype: type) -> None:
    """Refuse what no applier could follow: NaN, infinity, a fraction where pixels are counted."""
    if array.dtype.kind not in "biuf":
        raise ConfigError(f"{name} must hold numbers, got the dtype {array.dtype}")
    if dtype is np.bool_:
        good, rule = (array == 0) | (array == 1), "True or False"
    else:
        whole = dtype is np.int64 or name == "endpoints"
        good = np.abs(array.astype(np.float64)) <= LIMIT  # nor is NaN
        if whole:
            good &= array == np.where(good, np.rint(array), 0)
        rule = f"a {'whole' if whole else 'finite'} number of at most {LIMIT:g} either way"
    if not good.all():
        row = tuple(np.argwhere(~good)[0].tolist())
        raise ConfigError(
            f"{name}[{', '.join(map(str, row))}] must be {rule}, got {array[row].item()!r}"
        )


_ARRAYS: dict[str, tuple[tuple[int, ...], type]] = {
    "hflip": ((), np.bool_),
    "vflip": ((), np.bool_),
    "angle": ((), np.float64),
    "jitter_order": ((4,), np.int64),
    "brightness": ((), np.float64),
    "contrast": ((), np.float64),
    "saturation": ((), np.float64),
    "hue": ((), np.float64),
    "crop": ((4,), np.int64),
    "affine_angle": ((), np.float64),
    "translate": ((2,), np.int64),
    "scale": ((), np.float64),
    "shear": ((2,), np.float64),
    "sigma": ((), np.float64),
    "sharpness": ((), np.float64),
    "endpoints": ((4, 2), np.float64),
}

STEPS: dict[str, tuple[str, ...]] = {
    "hflip": ("hflip",),
    "vflip": ("vflip",),
    "rotate": ("angle",),
    "color_jitter": ("brightness", "contrast", "saturation", "hue"),
    "resized_crop": ("crop",),
    "affine": ("affine_angle", "translate", "scale", "shear"),
    "gaussian_blur": ("sigma",),
    "adjust_sharpness": ("sharpness",),
    "perspective": ("endpoints",),
}
"""The nine steps in the order of the paper, each with the parameters that belong to it."""


def corners(size: int) -> Floats:
    """``(4, 2)``: (x, y) of the pixels top left, top right, bottom right, bottom left."""
    last = size - 1.0
    return np.array([[0.0, 0.0], [last, 0.0], [last, last], [0.0, last]])


@functools.lru_cache(maxsize=16)
def _neutral(size: int) -> AugmentParams:
    return identity(1, size)


def identity(n: int, size: int) -> AugmentParams:
    """Neutral parameters for ``n`` images: each applier then does the plain resize."""
    zeros, ones = np.zeros(n), np.ones(n)
    return AugmentParams(
        size=size,
        interpolation="bilinear",
        kernel_size=3,
        hflip=np.zeros(n, bool),
        vflip=np.zeros(n, bool),
        angle=zeros,
        jitter_order=np.tile(np.arange(4), (n, 1)),
        brightness=ones,
        contrast=ones,
        saturation=ones,
        hue=zeros,
        crop=np.tile([0, 0, size, size], (n, 1)),
        affine_angle=zeros,
        translate=np.zeros((n, 2), np.int64),
        scale=ones,
        shear=np.zeros((n, 2)),
        sigma=zeros,
        sharpness=ones,
        endpoints=np.tile(corners(size), (n, 1, 1)),
    )
