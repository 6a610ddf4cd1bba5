"""Intervals over subjects that hold with few of them.

The plain percentile interval of a bootstrap over few subjects is far too narrow: it excluded a
difference of nothing in 20 of 100 simulated comparisons at 3 subjects a class and in 10 at 8. So
the bootstrap gives the standard error, which is corrected for the degrees of freedom that a class's
mean takes, and Student's quantile at those left makes the interval of it. A figure between 0 and 1
has it on the logit scale, so that it stays inside. ``tests/test_evaluate_subjects.py`` simulates
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
    """A figure and its interval over subjects at :data:`LEVEL`."""

    value: float
    low: float
    high: float


def student_reach(drawn: np.ndarray, influence: np.ndarray, strata: np.ndarray) -> float:
    """Return how far an interval reaches to each side of a figure.

    The standard error is the deviation of the resamples, times what each stratum's n subjects lack
    by being compared with their own mean, n / (n - 1). Student's quantile is that at the degrees
    of freedom that Satterthwaite's formula gives strata of unequal variance.

    Args:
        drawn: float64 ``(R,)``, the figure in resamples drawn within strata.
        influence: float64 ``(G,)``, by how much each subject moves the figure; tells how the
            variance is shared among the strata.
        strata: int64 ``(G,)``.

    Returns:
        0 where no subject differs, infinity where a stratum has a single one.
    """
    from scipy.stats import t

    members = [influence[strata == stratum] for stratum in np.unique(strata)]
    if min(map(len, members)) < 2:
        return float("inf")
    own = np.array([each.var() * len(each) for each in members])
    sizes = np.array([len(each) for each in members])
    fair = own * sizes / (sizes - 1)
    error = float(drawn.std())
    if fair.sum() <= 1e-24 or error <= 1e-12:
        return 0.0
    freedom = fair.sum() ** 2 / (fair**2 / (sizes - 1)).sum()
    return float(error * np.sqrt(fair.sum() / own.sum()) * t.ppf((1 + LEVEL) / 2, freedom))


def difference_interval(value: float, reach: float) -> Interval:
    """Return the interval of a difference of two figures between 0 and 1."""
    return Interval(value, max(-1.0, value - reach), min(1.0, value + reach))


def share_interval(value: float, reach: float) -> Interval:
    """Return the interval of a figure between 0 and 1, symmetrical on the logit scale.

    >>> interval = share_interval(0.95, 0.06)
    >>> round(interval.low, 3), round(interval.high, 3)
    (0.843, 0.985)
    """
    if reach == 0:
        return Interval(value, value, value)
    if np.isinf(reach):
        return Interval(value, 0.0, 1.0)
    if not 0 < value < 1:  # at the edge of its range: from there inwards
        return Interval(value, max(0.0, value - reach), min(1.0, value + reach))
    odds, factor = value / (1 - value), float(np.exp(min(reach / (value * (1 - value)), 700)))
    low, high = odds / factor, odds * factor
    return Interval(value, low / (1 + low), high / (1 + high) if np.isfinite(high) else 1.0)


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
