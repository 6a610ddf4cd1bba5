"""What a normalisation is made of: mean and standard deviation of each channel."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fastleuk.errors import ConfigError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Moment = tuple[float, float, float]


def checked_moments(mean: Sequence[float], std: Sequence[float]) -> tuple[Moment, Moment]:
    """Mean and standard deviation in units of the range 0-1, three finite numbers each.

    Raises:
        ConfigError: another number of them, one that is no number, or a deviation not above 0.
    """
    moments = []
    for name, values, low in (("mean", mean, -math.inf), ("std", std, 0.0)):
        try:
            numbers = tuple(float(value) for value in values)
        except (TypeError, ValueError):
            numbers = ()
        if len(numbers) != 3 or not all(math.isfinite(n) and n > low for n in numbers):
            rule = "3 finite numbers" if name == "mean" else "3 finite numbers above 0"
            raise ConfigError(f"{name} must be {rule} in units of the range 0-1, got {values!r}")
        moments.append(numbers)
    return moments[0], moments[1]


def in_levels(
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    normalize: bool = True,
) -> tuple[list[float], list[float]]:
    """Mean and std in levels of 0-255; those that change nothing if not to ``normalize``."""
    if not normalize:
        return [0.0] * 3, [1.0] * 3
    return [255 * m for m in mean], [255 * s for s in std]
