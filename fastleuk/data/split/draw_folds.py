"""Deal groups of images out to K folds: class by class as even as the groups allow."""

import numpy as np

from fastleuk.data.split.groups import (
    count_groups,
    have_one_class,
    main_class,
    number_of_tries,
)
from fastleuk.errors import ConfigError, listed


def draw_folds(
    labels: np.ndarray,
    groups: np.ndarray,
    class_names: tuple[str, ...],
    folds: int,
    seed: int,
) -> np.ndarray:
    """Return the (N,) int64 fold of each image, 0 to ``folds - 1``; no group stands in two.

    Groups are dealt in rounds: each round gives every fold one group, the largest to the fold
    that has the fewest images so far. So folds differ by at most one group a class, and by at
    most the largest group's images, where each group has one class. Of many random orders the
    most even one counts.

    Args:
        labels: (N,) class codes, no negatives.
        groups: (N,) int64.
        class_names: by code.
        folds: K, at least 2.
        seed: of the draw.

    Raises:
        ConfigError: a class has too few groups for K folds whose other folds can still be
            divided into a train and a val part, or no order gives every fold every class.
    """
    counts, row = count_groups(labels, groups, len(class_names))
    _check_enough(counts, class_names, folds)
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, 3], dtype=np.uint64)))
    owner = main_class(counts)
    chosen = np.zeros(len(counts), dtype=np.int64)
    if have_one_class(counts):
        for code in range(len(class_names)):
            members = np.flatnonzero(owner == code)
            chosen[members] = _search(counts[members][:, [code]], owner[members] * 0, folds, rng)
    else:
        chosen = _search(counts, owner, folds, rng)
    return chosen[row]


def _check_enough(counts: np.ndarray, class_names: tuple[str, ...], folds: int) -> None:
    have = (counts > 0).sum(axis=0)
    # The other folds must hold two groups: one to train on, one to validate on.
    short = (have < folds) | (have - -(-have // folds) < 2)
    if short.any():
        poor = [f"{class_names[c]}: {have[c]} subject group(s)" for c in np.flatnonzero(short)]
        most = int(have.min())
        remedy = "add subjects"
        if most >= 3:
            remedy = f"choose {most} folds{' or fewer' if folds > most else ''}, or {remedy}"
        raise ConfigError(
            f"{folds} folds drawn by subject need at least {max(folds, 3 if folds > 2 else 4)} "
            "subjects of each class (subjects tied by identical files count as one), but there "
            f"are fewer. Ways on: {remedy}:\n{listed(poor)}"
        )


def _search(
    counts: np.ndarray, owner: np.ndarray, folds: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the (G,) fold of each group, from its (G, C) image counts."""
    wanted = counts.sum(axis=0) / folds
    best, best_score = None, np.inf
    for _ in range(number_of_tries(counts)):
        dealt = _deal(counts, owner, folds, rng)
        images = np.zeros((folds, counts.shape[1]), dtype=np.int64)
        np.add.at(images, dealt, counts)
        if np.any(images == 0):
            continue
        score = float((np.abs(images - wanted) / wanted).sum())
        if score < best_score:
            best, best_score = dealt, score
        if score == 0:
            break
    if best is None:
        raise ConfigError(
            f"No way was found to give each of {folds} folds every class without sharing a "
            "subject: the subjects are too few or too uneven. Choose fewer folds."
        )
    return best


def _deal(
    counts: np.ndarray, owner: np.ndarray, folds: int, rng: np.random.Generator
) -> np.ndarray:
    dealt = np.zeros(len(counts), dtype=np.int64)
    for code in np.unique(owner):
        sizes = counts[:, code]
        order = rng.permutation(np.flatnonzero(owner == code))
        load = np.zeros(folds, dtype=np.int64)
        for start in range(0, len(order), folds):
            hand = order[start : start + folds]
            hand = hand[np.argsort(-sizes[hand], kind="stable")]
            # Equal loads are told apart at random, so that no fold is favoured.
            takers = np.lexsort((rng.permutation(folds), load))[: len(hand)]
            dealt[hand] = takers
            load[takers] += sizes[hand]
    return dealt
