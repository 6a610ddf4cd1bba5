"""Sums over the samples of many resamples at once, of which figures of merit are made.

A resample is a weight for each cluster (a subject, or an image where no subject is known): how
often it was drawn. A cluster's samples share its weight, so sums by cluster are made once, and a
matrix product gives those of all resamples. Only curves (ROC, precision and recall) need the
samples again, in the order of their scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fastleuk.evaluation.intervals.few_subjects import WRONG_SUBJECT
from fastleuk.evaluation.intervals.subjects import SubjectCounts, count_subjects

BINS = 15
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, eq=False)
class Answers:
    """What a classifier said of N samples of G clusters and C classes.

    Attributes:
        labels: int64 ``(N,)``.
        probabilities: float64 ``(N, C)``, rows summing to 1.
        predicted: int64 ``(N,)``.
        groups: int64 ``(N,)``, from 0 to G - 1, each at least once.
        positive: The positive class's code, or None.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    predicted: np.ndarray
    groups: np.ndarray
    positive: int | None = None

    @cached_property
    def counts(self) -> SubjectCounts:
        """What the classifier did by cluster and class."""
        classes = self.probabilities.shape[1]
        return count_subjects(self.labels, self.predicted, self.groups, classes)

    def sums(self, name: str) -> np.ndarray:
        """Return sums by cluster, float64 ``(G,)`` or ``(G, bins)``: see :class:`Totals`."""
        return self._sums[name]

    @cached_property
    def _sums(self) -> dict[str, np.ndarray]:
        size, rows = int(self.groups.max()) + 1, np.arange(len(self.labels))
        true = self.probabilities[rows, self.labels]
        missed = self.probabilities.copy()
        missed[rows, self.labels] -= 1
        confidence = self.probabilities.max(axis=1)
        right = self.probabilities.argmax(axis=1) == self.labels
        places = self.groups * BINS + calibration_bins(confidence, BINS)
        gaps = np.bincount(places, weights=right - confidence, minlength=size * BINS)

        def by_group(values: np.ndarray) -> np.ndarray:
            return np.bincount(self.groups, weights=values, minlength=size)

        return {
            "brier": by_group((missed**2).sum(axis=1) / 2),
            "log_loss": by_group(-np.log(np.maximum(true, _TINY))),
            "gaps": gaps.reshape(size, BINS),
        }

    @cached_property
    def curve_classes(self) -> list[int]:
        """Classes whose curves are averaged: the positive one of two, else all that are there."""
        there = np.unique(self.labels)
        if len(there) < 2:
            return []
        if self.probabilities.shape[1] == 2 and self.positive is not None:
            return [self.positive]
        return [int(c) for c in there]

    def ranked(self, code: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the samples' order by the score of a class, descending.

        Returns:
            ``(order, starts, members)``: int64 ``(N,)``; int64 ``(U,)``, where in it each
            different score begins; bool ``(N,)``, which of the samples in that order are of the
            class.
        """
        if code not in self._ranked:
            scores = self.probabilities[:, code]
            order = np.argsort(-scores, kind="stable")
            falls = np.flatnonzero(np.diff(scores[order])) + 1
            starts = np.concatenate([[0], falls])
            self._ranked[code] = order, starts, self.labels[order] == code
        return self._ranked[code]

    @cached_property
    def _ranked(self) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        return {}


@dataclass(frozen=True, eq=False, slots=True)
class Counted:
    """What a classifier did by cluster and class, where its scores are not known."""

    counts: SubjectCounts
    positive: int | None = None


MOST_WRONG = 4096
"""Samples of a wrong subject: of more, so many are taken evenly."""


def with_wrong_subjects(
    answers: Answers | Counted, *, whole: bool = False
) -> tuple[Answers | Counted, np.ndarray]:
    """Append a wrong subject of each class, one whose samples get the answers of other classes'.

    Where no other class has a sample, the class's own answers are taken with the class exchanged
    for another.

    Args:
        answers: Of G clusters and C classes.
        whole: Give each so many samples as a mean subject of the class times
            :data:`.few_subjects.WRONG_SUBJECT` has, at least one: for metrics that take no weights.

    Returns:
        The answers of G + K clusters, K of them new, of the classes that have samples; and float64
        ``(K,)``: the weight with which each of these counts like a mean subject of its class.
    """
    if isinstance(answers, Counted):
        return _counted_wrong(answers)
    count, clusters = answers.counts.true.sum(axis=0), answers.counts.clusters()
    classes, size = len(count), len(answers.counts.true)
    rows: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    groups: list[np.ndarray] = []
    sizes: list[float] = []
    for code in np.flatnonzero(clusters):
        others = np.flatnonzero(answers.labels != code)
        chosen = others if len(others) else np.arange(len(answers.labels))
        mean = count[code] / clusters[code]
        most = max(1, round(WRONG_SUBJECT * mean)) if whole else MOST_WRONG
        if len(chosen) > most:
            by_score = chosen[np.argsort(answers.probabilities[chosen, code], kind="stable")]
            chosen = by_score[np.linspace(0, len(chosen) - 1, most).round().astype(int)]
        groups.append(np.full(len(chosen), size + len(rows)))
        labels.append(np.full(len(chosen), code))
        rows.append(chosen)
        sizes.append(mean / len(chosen))
    taken, wrong = np.concatenate(rows), np.concatenate(labels)
    predicted, chances = answers.predicted[taken], answers.probabilities[taken]
    if len(rows) == 1 and classes > 1:
        only = int(wrong[0])
        other = (only + 1) % classes
        predicted = np.where(predicted == only, other, predicted)
        order = np.arange(classes)
        order[[only, other]] = other, only
        chances = chances[:, order]
    longer = Answers(
        np.concatenate([answers.labels, wrong]),
        np.concatenate([answers.probabilities, chances]),
        np.concatenate([answers.predicted, predicted]),
        np.concatenate([answers.groups, *groups]),
        answers.positive,
    )
    return longer, np.array(sizes)


def _counted_wrong(answers: Counted) -> tuple[Counted, np.ndarray]:
    counts = answers.counts
    true, clusters = counts.true.sum(axis=0), counts.clusters()
    there, classes = np.flatnonzero(clusters), len(true)
    means = (true / np.maximum(clusters, 1))[there, None]
    own = np.eye(classes)[there]
    others = true * (1 - own)
    alone = others.sum(axis=1) == 0
    others[alone] = np.roll(own, 1, axis=1)[alone]
    added = SubjectCounts(
        np.concatenate([counts.right, np.zeros(own.shape)]),
        np.concatenate([counts.true, means * own]),
        np.concatenate([counts.predicted, means * others / others.sum(axis=1, keepdims=True)]),
    )
    return Counted(added, answers.positive), np.ones(len(there))


def calibration_bins(confidence: np.ndarray, bins: int) -> np.ndarray:
    """Return the bin of equal width, open below and closed above, of each value from 0 to 1."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


class Totals:
    """Sums over the samples of R resamples.

    Args:
        answers: What the classifier said.
        weights: ``(R, G)``, how often each cluster was drawn.

    Attributes:
        right: float64 ``(R, C)``, samples of the class that are right.
        true: float64 ``(R, C)``, samples of the class.
        predicted: float64 ``(R, C)``, samples taken for the class.
    """

    def __init__(self, answers: Answers | Counted, weights: np.ndarray) -> None:
        self._answers = answers
        self._weights = weights.astype(np.float64)  # so that products go to BLAS
        counts = answers.counts
        columns = np.concatenate([counts.right, counts.true, counts.predicted], axis=1)
        self.right, self.true, self.predicted = np.split(self._weights @ columns, 3, axis=1)

    @property
    def positive(self) -> int:
        """The positive class's code."""
        assert self._answers.positive is not None, "a figure of the positive class without one"
        return self._answers.positive

    @property
    def _scored(self) -> Answers:
        assert isinstance(self._answers, Answers), "a figure of probabilities without any"
        return self._answers

    def sums(self, name: str) -> np.ndarray:
        """Return the sums ``brier``, ``log_loss`` ``(R,)`` or ``gaps`` ``(R, bins)``."""
        return self._weights @ self._scored.sums(name)

    def auc(self) -> np.ndarray:
        """Return the area under the ROC curve ``(R,)``; NaN without two classes."""
        return self._curves[0]

    def average_precision(self) -> np.ndarray:
        """Return the average precision ``(R,)``; NaN without two classes."""
        return self._curves[1]

    @cached_property
    def _curves(self) -> tuple[np.ndarray, np.ndarray]:
        classes = self._scored.curve_classes
        if not classes:
            nothing = np.full(len(self._weights), np.nan)
            return nothing, nothing
        both = [self._curves_of(code) for code in classes]
        area, precision = np.mean(both, axis=0)
        return area, precision

    def _curves_of(self, code: int) -> tuple[np.ndarray, np.ndarray]:
        order, starts, members = self._scored.ranked(code)
        weights = self._weights[:, self._scored.groups[order]]
        hits = np.where(members, weights, 0.0)
        if len(starts) < len(order):
            hits = np.add.reduceat(hits, starts, axis=1)
            weights = np.add.reduceat(weights, starts, axis=1)
        found, taken = hits.cumsum(axis=1), weights.cumsum(axis=1)
        positives, size = found[:, -1], taken[:, -1]
        pairs = positives * (size - positives)
        # Each sample of another class wins against members that stand above it, and half of those
        # that stand with it.
        wins = ((found - hits / 2) * (weights - hits)).sum(axis=1)
        precision = (found / np.maximum(taken, _TINY) * hits).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            area = np.where(pairs > 0, wins / pairs, np.nan)
            average = np.where(positives > 0, precision / positives, np.nan)
        return area, average
