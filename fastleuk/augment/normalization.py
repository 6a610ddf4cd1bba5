"""What a normalisation is made of: mean and standard deviation of each channel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastleuk.errors import ConfigError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Moment = tuple[float, float, float]


def checked_moments(mean: Sequence[float], std: Sequence[float]) -> tuple[Moment, Moment]:
    """Check mean and standard deviation: three numbers each, in units of the range 0-1.

    Raises:
        ConfigError: another number of them, one that is no number, a mean outside of [0, 1] or a
            deviation outside of (0, 1]: DALI's own operators take both in levels of 0-255.
    """
    moments = [_three_numbers("mean", mean), _three_numbers("std", std)]
    wrong = []
    for name, given, numbers in zip(("mean", "std"), (mean, std), moments, strict=True):
        low = 0.0 if name == "mean" else math.ulp(0.0)
        if all(low <= n <= 1 for n in numbers):
            continue
        wrong.append(name)
        if not all(low <= n / 255 <= 1 for n in numbers):
            rule = "within [0, 1]" if name == "mean" else "above 0 and at most 1"
            raise ConfigError(
                f"{name} must be 3 finite numbers {rule}, in units of the range 0-1, got {given!r}"
            )
    if wrong:
        pairs = ", ".join(
            f"{name}=({', '.join(f'{n / 255:.4g}' for n in numbers)})"
            for name, numbers in zip(("mean", "std"), moments, strict=True)
            if name in wrong
        )
        found = {"mean": mean, "std": std}[wrong[0]]
        raise ConfigError(
            f"{' and '.join(wrong)}: in levels of 0-255, as DALI's operators take them ({wrong[0]}="
            f"{found!r}). Here they are in units of the range 0-1. Write {pairs}."
        )
    return moments[0], moments[1]


def _three_numbers(name: str, values: Any) -> Moment:
    if values is None:
        raise ConfigError(
            f"{name} must be 3 finite numbers, got None. Use normalize=False for levels from 0 to "
            "255."
        )
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = ()
    low = -math.inf if name == "mean" else 0.0
    if len(numbers) != 3 or not all(math.isfinite(n) and n > low for n in numbers):
        rule = "3 finite numbers" if name == "mean" else "3 finite numbers above 0"
        raise ConfigError(f"{name} must be {rule} in units of the range 0-1, got {values!r}")
    return numbers


def in_levels(
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    normalize: bool = True,
) -> tuple[list[float], list[float]]:
    """Mean and std in levels of 0-255; those that change nothing if not to ``normalize``."""
    if not normalize:
        return [0.0] * 3, [1.0] * 3
    return [255 * m for m in mean], [255 * s for s in std]
