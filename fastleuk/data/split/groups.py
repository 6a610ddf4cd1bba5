"""What drawing parts and drawing folds share: images counted by group and class."""

import numpy as np

_MANY_GROUPS = 2000
_FEW_TRIES, _TRIES = 16, 256


def count_groups(
    labels: np.ndarray, groups: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the (G, C) int64 image counts of each group, and the (N,) row there of each image.

    Args:
        labels: (N,) class codes, no negatives.
        groups: (N,) int64.
        classes: C.
    """
    names, row = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), classes), dtype=np.int64)
    np.add.at(counts, (row, labels), 1)
    return counts, row


def have_one_class(counts: np.ndarray) -> bool:
    """Say whether each group has one class (C-NMC): the classes are then drawn one by one."""
    return bool(np.all((counts > 0).sum(axis=1) == 1))


def main_class(counts: np.ndarray) -> np.ndarray:
    """Return the (G,) class of which each group holds the largest share."""
    return np.argmax(counts / counts.sum(axis=0), axis=1)


def number_of_tries(counts: np.ndarray) -> int:
    """Return how many random orders of the groups are tried: fewer where there are very many."""
    return _TRIES if len(counts) <= _MANY_GROUPS else _FEW_TRIES
