"""Which cells are shown: those that were named, and the most confident hits and misses."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from fastleuk.data.manifest import Manifest
from fastleuk.errors import DataError, listed


@dataclass(frozen=True, eq=False, slots=True)
class Group:
    """Cells that are shown together.

    Attributes:
        name: Such as ``ALL-hits``, fit for a file.
        title: For people.
        label: The true class; None where it is mixed or unknown.
        hit: Whether they were recognised; None where it is mixed.
        rows: Rows of the manifest, the most confident first.
        total: How many there are of the kind.
    """

    name: str
    title: str
    label: int | None
    hit: bool | None
    rows: tuple[int, ...]
    total: int


def hits_and_misses(
    rows: np.ndarray,
    labels: np.ndarray,
    predicted: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    *,
    each: int,
) -> list[Group]:
    """Group the cells of each class into hits and misses, the most confident first.

    Args:
        rows: int64 ``(N,)``, rows of the manifest.
        labels: int64 ``(N,)``, the true classes; -1 is unknown and in no group.
        predicted: int64 ``(N,)``.
        probabilities: float ``(N, C)``; the predicted class's is the confidence.
        class_names: C names.
        each: Cells of a group, at most.
    """
    confidence = probabilities[np.arange(len(rows)), predicted]
    plain = [_plain(name) for name in class_names]
    if len({name.casefold() for name in plain}) < len(plain):  # files of their own all the same
        plain = [f"{code}-{name}" for code, name in enumerate(plain)]
    groups = []
    for label, name in enumerate(class_names):
        for hit in (True, False):
            mine = np.flatnonzero((labels == label) & ((predicted == label) == hit))
            # Stable, so that equal ones come in the manifest's order.
            best = mine[np.argsort(-confidence[mine], kind="stable")][:each]
            what = "hits" if hit else "misses"
            groups.append(
                Group(
                    f"{plain[label]}-{what}",
                    f"{name}, {'recognised' if hit else 'missed'}",
                    label,
                    hit,
                    tuple(int(row) for row in rows[best]),
                    len(mine),
                )
            )
    return groups


def named_cells(names: Sequence[str], manifest: Manifest, rows: np.ndarray) -> list[int]:
    """Return the rows of cells by file name, or as much of the path as makes it one cell's.

    Args:
        names: Such as ``UID_1_2_3_all.bmp`` or ``fold_0/all/UID_1_2_3_all.bmp``.
        manifest: The images.
        rows: int64, among which they must be.

    Raises:
        DataError: a name that no cell, or several, have.
    """
    found, problems = [], []
    ends = [PurePosixPath(manifest.paths[row]).parts for row in rows]
    for name in names:
        wanted = PurePosixPath(name).parts
        hits = [row for row, end in zip(rows, ends, strict=True) if end[-len(wanted) :] == wanted]
        if len(hits) == 1:
            found.append(int(hits[0]))
        elif hits:
            several = ", ".join(manifest.paths[row] for row in hits[:3])
            problems.append(f"{name}: {len(hits)} cells end so, give more of the path: {several}")
        else:
            near = difflib.get_close_matches(wanted[-1], {end[-1] for end in ends}, n=2)
            hint = f"; near it: {', '.join(near)}" if near else ""
            problems.append(f"{name}: not among these {len(rows)} cells{hint}")
    if problems:
        raise DataError(f"--cell names what can't be shown:\n{listed(problems)}")
    return list(dict.fromkeys(found))


def measured_rows(rows: np.ndarray, shown: Sequence[int], *, count: int, seed: int) -> list[int]:
    """Return the cells that are measured: those shown, and others drawn until there are ``count``.

    Args:
        rows: int64, all of the part.
        shown: Some of them.
        count: How many at least, if there are as many.
        seed: Of the draw.
    """
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, 4], dtype=np.uint64)))
    others = rng.permutation(rows[~np.isin(rows, shown)])
    return [*shown, *(int(row) for row in others[: max(0, count - len(shown))])]


def drawn_rows(rows: np.ndarray, *, count: int, seed: int) -> list[int]:
    """Draw ``count`` cells of all, whatever was predicted: a fair sample for figures."""
    return measured_rows(rows, (), count=count, seed=seed)


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name) or "class"
