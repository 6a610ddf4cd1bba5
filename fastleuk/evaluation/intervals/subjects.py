"""What a classifier did with each subject, and how subjects are drawn anew, class by class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
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
        """int64 ``(G,)``: within which subjects are drawn, so that no resample is without a class.

        A subject's stratum is the set of classes that it has samples of. One that is alone with its
        set joins another stratum, unless it has one class that nobody else has: drawing within it
        says nothing, and the interval is all that a figure can be.
        """
        sets, strata = np.unique(self.true > 0, axis=0, return_inverse=True)
        strata = strata.reshape(-1)
        shared = self.clusters() > 1
        for code in np.flatnonzero(np.bincount(strata) == 1):
            own = sets[code]
            if own.sum() == 1 and not shared[own].all():
                continue
            sizes = np.bincount(strata, minlength=len(sets))
            sizes[code] = 0
            # Best one whose members have no class that this subject has not; of these, the largest.
            foreign = (sets & ~own).any(axis=1)
            best = np.lexsort((sizes, ~foreign & (sizes > 0)))[-1]
            if sizes[best]:
                strata[strata == code] = best
        return np.unique(strata, return_inverse=True)[1].reshape(-1)

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
