"""Figures in resamples of the subjects, and the intervals that follow from them.

Subjects are drawn with replacement within their class, all figures in the same resamples, and so
are those of several classifiers on the same samples: differences and means of figures are those of
their values resample by resample. Giving one subject at a time a little more weight tells how the
variance is shared among the classes, see :mod:`fastleuk.evaluation.intervals.few_subjects`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fastleuk.evaluation.intervals.few_subjects import (
    LEVEL,
    Interval,
    Scale,
    between,
    student_reach,
)
from fastleuk.evaluation.intervals.metric_table import LABELS, METRICS, Metric
from fastleuk.evaluation.intervals.subjects import RESAMPLES, resample_weights
from fastleuk.evaluation.intervals.totals import Answers, Counted, Totals

MOST_NUDGED = 1000
"""Clusters whose influence is looked at; where there are more, so many of them, drawn evenly from
the classes."""
_NUDGE = 1e-4

_AT_ONCE = 1 << 22
_BUDGET = 200_000_000
_FEWEST = 400


@dataclass(frozen=True, eq=False)
class Plan:
    """Which resamples are drawn of G clusters.

    Attributes:
        strata: int64 ``(G,)``: within which clusters are drawn.
        resamples: R.
        seed: Equal seeds, equal draws.
    """

    strata: np.ndarray
    resamples: int = RESAMPLES
    seed: int = 0

    @cached_property
    def nudged(self) -> np.ndarray:
        """int64 ``(J,)``: the clusters whose influence is looked at."""
        if len(self.strata) <= MOST_NUDGED:
            return np.arange(len(self.strata))
        members = [np.flatnonzero(self.strata == stratum) for stratum in np.unique(self.strata)]
        share = max(2, MOST_NUDGED // len(members))
        rng = np.random.Generator(np.random.Philox(key=np.array([self.seed, 5], dtype=np.uint64)))
        chosen = [
            each if len(each) <= share else rng.choice(each, share, False) for each in members
        ]
        return np.sort(np.concatenate(chosen))

    def weights(self, columns: int) -> Iterator[np.ndarray]:
        """Yield all rows of weights ``(r, G)``, some at a time.

        First a row of ones (the samples as they are), then R resamples, then one for each of
        :attr:`nudged`, in which it weighs a little more and the rest of its stratum less.

        Args:
            columns: Samples, by which the rows at a time are bounded.
        """
        yield np.ones((1, len(self.strata)))
        step = max(1, _AT_ONCE // max(columns, 1))
        for weights in self.draws():
            for start in range(0, len(weights), step):
                yield weights[start : start + step]
        for start in range(0, len(self.nudged), step):
            yield self._nudge(self.nudged[start : start + step])

    def draws(self) -> Iterator[np.ndarray]:
        """Yield the R resamples alone, ``(r, G)``, some at a time."""
        return resample_weights(self.strata, resamples=self.resamples, seed=self.seed)

    def _nudge(self, chosen: np.ndarray) -> np.ndarray:
        share = _NUDGE / np.bincount(self.strata)[self.strata]
        weights = 1.0 - share * (self.strata == self.strata[chosen][:, None])
        weights[np.arange(len(chosen)), chosen] += _NUDGE
        return weights

    def influence(self, values: np.ndarray) -> np.ndarray:
        """Return how much each cluster of :attr:`nudged` moves a figure.

        Args:
            values: Of the figure: as it is, and in the last rows of :meth:`weights`.
        """
        return (values[1:] - values[0]) / _NUDGE


@dataclass(frozen=True, eq=False)
class Replicates:
    """A figure as it is, in R resamples, and how much each of J clusters moves it.

    Attributes:
        estimate: NaN where it is undefined.
        drawn: float64 ``(R,)``.
        influence: float64 ``(J,)``, see :meth:`Plan.influence`.
        scale: Of the figure.
    """

    estimate: float
    drawn: np.ndarray
    influence: np.ndarray
    scale: Scale

    def __sub__(self, other: Replicates) -> Replicates:
        """Return the difference, resample by resample."""
        return Replicates(
            self.estimate - other.estimate,
            self.drawn - other.drawn,
            self.influence - other.influence,
            self.scale.of_difference,
        )


def mean_of(several: Sequence[Replicates]) -> Replicates:
    """Return the mean of figures in the same resamples."""
    first = several[0]
    return Replicates(
        float(np.mean([each.estimate for each in several])),
        np.mean([each.drawn for each in several], axis=0),
        np.mean([each.influence for each in several], axis=0),
        first.scale,
    )


def replicate(
    answers: Answers | Counted, plan: Plan, names: Sequence[str] | None = None
) -> dict[str, Replicates]:
    """Return figures in all of a plan's resamples.

    Args:
        answers: What the classifier said.
        plan: Of the clusters of ``answers``.
        names: Of :data:`METRICS`; by default all that the positive class allows, and the
            probabilities, if any.
    """
    chosen = {
        name: metric
        for name, metric in METRICS.items()
        if (answers.positive is not None or not metric.positive)
        and (isinstance(answers, Answers) or metric.needs == LABELS)
        and (names is None or name in names)
    }
    rows: dict[str, list[np.ndarray]] = {name: [] for name in chosen}
    for weights in plan.weights(_columns(answers)):
        totals = Totals(answers, weights)
        for name, metric in chosen.items():
            rows[name].append(metric.function(totals))
    return {name: _replicates(chosen[name], rows[name], plan) for name in chosen}


def _columns(answers: Answers | Counted) -> int:
    """Return how many numbers a resample takes."""
    whole = 3 * answers.counts.true.shape[1]
    return max(whole, len(answers.labels)) if isinstance(answers, Answers) else whole


def _replicates(metric: Metric, rows: list[np.ndarray], plan: Plan) -> Replicates:
    return of_values(np.concatenate(rows), plan, metric.scale)


def of_values(values: np.ndarray, plan: Plan, scale: Scale) -> Replicates:
    """Sort a figure's values in all rows of :meth:`Plan.weights` into what they are for."""
    end = 1 + plan.resamples
    influence = plan.influence(np.concatenate([values[:1], values[end:]]))
    return Replicates(float(values[0]), values[1:end], influence, scale)


def interval(replicates: Replicates, plan: Plan, *, level: float = LEVEL) -> Interval:
    """Return the interval of a figure; NaN to NaN where it is undefined.

    Resamples in which it is undefined are left out.
    """
    drawn, clusters = replicates.drawn, len(plan.strata)
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(replicates.estimate) or not len(drawn):
        nan = float("nan")
        return Interval(replicates.estimate, nan, nan, clusters, level)
    influence = np.where(np.isfinite(replicates.influence), replicates.influence, 0.0)
    strata, sizes = plan.strata[plan.nudged], np.bincount(plan.strata)
    reach = student_reach(drawn, influence, strata, sizes=sizes, level=level)
    found = between(replicates.estimate, reach, replicates.scale)
    return dataclasses.replace(found, clusters=clusters, level=level)


def enough_resamples(samples: int, curves: int) -> int:
    """Return how many resamples are drawn: fewer of very many samples, in seconds all the same.

    >>> enough_resamples(1867, 1), enough_resamples(1_000_000, 1)
    (2000, 400)
    """
    return max(_FEWEST, min(RESAMPLES, _BUDGET // max(1, samples * max(1, curves))))
