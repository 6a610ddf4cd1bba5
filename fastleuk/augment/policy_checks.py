"""Checks of the options of ``AugmentPolicy``: each returns the value as it is stored."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any

from fastleuk.errors import ConfigError

Range = tuple[float, float]

INTERPOLATIONS = ("bilinear", "nearest")

EXAMPLES = {"translate": "(0.1, 0.1): the shares of width and height"}
"""Pairs that are no range."""

LARGEST_FACTOR = 20.0
"""No factor of brightness or zoom is greater: that is a percentage, or a number of levels."""


def number(name: str, value: Any) -> float:
    """A finite number."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number and hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value, is_number = value.item(), True
    if not is_number or not math.isfinite(value):
        raise ConfigError(f"{name} must be a finite number, got {value!r}")
    return float(value)


def plain(value: Any) -> Any:
    """A NumPy array, a tensor or a range of another library as a tuple, an enum as its value."""
    if isinstance(value, Enum):
        return value.value
    if hasattr(value, "tolist") and getattr(value, "ndim", 0) == 1:
        return tuple(value.tolist())
    return tuple(value) if isinstance(value, (list, range)) else value


def numbers(name: str, value: Any, lengths: tuple[int, ...]) -> tuple[float, ...]:
    """A pair (or four) of finite numbers."""
    wanted = " or ".join(map(str, lengths))
    if not isinstance(value, (tuple, list)) or len(value) not in lengths:
        pair = EXAMPLES.get(name, "(min, max)")
        raise ConfigError(f"{name} must be {wanted} numbers, got {value!r}; write e.g. {pair}")
    return tuple(number(name, v) for v in value)


def ordered(name: str, pair: tuple[float, ...], low: float, high: float) -> Range:
    """(min, max) in this order, within limits."""
    if pair[0] > pair[1]:
        raise ConfigError(
            f"{name} must be (min, max), got {pair}; write ({pair[1]:g}, {pair[0]:g})"
        )
    if pair[0] < low or pair[1] > high:
        raise ConfigError(f"{name} must lie within [{low:g}, {high:g}], got {pair}")
    return pair[0], pair[1]


def probability(name: str, value: Any) -> float:
    """A number in [0, 1]."""
    p = number(name, value)
    if not 0 <= p <= 1:
        percent = f"; {value} percent is {p / 100:g}" if 1 < p <= 100 else ""
        raise ConfigError(
            f"{name} is a probability: it must lie within [0, 1], got {value!r}{percent}"
        )
    return p


def factor(name: str, value: Any) -> Range:
    """A factor's range; one number is read as torchvision's ``ColorJitter`` reads it."""
    if isinstance(value, (tuple, list)):
        return _plausible(name, ordered(name, numbers(name, value, (2,)), 0.0, math.inf))
    reach = number(name, value)
    if reach < 0:
        raise ConfigError(f"{name} as one number must not be negative, got {value!r}")
    return _plausible(name, (max(0.0, 1 - reach), 1 + reach))


def _plausible(name: str, pair: Range) -> Range:
    if pair[1] > LARGEST_FACTOR:
        raise ConfigError(
            f"{name} is a factor, 1 is neutral: at most {LARGEST_FACTOR:g}, got {pair}; 30 percent "
            "is 0.3"
        )
    return pair


def symmetric(limit: float, lengths: tuple[int, ...] = (2,)) -> Any:
    """A checker of ranges; one number stands for a range about 0."""

    def check(name: str, value: Any) -> tuple[float, ...]:
        if not isinstance(value, (tuple, list)):
            reach = number(name, value)
            if reach < 0:
                raise ConfigError(f"{name} as one number must not be negative, got {value!r}")
            value = (-reach, reach)
        limits = numbers(name, value, lengths)
        if limit == 0.5 and max(map(abs, limits)) > limit:
            raise ConfigError(
                f"{name} is in turns: it must lie within [-0.5, 0.5], got {value!r}; degrees "
                "become turns by dividing by 360"
            )
        for start in range(0, len(limits), 2):
            ordered(name, limits[start : start + 2], -limit, limit)
        return limits

    return check


def positive_range(name: str, value: Any) -> Range:
    """(min, max) above 0."""
    pair = ordered(name, numbers(name, value, (2,)), 0.0, math.inf)
    if pair[0] <= 0:
        raise ConfigError(f"{name} must be greater than 0, got {pair}")
    return pair


def crop_scale(name: str, value: Any) -> Range:
    """(min, max) within (0, 1]."""
    pair = positive_range(name, value)
    if pair[1] > 1:
        raise ConfigError(f"{name} is a share of the image's area: at most 1, got {pair}")
    return pair


def shear(name: str, value: Any) -> tuple[float, ...]:
    """Two or four angles within (-90, 90)."""
    shear = symmetric(180.0, (2, 4))(name, value)
    if any(abs(s) >= 90 for s in shear):
        raise ConfigError(f"{name} must lie within (-90, 90) degrees, got {value!r}")
    return shear


def translate(name: str, value: Any) -> Range:
    """Two shares in [0, 1]."""
    fractions = numbers(name, value, (2,))
    if not all(0 <= fraction <= 1 for fraction in fractions):
        raise ConfigError(
            f"{name} holds shares of (width, height) within [0, 1], got {value!r}; pixels become "
            "shares by dividing by size"
        )
    return fractions[0], fractions[1]


def kernel_size(name: str, value: Any) -> int:
    """An odd whole number."""
    size = number(name, value)
    if size != int(size) or size < 1 or size % 2 == 0 or size > 31:
        raise ConfigError(f"{name} must be an odd whole number from 1 to 31, got {value!r}")
    return int(size)


def sigma(name: str, value: Any) -> Range:
    """A number or a range above 0."""
    return positive_range(name, value if isinstance(value, (tuple, list)) else (value, value))


def sharpness(name: str, value: Any) -> float:
    """A number from 0 on."""
    factor = number(name, value)
    if factor < 0:
        raise ConfigError(
            f"{name} must not be negative, got {value!r}; 1 leaves images as they are"
        )
    return factor


def interpolation(name: str, value: Any) -> str:
    """One of INTERPOLATIONS."""
    if value not in INTERPOLATIONS:
        raise ConfigError(f"{name} must be {' or '.join(INTERPOLATIONS)}, got {value!r}")
    return str(value)


def zoom(name: str, value: Any) -> Range:
    """(min, max) of a zoom factor."""
    return _plausible(name, positive_range(name, value))


class Unset(float):
    """The default of an option that has to be given together with others."""

    def __repr__(self) -> str:
        return repr(float(self))


NEEDED = {
    "degrees": 25,
    "brightness": 0.3,
    "contrast": 0.3,
    "saturation": 0.3,
    "hue": 0.05,
    "affine_degrees": 10,
    "shear": 10,
}
"""The ranges that are :class:`Unset` by default, with an example: without them, nothing changes."""

STEPS = {
    "p_rotation": ("degrees",),
    "p_jitter": ("brightness", "contrast", "saturation", "hue"),
    "p_crop": ("crop_scale", "crop_ratio"),
    "p_affine": ("affine_degrees", "translate", "scale", "shear"),
    "p_blur": ("kernel_size", "sigma"),
    "p_sharpness": ("sharpness_factor",),
    "p_perspective": ("distortion_scale",),
}
"""The ranges that belong to a probability."""


def check_ranges_have_probabilities(
    given: dict[str, Any], policy: Any, neutral: dict[str, Any]
) -> None:
    """Refuse a range whose step is off because nobody gave its probability, and the reverse.

    Args:
        given: Every option as it was given, before it became a pair.
        policy: With the options as they are stored.
        neutral: Those of a policy without options.
    """
    for p, ranges in STEPS.items():
        changed = [name for name in ranges if getattr(policy, name) != neutral[name]]
        if isinstance(given[p], Unset) and changed:
            raise ConfigError(
                f"{changed[0]}: {given[changed[0]]!r}, but {p} is missing, without which the step "
                f"is never applied. Add {p}=1.0 to apply it to every image, or {p}=0 to keep it "
                "off."
            )
        needed = [name for name in ranges if name in NEEDED]
        all_unset = needed and all(isinstance(given[name], Unset) for name in needed)
        if given[p] and all_unset and not changed:
            raise ConfigError(_missing_range(p, given[p]))


def _missing_range(p: str, value: Any) -> str:
    example = next(name for name in STEPS[p] if name in NEEDED)
    return (
        f"{p}: {value!r}, but {' or '.join(STEPS[p])} is missing, without which the step changes "
        f"nothing. Add e.g. {example}={NEEDED[example]}."
    )


def check_changes(changes: dict[str, Any], policy: Any, neutral: dict[str, Any]) -> None:
    """Refuse a changed range whose step stays off, and a step without a range: both do nothing.

    Args:
        changes: New values by option.
        policy: That is changed.
        neutral: The options of a policy that does nothing.
    """
    for p, ranges in STEPS.items():
        changed = [name for name in ranges if name in changes]
        if changed and p not in changes and getattr(policy, p) == 0:
            raise ConfigError(
                f"{changed[0]}: {changes[changed[0]]!r}, but {p} is 0: the step is never applied. "
                f"Add {p}=1.0 to apply it to every image, or {p}=0 to keep it off."
            )
        needed = [name for name in ranges if name in NEEDED]
        still = all(getattr(policy, name) == neutral[name] for name in ranges)
        if changes.get(p) and needed and not changed and still:
            raise ConfigError(_missing_range(p, changes[p]))
