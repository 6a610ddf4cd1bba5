"""Macro-F1 with its uncertainty over subjects: cells of one person are not independent.

Subjects, not cells, are drawn anew, class by class; see :mod:`fastleuk.evaluation.intervals`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastleuk.evaluation.intervals import (
    LEVEL,
    Interval,
    difference_interval,
    share_interval,
    student_reach,
    trust,
)

RESAMPLES = 10_000
_AT_ONCE = 1 << 22


@dataclass(frozen=True, eq=False, slots=True)
class SubjectCounts:
    """What a classifier did with each of G subjects' samples, by class.

    Attributes:
        right: float64 ``(G, C)``, samples of the class that it has right.
        true: float64 ``(G, C)``, samples of the class.
        predicted: float64 ``(G, C)``, samples taken for the class.
    """

    right: np.ndarray
    true: np.ndarray
    predicted: np.ndarray

    @property
    def strata(self) -> np.ndarray:
        """int64 ``(G,)``: the class of each subject, which is that of most of its samples.

        All are one stratum where subjects have samples of several classes and one class would be
        left with a single subject, since drawing within it would say nothing.
        """
        strata = self.true.argmax(axis=1)
        mixed = ((self.true > 0).sum(axis=1) > 1).any()
        lonely = (np.unique(strata, return_counts=True)[1] == 1).any()
        return np.zeros_like(strata) if mixed and lonely else strata

    def clusters(self) -> np.ndarray:
        """int64 ``(C,)``: the number of subjects that have samples of each class."""
        return (self.true > 0).sum(axis=0)


def count_subjects(
    labels: np.ndarray, predicted: np.ndarray, groups: np.ndarray, classes: int
) -> SubjectCounts:
    """Count by subject and class.

    Args:
        labels: int64 ``(N,)``.
        predicted: int64 ``(N,)``.
        groups: ``(N,)``, the subject of each sample, anything that sorts.
        classes: C.
    """
    places = np.unique(groups, return_inverse=True)[1].reshape(-1)
    shape = (int(places.max()) + 1, classes)
    size = shape[0] * classes

    def count(codes: np.ndarray, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
        cells = (places * classes + codes)[chosen]
        return np.bincount(cells, minlength=size).reshape(shape).astype(np.float64)

    return SubjectCounts(count(labels, labels == predicted), count(labels), count(predicted))


def group_confusions(
    labels: np.ndarray, predicted: np.ndarray, groups: np.ndarray, classes: int
) -> np.ndarray:
    """Count a confusion matrix for each group, int64 ``(G, C, C)``, rows true, columns predicted.

    Args:
        labels: int64 ``(N,)``.
        predicted: int64 ``(N,)``.
        groups: ``(N,)``, the subject of each sample, anything that sorts.
        classes: C.
    """
    places = np.unique(groups, return_inverse=True)[1].reshape(-1)
    counts = np.zeros((places.max() + 1, classes, classes), dtype=np.int64)
    np.add.at(counts, (places, labels, predicted), 1)
    return counts


def counts_of(confusions: np.ndarray) -> SubjectCounts:
    """Return what confusion matrices ``(G, C, C)`` say of each class."""
    whole = confusions.astype(np.float64)
    return SubjectCounts(
        np.diagonal(whole, axis1=1, axis2=2).copy(), whole.sum(axis=2), whole.sum(axis=1)
    )


def macro_f1(confusions: np.ndarray) -> np.ndarray:
    """Return the macro-F1 ``(…)`` of confusion matrices ``(…, C, C)``; 0 / 0 counts as 0.

    >>> round(float(macro_f1(np.array([[3, 1], [0, 4]]))), 3)
    0.873
    """
    right = np.diagonal(confusions, axis1=-2, axis2=-1)
    return macro_f1_of(right, confusions.sum(axis=-1) + confusions.sum(axis=-2))


def macro_f1_of(right: np.ndarray, involved: np.ndarray) -> np.ndarray:
    """Return the macro-F1 ``(…)`` from samples right and true plus predicted ones ``(…, C)``."""
    there = involved > 0
    return np.where(there, 2 * right / np.where(there, involved, 1), 0.0).mean(axis=-1)


def resample_weights(strata: np.ndarray, *, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Draw how often each group is taken, with replacement: int64 ``(r, G)`` some at a time.

    As many groups of a stratum are drawn as it has, so that no resample is without a class.

    Args:
        strata: int64 ``(G,)``, the class of each group.
        resamples: Rows in all.
        seed: Equal seeds, equal draws.
    """
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, 3], dtype=np.uint64)))
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    step = max(1, _AT_ONCE // len(strata))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        weights = np.zeros((rows, len(strata)), dtype=np.int64)
        for each in members:
            weights[:, each] = rng.multinomial(len(each), [1 / len(each)] * len(each), size=rows)
        yield weights


def macro_f1_interval(
    counts: SubjectCounts | np.ndarray,
    reference: SubjectCounts | np.ndarray | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return macro-F1, or its difference from a reference, with an interval over subjects.

    With a single subject of a class nothing is known of how subjects differ, and the interval is
    all that a figure can be; with none that differ it has no width.

    Args:
        counts: By subject; or :func:`group_confusions`.
        reference: The other classifier's on the same samples: the difference is this one's
            macro-F1 less the reference's, and both are resampled alike.
        resamples: Number of bootstrap samples.
        seed: Of the draw.
    """
    both = [each if isinstance(each, SubjectCounts) else counts_of(each)
            for each in (counts, reference) if each is not None]  # fmt: skip
    # True classes, so the same for both; both may be multiplied at once.
    strata = both[0].strata
    columns = np.concatenate([c for each in both for c in (each.right, each.true + each.predicted)],
                             axis=1)  # fmt: skip

    def gains(totals: np.ndarray) -> np.ndarray:
        parts = np.split(totals, 2 * len(both), axis=-1)
        scores = [macro_f1_of(*parts[k : k + 2]) for k in range(0, len(parts), 2)]
        return scores[0] if len(scores) == 1 else scores[0] - scores[1]

    # As float64 the products go to BLAS, and whole numbers stay exact.
    drawn = np.concatenate(
        [
            gains(weights.astype(np.float64) @ columns)
            for weights in resample_weights(strata, resamples=resamples, seed=seed)
        ]
    )
    value = float(gains(columns.sum(axis=0)))
    influence = _influence(both[0])
    if reference is not None:
        influence = influence - _influence(both[1])
    reach = student_reach(drawn, influence, strata)
    return (
        difference_interval(value, reach) if reference is not None else share_interval(value, reach)
    )


def _influence(counts: SubjectCounts) -> np.ndarray:
    """Return by how much each subject moves macro-F1, to first order: float64 ``(G,)``."""
    involved = counts.true + counts.predicted
    total = involved.sum(axis=0)
    there = total > 0
    safe = np.where(there, total, 1)
    f1 = np.where(there, 2 * counts.right.sum(axis=0) / safe, 0.0)
    return (np.where(there, 2 * counts.right - f1 * involved, 0.0) / safe).mean(axis=1)


def macro_f1_summary(
    counts: SubjectCounts, class_names: tuple[str, ...], *, by_image: bool
) -> dict[str, Any]:
    """Return the interval of macro-F1 and what it is over, fit for JSON.

    Args:
        counts: By subject.
        class_names: C names.
        by_image: Whether every image counts as a subject of its own.
    """
    # Of very many, fewer resamples tell the deviation as well, in seconds.
    interval = macro_f1_interval(counts, resamples=2000 if len(counts.true) <= 5000 else 400)
    clusters = zip(class_names, counts.clusters().tolist(), strict=True)
    return {
        "level": LEVEL,
        "over": "images" if by_image else "subjects",
        "clusters": len(counts.true),
        "clusters_by_class": dict(clusters),
        "f1_macro": [interval.low, interval.high],
    }


def format_summary(summary: dict[str, Any], value: float) -> str:
    """Lay out :func:`macro_f1_summary` with the figure and how far it can be trusted."""
    low, high = summary["f1_macro"]
    by_class = summary["clusters_by_class"]
    counts = ", ".join(f"{count} {name}" for name, count in by_class.items())
    over = summary["over"]
    text = (
        f"macro-F1 {value:.4f}, {summary['level']:.0%} interval {low:.4f} to {high:.4f} "
        f"over {summary['clusters']} {over}"
    )
    text += f" ({counts})" if len(by_class) <= 10 else ""
    return text + trust(low, high, min(by_class.values()), over)
