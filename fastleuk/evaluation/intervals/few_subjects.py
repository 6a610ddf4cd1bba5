"""Intervals over subjects that hold with few of them.

The plain percentile interval of a bootstrap over few subjects is far too narrow: it excluded a
difference of nothing in 20 of 100 simulated comparisons at 3 subjects a class and in 10 at 8. So
the bootstrap gives the standard error, which is corrected for the degrees of freedom that a class's
mean takes, and Student's quantile at those left makes the interval of it. A figure between 0 and 1
has it on the logit scale, so that it stays inside.

A resample holds no subject that the sample doesn't, and in a small sample nearly all subjects may
be right by luck. Two corrections allow for the subjects that are missing:

- The interval is extended to that of the same data with :data:`WRONG_SUBJECT` of a wrong subject
  more in each class, after the pseudo-observations of Agresti and Coull (1998).
- A figure that is equal in all resamples has the exact binomial bound in place of no width: with
  n subjects all right, 1 - 0.025^(1/n) of all subjects may still be wrong (Clopper and Pearson,
  1934). Accuracy, sensitivity and specificity of independent samples, one a subject, have the
  exact binomial interval always.

``tests/evaluation/test_coverage.py`` simulates how often such intervals are right, and
``benchmarks/interval_coverage.py`` writes the table that docs/honesty.md shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

LEVEL = 0.95
FEW_SUBJECTS = 20
"""Below so many subjects of a class an interval is a rough one."""
WRONG_SUBJECT = 0.15
"""Weight of the wrong subject that is added to each class, in subjects: chosen by simulation, the
least with which 90 % of intervals hold a truth of 0.95 to 0.99 with 5 to 40 subjects a class."""
BOOTSTRAP, EXACT = "bootstrap", "exact"


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
        method: :data:`BOOTSTRAP`, or :data:`EXACT` for a binomial bound or interval.
    """

    estimate: float
    low: float
    high: float
    clusters: int = 0
    level: float = LEVEL
    over: str = "subjects"
    method: str = BOOTSTRAP

    def as_json(self) -> dict[str, Any]:
        """Return estimate, low and high, None where there is none, and an exact one's method."""
        values = {key: float(getattr(self, key)) for key in ("estimate", "low", "high")}
        if not np.isfinite(values["estimate"]):
            return dict.fromkeys(values)
        found: dict[str, Any] = {k: v if np.isfinite(v) else None for k, v in values.items()}
        return found | ({"method": EXACT} if self.method == EXACT else {})


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


@dataclass(frozen=True, eq=False, slots=True)
class Spread:
    """Sampling variance of a figure, as a sum of independent parts.

    Attributes:
        variances: float64 ``(P,)``; infinite where a part's can't be known.
        freedom: float64 ``(P,)``, degrees of freedom of each.
    """

    variances: np.ndarray
    freedom: np.ndarray

    def __add__(self, other: Spread) -> Spread:
        """Join the parts of two sums."""
        return Spread(
            np.concatenate([self.variances, other.variances]),
            np.concatenate([self.freedom, other.freedom]),
        )

    def reach(self, level: float) -> float:
        """Return the half-width of an interval: Student's quantile times the standard error.

        The degrees of freedom are those that Satterthwaite's formula gives parts of unequal
        variance. 0 where nothing varies, infinity where a variance is unknown.
        """
        from scipy.stats import t

        total = self.variances.sum()
        if not 0 < total < np.inf:
            return float(total)
        freedom = total**2 / (self.variances**2 / self.freedom).sum()
        return float(np.sqrt(total) * t.ppf((1 + level) / 2, freedom))


def bootstrap_spread(
    drawn: np.ndarray,
    influence: np.ndarray,
    strata: np.ndarray,
    *,
    sizes: np.ndarray | None = None,
) -> Spread:
    """Return the variance of a figure by stratum.

    The whole is the variance of the resamples; each stratum's part is multiplied by what its n
    subjects lack by being compared with their own mean, n / (n - 1).

    Args:
        drawn: float64 ``(R,)``, the figure in resamples drawn within strata.
        influence: float64 ``(G,)``, by how much each subject moves the figure; tells how the
            variance is shared among the strata.
        strata: int64 ``(G,)``.
        sizes: int64, subjects of each stratum by its number, where ``influence`` is that of some
            of them only.

    Returns:
        Zeros where no subject differs, infinities where a stratum has a single one.
    """
    codes, counts = np.unique(strata, return_counts=True)
    count = counts if sizes is None else sizes[codes]
    if count.min() < 2:
        return Spread(np.full(len(codes), np.inf), np.ones(len(codes)))
    own = np.array([influence[strata == code].var() for code in codes]) * count
    fair = own * count / (count - 1)
    error = float(drawn.std())
    if fair.sum() <= 1e-24 or error <= 1e-12:
        return Spread(np.zeros(len(codes)), count - 1.0)
    return Spread(fair * error**2 / own.sum(), count - 1.0)


def unseen_share(clusters: int, level: float = LEVEL) -> float:
    """Return the share of all subjects that may differ from ``clusters`` that are all alike.

    The upper end of the exact two-sided binomial interval of 0 in n.

    >>> round(unseen_share(6), 3), round(unseen_share(20), 3)
    (0.459, 0.168)
    """
    return float(1 - ((1 - level) / 2) ** (1 / max(1, clusters)))


def exact_bound(value: float, clusters: int, scale: Scale, level: float = LEVEL) -> Interval:
    """Return the interval of a figure that no resample changes.

    :func:`unseen_share` of all subjects may be such that the figure is at either end of its scale.

    >>> found = exact_bound(1.0, 6, SHARE)
    >>> round(found.low, 3), found.high
    (0.541, 1.0)
    """
    share = unseen_share(clusters, level)
    low, high = value - share * (value - scale.low), value + share * (scale.high - value)
    return Interval(value, low, high, method=EXACT)


def binomial_interval(right: int, trials: int, level: float = LEVEL) -> Interval:
    """Return the exact interval of a share of independent trials (Clopper and Pearson, 1934).

    >>> found = binomial_interval(5, 6)
    >>> round(found.low, 3), round(found.high, 3)
    (0.359, 0.996)
    """
    from scipy.stats import beta

    tail, wrong = (1 - level) / 2, trials - right
    low = float(beta.ppf(tail, right, wrong + 1)) if right else 0.0
    high = float(beta.ppf(1 - tail, right + 1, wrong)) if wrong else 1.0
    return Interval(right / trials, low, high, method=EXACT)


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


def trust(fewest: int, over: str) -> str:
    """Return why an interval over ``fewest`` clusters of a class says less than it seems to."""
    if over == "images":
        return (
            "; no subject is known, and what subjects differ by is not in it: it is too narrow "
            "where several images are of one"
        )
    if fewest < 2:
        return f"; a class has {fewest} subject: what subjects differ by can't be known"
    if fewest < FEW_SUBJECTS:
        return f"; a rough one: a class has {fewest} subjects only, fewer than {FEW_SUBJECTS}"
    return ""
