"""Checks of the options of ``AugmentPolicy``: each returns the value as it is stored."""

from __future__ import annotations

import math
from typing import Any

from fastleuk.errors import ConfigError

Range = tuple[float, float]

INTERPOLATIONS = ("bilinear", "nearest")


def number(name: str, value: Any) -> float:
    """A finite number."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number and hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value, is_number = value.item(), True
    if not is_number or not math.isfinite(value):
        raise ConfigError(f"{name} must be a finite number, got {value!r}")
    return float(value)


def numbers(name: str, value: Any, lengths: tuple[int, ...]) -> tuple[float, ...]:
    """A pair (or four) of finite numbers."""
    wanted = " or ".join(map(str, lengths))
    if not isinstance(value, (tuple, list)) or len(value) not in lengths:
        raise ConfigError(f"{name} must be {wanted} numbers, got {value!r}; write e.g. (min, max)")
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
        raise ConfigError(f"{name} is a probability: it must lie within [0, 1], got {value!r}")
    return p


def factor(name: str, value: Any) -> Range:
    """A factor's range; one number is read as torchvision's ``ColorJitter`` reads it."""
    if isinstance(value, (tuple, list)):
        return ordered(name, numbers(name, value, (2,)), 0.0, math.inf)
    reach = number(name, value)
    if reach < 0:
        raise ConfigError(f"{name} as one number must not be negative, got {value!r}")
    return max(0.0, 1 - reach), 1 + reach


def symmetric(limit: float, lengths: tuple[int, ...] = (2,)) -> Any:
    """A checker of ranges; one number stands for a range about 0."""

    def check(name: str, value: Any) -> tuple[float, ...]:
        if not isinstance(value, (tuple, list)):
            reach = number(name, value)
            if reach < 0:
                raise ConfigError(f"{name} as one number must not be negative, got {value!r}")
            value = (-reach, reach)
        limits = numbers(name, value, lengths)
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
        raise ConfigError(f"{name} holds shares of (width, height) within [0, 1], got {value!r}")
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
