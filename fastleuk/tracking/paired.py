"""Are two classifiers different on the same test samples, or could chance do that?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.95
_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its percentile bootstrap interval at :data:`LEVEL`."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class McNemar:
    """McNemar's exact test: of the samples that one alone has right, is it half and half?

    It takes samples to be independent. Cells of one subject are not, so with several a subject
    its p-value is too small, and the interval over subjects is the figure to trust.

    Attributes:
        only_first: Samples that the first alone has right.
        only_second: Samples that the second alone has right.
        p_value: Two-sided.
    """

    only_first: int
    only_second: int
    p_value: float


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> McNemar:
    """Test whether two classifiers are right equally often.

    Args:
        first_right: bool ``(N,)``, whether the first is right.
        second_right: bool ``(N,)``, the second, on the same samples.
    """
    from scipy.stats import binomtest

    first = int((first_right & ~second_right).sum())
    second = int((second_right & ~first_right).sum())
    p_value = binomtest(first, first + second).pvalue if first + second else 1.0
    return McNemar(first, second, float(p_value))


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


def macro_f1(confusions: np.ndarray) -> np.ndarray:
    """Return the macro-F1 ``(…)`` of confusion matrices ``(…, C, C)``; 0 / 0 counts as 0.

    >>> round(float(macro_f1(np.array([[3, 1], [0, 4]]))), 3)
    0.873
    """
    right = np.diagonal(confusions, axis1=-2, axis2=-1)
    involved = confusions.sum(axis=-1) + confusions.sum(axis=-2)
    return np.where(involved > 0, 2 * right / np.maximum(involved, 1), 0.0).mean(axis=-1)


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
    confusions: np.ndarray,
    reference: np.ndarray | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return macro-F1, or its difference from a reference, with an interval over subjects.

    Args:
        confusions: ``(G, C, C)`` of :func:`group_confusions`.
        reference: The other classifier's on the same samples: the difference is this one's
            macro-F1 less the reference's, and both are resampled alike.
        resamples: Number of bootstrap samples.
        seed: Of the draw.
    """
    both = [confusions] if reference is None else [confusions, reference]
    # A group's class is that of most of its samples: true classes, so the same for both.
    strata = confusions.sum(axis=2).argmax(axis=1)
    drawn = np.concatenate(
        [
            _gain(np.stack([np.tensordot(weights, each, axes=1) for each in both]))
            for weights in resample_weights(strata, resamples=resamples, seed=seed)
        ]
    )
    value = _gain(np.stack([each.sum(axis=0) for each in both]))
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(value), float(low), float(high))


def _gain(confusions: np.ndarray) -> np.ndarray:
    """Return macro-F1 of the first of ``(1, …, C, C)``, less that of the second if there is one."""
    scores = macro_f1(confusions)
    return scores[0] if len(scores) == 1 else scores[0] - scores[1]
