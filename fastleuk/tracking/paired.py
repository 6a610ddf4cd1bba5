"""Are two classifiers different on the same test samples, or could chance do that?

Cells of one subject are alike, so a test that takes them one by one (McNemar's) calls two equal
classifiers different in 30 of 100 comparisons. Here subjects are what is exchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fastleuk.evaluation.intervals.few_subjects import LEVEL, Interval
from fastleuk.evaluation.intervals.headline import macro_f1_interval
from fastleuk.evaluation.intervals.subjects import (
    RESAMPLES,
    SubjectCounts,
    count_subjects,
    counts_of,
    group_confusions,
    macro_f1,
    macro_f1_of,
    resample_weights,
)

__all__ = [
    "LEVEL",
    "RESAMPLES",
    "Interval",
    "SubjectCounts",
    "SwapTest",
    "count_subjects",
    "group_confusions",
    "holm",
    "macro_f1",
    "macro_f1_interval",
    "resample_weights",
    "swap_test",
]

EXACT_UP_TO = 16
"""With so many subjects that differ, at most, every one of the 2 to that power swaps is tried."""
SWAPS = 10_000
"""Random swaps where there are more."""
_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True)
class SwapTest:
    """The test whether two classifiers' macro-F1 differs by more than swapping subjects does.

    Attributes:
        p_value: Two-sided.
        differing: Subjects on which the two differ: the others can't matter.
        exact: Whether all swaps were tried, or :data:`SWAPS` random ones.
    """

    p_value: float
    differing: int
    exact: bool

    @property
    def smallest(self) -> float:
        """The smallest p-value that so many subjects can give."""
        return min(1.0, 2.0 ** (1 - self.differing)) if self.exact else 1 / (SWAPS + 1)


def swap_test(
    first: SubjectCounts | np.ndarray, second: SubjectCounts | np.ndarray, *, seed: int = 0
) -> SwapTest:
    """Test whether two classifiers are alike, by swapping their answers subject by subject.

    Were they alike, what one said of a subject could as well be what the other said: the difference
    in macro-F1 is compared with those after swapping the two within every set of subjects. This is
    exact whatever the subjects' cells have in common, and however few subjects there are.

    Args:
        first: Counts by subject, or confusion matrices ``(G, C, C)`` by subject.
        second: The other classifier's on the same samples.
        seed: Of the random swaps, where there are too many to try all.
    """
    a, b = (each if isinstance(each, SubjectCounts) else counts_of(each)
            for each in (first, second))  # fmt: skip
    gained = np.concatenate([b.right - a.right, b.predicted - a.predicted], axis=1)
    gained = gained[(gained != 0).any(axis=1)]
    both = np.concatenate([a.right + b.right, a.predicted + b.predicted], axis=1).sum(axis=0)
    true = a.true.sum(axis=0)

    def differences(signs: np.ndarray) -> np.ndarray:
        """Return |macro-F1 of the second − of the first| for ``signs`` ``(r, G)`` of ±1."""
        shift = signs @ gained
        scores = []
        for totals in ((both - shift) / 2, (both + shift) / 2):
            right, predicted = np.split(totals, 2, axis=-1)
            scores.append(macro_f1_of(right, true + predicted))
        return np.abs(scores[1] - scores[0])

    count = len(gained)
    seen = differences(np.ones((1, count)))[0] - 1e-12  # rounding must not part what is equal
    exact = count <= EXACT_UP_TO
    step = max(1, _AT_ONCE // max(1, gained.shape[1] + count))
    reached = total = 0
    for signs in _all_signs(count, step) if exact else _random_signs(count, step, seed):
        reached += int((differences(signs.astype(np.float64)) >= seen).sum())
        total += len(signs)
    p_value = reached / total if exact else (1 + reached) / (1 + total)
    return SwapTest(float(p_value), count, exact)


def _all_signs(count: int, step: int) -> Iterator[np.ndarray]:
    """Yield all signs with the first held, ``(2^(G-1), G)`` in steps: the rest mirror these."""
    bits = np.arange(count)[::-1]
    for start in range(0, 1 << max(0, count - 1), step):
        codes = np.arange(start, min(start + step, 1 << max(0, count - 1)))
        yield 1 - 2 * (codes[:, None] >> bits & 1)


def _random_signs(count: int, step: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, 4], dtype=np.uint64)))
    for start in range(0, SWAPS, step):
        rows = min(step, SWAPS - start)
        yield 1 - 2 * rng.integers(2, size=(rows, count), dtype=np.int8)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values of several comparisons by Holm's method: none is called different too often.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[int(place)] = least
    return adjusted
