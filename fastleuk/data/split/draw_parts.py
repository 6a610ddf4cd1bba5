"""Share groups of images out to parts so that each class comes near its fraction in each."""

from collections.abc import Sequence

import numpy as np

from fastleuk.data.split.groups import (
    count_groups,
    have_one_class,
    main_class,
    number_of_tries,
)
from fastleuk.errors import DataError, listed

UNUSED, TRAIN, VAL, TEST = range(4)


def split_groups(
    labels: np.ndarray,
    groups: np.ndarray,
    class_names: tuple[str, ...],
    fractions: Sequence[tuple[int, float]],
    seed: int,
) -> np.ndarray:
    """Return the (N,) int8 part of each image; no group stands in two parts.

    Many random orders of the groups are tried; in each, a part takes groups until it is nearest
    to its share. The best order counts: least deviation in images, class by class, with a price
    on parts made of fewer groups than their share (one large subject is a poor test set).

    Args:
        labels: (N,) class codes, no negatives.
        groups: (N,) int64.
        class_names: by code.
        fractions: (part, fraction of all images) for each part but train, which gets the rest.
        seed: of the draw.

    Raises:
        DataError: a class has fewer groups than there are parts, or no order gives every part
            every class.
    """
    counts, row = count_groups(labels, groups, len(class_names))
    _check_enough(counts, class_names, len(fractions) + 1)
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, 2], dtype=np.uint64)))
    chosen = np.full(len(counts), TRAIN, dtype=np.int8)
    if have_one_class(counts):
        for code in range(len(class_names)):
            members = np.flatnonzero(counts[:, code])
            chosen[members] = _search(counts[members][:, [code]], fractions, rng)
    else:
        chosen = _search(counts, fractions, rng)
    return chosen[row]


def _check_enough(counts: np.ndarray, class_names: tuple[str, ...], needed: int) -> None:
    have = (counts > 0).sum(axis=0)
    poor = [f"{class_names[c]}: {have[c]} subject group(s)" for c in np.flatnonzero(have < needed)]
    if poor:
        raise DataError(
            f"too few subjects to split by subject: each class needs at least {needed}, one for "
            "each part (subjects tied by identical files count as one). Add subjects, or use "
            f"--split image and read its figures with care:\n{listed(poor)}"
        )


def _search(
    counts: np.ndarray, fractions: Sequence[tuple[int, float]], rng: np.random.Generator
) -> np.ndarray:
    """Return the (G,) int8 part of each group, from its (G, C) image counts."""
    home = main_class(counts)
    classes = [(code, np.flatnonzero(home == code)) for code in np.unique(home)]
    shares = _Shares(counts, fractions)
    best, best_score = None, np.inf
    for _ in range(number_of_tries(counts)):
        parts = _one_try(counts, classes, fractions, rng)
        score = shares.score(parts)
        if score < best_score:
            best, best_score = parts, score
    if best is None:
        raise DataError(
            "no way was found to give every part every class without sharing a subject: the "
            "subjects are too few or too uneven. Try another --seed or larger fractions."
        )
    return best


def _one_try(
    counts: np.ndarray,
    classes: Sequence[tuple[int, np.ndarray]],
    fractions: Sequence[tuple[int, float]],
    rng: np.random.Generator,
) -> np.ndarray:
    parts = np.full(len(counts), TRAIN, dtype=np.int8)
    for code, members in classes:
        order = rng.permutation(members)
        sizes = counts[order, code]
        total = sizes.sum()
        start = 0
        for left, (part, fraction) in zip(range(len(fractions), 0, -1), fractions, strict=True):
            # At least one group, and one left for each part still to come, if there are enough.
            room = len(order) - start - left
            if room < 1:
                break
            sums = np.cumsum(sizes[start : start + room])
            take = 1 + int(np.argmin(np.abs(sums - fraction * total)))
            parts[order[start : start + take]] = part
            start += take
    return parts


class _Shares:
    """How far parts are from what each should have of each class."""

    def __init__(self, counts: np.ndarray, fractions: Sequence[tuple[int, float]]) -> None:
        self._counts, self._present = counts, counts > 0
        totals, groups = counts.sum(axis=0), self._present.sum(axis=0)
        self._wanted = [
            (part, fraction * totals, np.maximum(1, np.floor(fraction * groups)))
            for part, fraction in fractions
        ]

    def score(self, parts: np.ndarray) -> float:
        """Return the sum of the parts' deviations; infinite where a part lacks a class."""
        if not self._counts[parts == TRAIN].sum(axis=0).all():
            return np.inf
        score = 0.0
        for part, wanted, share in self._wanted:
            members = parts == part
            images = self._counts[members].sum(axis=0)
            if not images.all():
                return np.inf
            off = np.abs(images - wanted)
            score += float(off.sum() / wanted.sum())
            score += float((off / wanted).mean())
            short = np.maximum(0, share - self._present[members].sum(axis=0)) / share
            score += 0.5 * float(short.mean())
        return score
