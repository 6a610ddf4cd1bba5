"""Intervals over subjects that hold with few of them.

The plain percentile interval of a bootstrap over few subjects is far too narrow: it excluded a
difference of nothing in 20 of 100 simulated comparisons at 3 subjects a class and in 10 at 8. So
the bootstrap gives the standard error, which is corrected for the degrees of freedom that a class's
mean takes, and Student's quantile at those left makes the interval of it. A figure between 0 and 1
has it on the logit scale, so that it stays inside. ``tests/evaluation/test_coverage.py`` simulates
how often such intervals are right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
FEW_SUBJECTS = 20
"""Below so many subjects of a class an interval is a rough one."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its interval over clusters, which are subjects or images.

    Attributes:
        estimate: The figure on the samples as they are.
        low: Lower end.
        high: Upper end.
        clusters: How many clusters were drawn from.
        level: How often such intervals hold the truth.
        over: ``subjects`` or ``images``.
    """

    estimate: float
    low: float
    high: float
    clusters: int = 0
    level: float = LEVEL
    over: str = "subjects"


@dataclass(frozen=True, slots=True)
class Scale:
    """What a figure can be, and the scale on which its interval is symmetrical.

    Attributes:
        kind: ``logit`` between two ends, ``log`` above one, or ``plain``.
        low: The least value, or minus infinity.
        high: The largest, or infinity.
    """

    kind: str
    low: float
    high: float

    @property
    def of_difference(self) -> Scale:
        """Return that of the difference of two such figures."""
        return Scale("plain", self.low - self.high, self.high - self.low)


SHARE = Scale("logit", 0.0, 1.0)
CORRELATION = Scale("logit", -1.0, 1.0)
ABOVE_ZERO = Scale("log", 0.0, float("inf"))
ANY = Scale("plain", float("-inf"), float("inf"))


def student_reach(
    drawn: np.ndarray,
    influence: np.ndarray,
    strata: np.ndarray,
    *,
    sizes: np.ndarray | None = None,
    level: float = LEVEL,
) -> float:
    """Return how far an interval reaches to each side of a figure.

    The standard error is the deviation of the resamples, times what each stratum's n subjects lack
    by being compared with their own mean, n / (n - 1). Student's quantile is that at the degrees
    of freedom that Satterthwaite's formula gives strata of unequal variance.

    Args:
        drawn: float64 ``(R,)``, the figure in resamples drawn within strata.
        influence: float64 ``(G,)``, by how much each subject moves the figure; tells how the
            variance is shared among the strata.
        strata: int64 ``(G,)``.
        sizes: int64, subjects of each stratum by its number, where ``influence`` is that of some
            of them only.
        level: How often the interval is to hold the truth.

    Returns:
        0 where no subject differs, infinity where a stratum has a single one.
    """
    from scipy.stats import t

    codes, counts = np.unique(strata, return_counts=True)
    count = counts if sizes is None else sizes[codes]
    if count.min() < 2:
        return float("inf")
    own = np.array([influence[strata == code].var() for code in codes]) * count
    fair = own * count / (count - 1)
    error = float(drawn.std())
    if fair.sum() <= 1e-24 or error <= 1e-12:
        return 0.0
    freedom = fair.sum() ** 2 / (fair**2 / (count - 1)).sum()
    return float(error * np.sqrt(fair.sum() / own.sum()) * t.ppf((1 + level) / 2, freedom))


def difference_interval(value: float, reach: float) -> Interval:
    """Return the interval of a difference of two figures between 0 and 1."""
    return between(value, reach, SHARE.of_difference)


def share_interval(value: float, reach: float) -> Interval:
    """Return the interval of a figure between 0 and 1, symmetrical on the logit scale.

    >>> interval = share_interval(0.95, 0.06)
    >>> round(interval.low, 3), round(interval.high, 3)
    (0.843, 0.985)
    """
    return between(value, reach, SHARE)


def between(value: float, reach: float, scale: Scale) -> Interval:
    """Return the interval of a figure that reaches ``reach`` to each side, on its scale.

    At the very edge of what it can be the figure has one that reaches inwards.
    """
    if reach == 0:
        return Interval(value, value, value)
    if np.isinf(reach):
        return Interval(value, scale.low, scale.high)
    if scale.kind == "log" and value > scale.low:
        factor = float(np.exp(min(reach / (value - scale.low), 700)))
        return Interval(value, scale.low + (value - scale.low) / factor,
                        scale.low + (value - scale.low) * factor)  # fmt: skip
    if scale.kind == "logit" and scale.low < value < scale.high:
        width = scale.high - scale.low
        low, high = _logit_ends((value - scale.low) / width, reach / width)
        return Interval(value, scale.low + width * low, scale.low + width * high)
    return Interval(value, max(scale.low, value - reach), min(scale.high, value + reach))


def _logit_ends(share: float, reach: float) -> tuple[float, float]:
    odds, factor = share / (1 - share), float(np.exp(min(reach / (share * (1 - share)), 700)))
    low, high = odds / factor, odds * factor
    return low / (1 + low), high / (1 + high) if np.isfinite(high) else 1.0


def trust(low: float, high: float, fewest: int, over: str) -> str:
    """Return why an interval over ``fewest`` clusters of a class says less than it seems to."""
    if over == "images":
        return (
            "; no subject is known, and what subjects differ by is not in it: it is too narrow "
            "where several images are of one"
        )
    if fewest < 2:
        return f"; a class has {fewest} subject: what subjects differ by can't be known"
    if low == high:
        return "; an interval without width says nothing: all resamples of its subjects are alike"
    if fewest < FEW_SUBJECTS:
        return f"; a rough one: a class has {fewest} subjects only, fewer than {FEW_SUBJECTS}"
    return ""
