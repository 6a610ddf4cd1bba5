"""Images with identical pixels, whatever their files, and groups of subjects that are tied."""

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fastleuk.data.manifest import Manifest


@dataclass(frozen=True)
class IdenticalSet:
    """Two or more files with the same pixels."""

    pixels: str
    """Hex digest of them, see :attr:`fastleuk.data.images.decode.Examined.pixels`."""
    indices: tuple[int, ...]
    """Positions in the manifest that was searched, ascending."""
    paths: tuple[str, ...]
    subjects: tuple[str, ...]
    folds: tuple[int, ...]
    labels: tuple[int, ...]
    """-1 = unlabelled."""

    @property
    def conflicting(self) -> bool:
        """True where the same pixels bear two different labels."""
        return len(set(self.labels) - {-1}) > 1

    @property
    def across_folds(self) -> bool:
        """True where copies stand in two official folds."""
        return len(set(self.folds) - {-1}) > 1

    @property
    def surplus(self) -> tuple[int, ...]:
        """Indices of the labelled copies but the first. Unlabelled images are never surplus."""
        return tuple(i for i, c in zip(self.indices, self.labels, strict=True) if c >= 0)[1:]


def find_identical(pixels: Sequence[str], manifest: Manifest) -> tuple[IdenticalSet, ...]:
    """Return the sets of files with one hash, in manifest order; an empty hash matches none."""
    assert len(pixels) == len(manifest), f"{len(pixels)} hashes for {len(manifest)} images"
    by_hash: dict[str, list[int]] = {}
    for i, digest in enumerate(pixels):
        if digest:
            by_hash.setdefault(digest, []).append(i)
    return tuple(
        IdenticalSet(
            pixels=digest,
            indices=tuple(members),
            paths=tuple(manifest.paths[i] for i in members),
            subjects=tuple(manifest.subjects[i] for i in members),
            folds=tuple(int(manifest.folds[i]) for i in members),
            labels=tuple(int(manifest.labels[i]) for i in members),
        )
        for digest, members in by_hash.items()
        if len(members) > 1
    )


def subject_groups(manifest: Manifest, ties: Iterable[Collection[int]]) -> np.ndarray:
    """Number the groups of images that a split keeps together: subjects, and those that are tied.

    Groups are numbered by first appearance. C-NMC spells one subject ``h3``, so there two subjects
    that differ only by case also count as one.

    Args:
        manifest: N images.
        ties: Positions of images in it that are one picture, identical or nearly so.

    Returns:
        int64 ``(N,)``.
    """
    fold_case = manifest.layout == "cnmc"
    keys = [s.casefold() if fold_case else s for s in manifest.subjects]
    people, count = _numbered(keys)
    pairs = [(people[first], people[other]) for first, *others in ties for other in others]
    ends = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(pairs)), tuple(ends)), (count, count))
    _, component = connected_components(graph, directed=False)
    return _numbered(component[people].tolist())[0]


def _numbered(keys: Sequence[Hashable]) -> tuple[np.ndarray, int]:
    """Number equal keys alike, by first appearance; return the numbers and how many there are."""
    number: dict[Hashable, int] = {}
    return np.array([number.setdefault(k, len(number)) for k in keys], dtype=np.int64), len(number)


def tied_subjects(manifest: Manifest, groups: np.ndarray) -> list[tuple[str, ...]]:
    """List the sets of two or more labelled subjects that are one group.

    Args:
        manifest: N images.
        groups: (N,) int64 of :func:`subject_groups`.
    """
    people: dict[int, list[str]] = {}
    for i in manifest.labelled:
        names = people.setdefault(int(groups[i]), [])
        if manifest.subjects[i] not in names:
            names.append(manifest.subjects[i])
    return [tuple(names) for names in people.values() if len(names) > 1]
