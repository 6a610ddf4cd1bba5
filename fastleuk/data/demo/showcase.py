"""Choose images that show what a data set looks like."""

from __future__ import annotations

import numpy as np

from fastleuk.data.manifest import Manifest


def showcase(manifest: Manifest, count: int, *, seed: int = 0) -> list[int]:
    """Return rows of labelled images: as many of each class, from as many subjects as can be.

    Args:
        manifest: The images.
        count: How many, at most; rounded down to a multiple of the number of classes.
        seed: Another seed, other images.
    """
    rng = np.random.default_rng(seed)
    each = max(1, count // len(manifest.class_names))
    chosen: list[int] = []
    for label in range(len(manifest.class_names)):
        rows = rng.permutation(np.flatnonzero(manifest.labels == label))
        seen: dict[str, int] = {}
        turns = []
        for row in rows:
            subject = manifest.subjects[row]
            seen[subject] = seen.get(subject, 0) + 1
            turns.append(seen[subject])
        chosen += [int(row) for row in rows[np.argsort(turns, kind="stable")][:each]]
    return chosen
