"""Figures in resamples of the subjects, and the intervals that follow from them.

Subjects are drawn with replacement within their class, all figures in the same resamples, and so
are those of several classifiers on the same samples: differences and means of figures are those of
their values resample by resample. Giving one subject at a time a little more weight tells how the
variance is shared among the classes, and adding a wrong subject to each class how far a figure
would move, see :mod:`fastleuk.evaluation.intervals.few_subjects`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from fastleuk.evaluation.intervals.few_subjects import (
    LEVEL,
    WRONG_SUBJECT,
    Interval,
    Scale,
    Spread,
    between,
    binomial_interval,
    bootstrap_spread,
    exact_bound,
)
from fastleuk.evaluation.intervals.metric_table import LABELS, METRICS, Metric, samples_of
from fastleuk.evaluation.intervals.subjects import RESAMPLES, resample_weights
from fastleuk.evaluation.intervals.totals import (
    Answers,
    Counted,
    Totals,
    with_wrong_subjects,
)

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


@dataclass(frozen=True, eq=False, slots=True)
class Unseen:
    """Effect on a figure of subjects that the sample may lack.

    Attributes:
        clusters: Those that the figure rests on: n of the exact bound.
        shift: Change of the figure with a part of a wrong subject more in every class.
        shifts: float64 ``(K,)``, the same in one class alone; K classes, of a difference those
            of both figures.
        freedom: float64 ``(K,)``, clusters of each of these classes.
        trials: ``(right, all)`` where the figure is a share of independent samples, else None.
    """

    clusters: int
    shift: float = 0.0
    shifts: np.ndarray = field(default_factory=lambda: np.zeros(0))
    freedom: np.ndarray = field(default_factory=lambda: np.zeros(0))
    trials: tuple[int, int] | None = None

    @property
    def spread(self) -> Spread:
        """Variance that one subject unlike the others adds to each class."""
        moved = self.shifts != 0
        return Spread(self.shifts[moved] ** 2, self.freedom[moved])


@dataclass(frozen=True, eq=False)
class Replicates:
    """A figure as it is, in R resamples, and how much each of J clusters moves it.

    Attributes:
        estimate: NaN where it is undefined.
        drawn: float64 ``(R,)``.
        influence: float64 ``(J,)``, see :meth:`Plan.influence`.
        scale: Of the figure.
        unseen: Effect of subjects that the sample may lack.
    """

    estimate: float
    drawn: np.ndarray
    influence: np.ndarray
    scale: Scale
    unseen: Unseen

    def __sub__(self, other: Replicates) -> Replicates:
        """Return the difference, resample by resample."""
        return Replicates(
            self.estimate - other.estimate,
            self.drawn - other.drawn,
            self.influence - other.influence,
            self.scale.of_difference,
            # Either figure may be the one that is wrong, so the difference moves to neither side.
            Unseen(
                min(self.unseen.clusters, other.unseen.clusters),
                shifts=np.concatenate([self.unseen.shifts, other.unseen.shifts]),
                freedom=np.concatenate([self.unseen.freedom, other.unseen.freedom]),
            ),
        )


def mean_of(several: Sequence[Replicates]) -> Replicates:
    """Return the mean of figures in the same resamples."""
    first = several[0]
    if len(several) == 1:
        return first
    return Replicates(
        float(np.mean([each.estimate for each in several])),
        np.mean([each.drawn for each in several], axis=0),
        np.mean([each.influence for each in several], axis=0),
        first.scale,
        Unseen(
            first.unseen.clusters,
            float(np.mean([each.unseen.shift for each in several])),
            np.mean([each.unseen.shifts for each in several], axis=0),
            first.unseen.freedom,
        ),
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
    longer, sizes = with_wrong_subjects(answers)
    wrong = Totals(longer, wrong_weights(len(plan.strata), sizes))
    return {
        name: of_values(
            np.concatenate(rows[name]),
            plan,
            metric.scale,
            _unseen(metric, answers, float(rows[name][0][0]), metric.function(wrong)),
        )
        for name, metric in chosen.items()
    }


def _columns(answers: Answers | Counted) -> int:
    """Return how many numbers a resample takes."""
    whole = 3 * answers.counts.true.shape[1]
    return max(whole, len(answers.labels)) if isinstance(answers, Answers) else whole


def wrong_weights(clusters: int, sizes: np.ndarray) -> np.ndarray:
    """Return weights ``(2 + K, G + K)`` of G clusters and K wrong ones behind them.

    Without wrong subjects, with :data:`.few_subjects.WRONG_SUBJECT` of every one, and of one class
    at a time.

    Args:
        clusters: G.
        sizes: float64 ``(K,)``, of :func:`.totals.with_wrong_subjects`.
    """
    classes = len(sizes)
    share = np.concatenate([np.zeros((1, classes)), np.ones((1, classes)), np.eye(classes)])
    return np.hstack([np.ones((2 + classes, clusters)), WRONG_SUBJECT * sizes * share])


def unseen_by_class(answers: Answers | Counted, values: np.ndarray) -> Unseen:
    """Return the effect of wrong subjects on a figure that rests on every class.

    Args:
        answers: Without wrong subjects.
        values: float64 ``(2 + K,)``, the figure at :func:`wrong_weights`.
    """
    clusters = answers.counts.clusters()
    clusters = clusters[clusters > 0]
    moved = np.nan_to_num(values - values[0])
    return Unseen(int(clusters.min()), float(moved[1]), moved[2:], clusters.astype(np.float64))


def _unseen(
    metric: Metric, answers: Answers | Counted, estimate: float, values: np.ndarray
) -> Unseen:
    found = unseen_by_class(answers, values)
    if metric.share_of is None:
        return found
    samples = samples_of(metric, answers)
    clusters, trials = int((samples > 0).sum()), int(samples.sum())
    independent = trials > 0 and samples.max() <= 1
    return dataclasses.replace(
        found,
        clusters=clusters,
        trials=(round(estimate * trials), trials) if independent else None,
    )


def of_values(
    values: np.ndarray, plan: Plan, scale: Scale, unseen: Unseen | None = None
) -> Replicates:
    """Sort a figure's values in all rows of :meth:`Plan.weights` into what they are for.

    Args:
        values: float64 ``(1 + R + J,)``.
        plan: The resamples.
        scale: Of the figure.
        unseen: By default the figure rests on every stratum, and nothing is known of wrong
            subjects.
    """
    end = 1 + plan.resamples
    influence = plan.influence(np.concatenate([values[:1], values[end:]]))
    unseen = unseen or Unseen(int(np.bincount(plan.strata).min()))
    return Replicates(float(values[0]), values[1:end], influence, scale, unseen)


def interval(replicates: Replicates, plan: Plan, *, level: float = LEVEL) -> Interval:
    """Return the interval of a figure; NaN to NaN where it is undefined.

    Resamples in which it is undefined are left out.
    """
    drawn, clusters = replicates.drawn, len(plan.strata)
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(replicates.estimate) or not len(drawn):
        nan = float("nan")
        return Interval(replicates.estimate, nan, nan, clusters, level)
    found = _interval(replicates, drawn, plan, level)
    return dataclasses.replace(found, clusters=clusters, level=level)


def _interval(replicates: Replicates, drawn: np.ndarray, plan: Plan, level: float) -> Interval:
    estimate, scale, unseen = replicates.estimate, replicates.scale, replicates.unseen
    if unseen.trials is not None:
        exact = binomial_interval(*unseen.trials, level)
        return dataclasses.replace(exact, estimate=estimate)
    influence = np.where(np.isfinite(replicates.influence), replicates.influence, 0.0)
    strata, sizes = plan.strata[plan.nudged], np.bincount(plan.strata)
    spread = bootstrap_spread(drawn, influence, strata, sizes=sizes)
    reach = spread.reach(level)
    if reach == 0:
        return exact_bound(estimate, unseen.clusters, scale, level)
    found = between(estimate, reach, scale)
    wrong = between(estimate + unseen.shift, (spread + unseen.spread).reach(level), scale)
    return dataclasses.replace(
        found, low=min(found.low, wrong.low), high=max(found.high, wrong.high)
    )


def enough_resamples(samples: int, curves: int) -> int:
    """Return how many resamples are drawn: fewer of very many samples, in seconds all the same.

    >>> enough_resamples(1867, 1), enough_resamples(1_000_000, 1)
    (2000, 400)
    """
    return max(_FEWEST, min(RESAMPLES, _BUDGET // max(1, samples * max(1, curves))))
