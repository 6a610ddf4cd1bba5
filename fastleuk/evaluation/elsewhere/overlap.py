"""Images of other data that a run has learned from, or was chosen by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastleuk.data.copies.near import SIDE, alike_across, describe_all
from fastleuk.data.dataset import DataSet
from fastleuk.errors import DataError, listed
from fastleuk.evaluation.elsewhere.seen import Seen
from fastleuk.progress import progress_bar

SAME_FILE, SAME_PIXELS, ALIKE = "the same file", "the same pixels", "looks alike"
_KINDS = {
    SAME_FILE: "with the same file", SAME_PIXELS: "with the same pixels", ALIKE: "that look alike",
}  # fmt: skip
_PARTS = {"train": "training", "val": "validation"}


@dataclass(frozen=True, slots=True)
class Match:
    """An image that the run has seen.

    Attributes:
        row: Of the other data's manifest.
        path: Its path.
        seen: Path of the run's image.
        part: ``train`` or ``val``.
        how: :data:`SAME_FILE`, :data:`SAME_PIXELS` or :data:`ALIKE`.
        distance: 1 less the correlation of what looks alike; 0 of the same pixels.
    """

    row: int
    path: str
    seen: str
    part: str
    how: str
    distance: float = 0.0

    def __str__(self) -> str:
        how = f"{self.how} (distance {self.distance:.3f})" if self.how == ALIKE else self.how
        return f"{self.path}: {how}: {_PARTS[self.part]} image {self.seen}"


@dataclass(frozen=True, eq=False, slots=True)
class Overlap:
    """What other data share with a run.

    Attributes:
        matches: At most one of each image, by row.
        images: How many were compared.
        by_looks: Whether pixels were compared, or only the files' hashes.
        tested: How many files are of the run's own test part.
        names: Subjects that the run has seen one of the same name of.
    """

    matches: tuple[Match, ...]
    images: int
    by_looks: bool
    tested: int
    names: tuple[str, ...]

    @property
    def warning(self) -> str:
        """What every table carries; empty where nothing is shared."""
        if not self.matches:
            return ""
        kinds = Counter(match.how for match in self.matches)
        how = ", ".join(f"{kinds[kind]} {words}" for kind, words in _KINDS.items() if kinds[kind])
        return (
            f"WARNING: {len(self.matches)} of {self.images} images are training or validation "
            f"images of this run, or copies of one ({how}): the figures flatter."
        )

    def refusal(self, where: str) -> DataError:
        """Return the error that names the images."""
        return DataError(
            f"{where}: {len(self.matches)} of {self.images} images are training or validation "
            f"images of this run, or look like one:\n{listed([*map(str, self.matches)])}\n"
            "What the run says of them is no test. Take them out of the data, or give "
            "--allow-overlap: they are scored, predictions.csv marks them, and every table says so."
        )

    def notes(self) -> list[str]:
        """Return what else a reader should know."""
        told = []
        if self.tested:
            told.append(f"{self.tested} of {self.images} files are of the run's own test part")
        if self.names:
            some = f"{', '.join(self.names[:5])}{', …' if len(self.names) > 5 else ''}"
            told.append(
                f"{len(self.names)} subjects have the name of one that the run has seen ({some}): "
                "where they are the same people, the figures flatter"
            )
        return told

    def as_json(self) -> dict[str, Any]:
        """Return counts, fit for JSON."""
        return {
            "images": len(self.matches),
            "of": self.images,
            "by_kind": dict(Counter(match.how for match in self.matches)),
            "compared": "pixels and looks" if self.by_looks else "files only",
            "own_test_part": self.tested,
            "subjects_of_the_same_name": len(self.names),
        }


def find_overlap(dataset: DataSet, rows: np.ndarray, seen: Seen, *, workers: int) -> Overlap:
    """Compare other data with what a run has seen.

    By the files' hashes; where the run's images are known by their looks, by pixels and by
    :func:`fastleuk.data.copies.near.alike_across`, too.

    Args:
        dataset: The other data.
        rows: int64 ``(N,)``, the rows that are scored.
        seen: By the run.
        workers: Threads that read images.
    """
    manifest, matches = dataset.manifest, dict[int, Match]()

    def add(row: int, place: int, how: str, distance: float = 0.0) -> None:
        matches[row] = Match(
            row, manifest.paths[row], seen.paths[place], seen.parts[place], how, distance
        )

    _same(rows, dataset.sha256, seen.sha256, SAME_FILE, matches, add)
    if seen.looks is not None:
        _same(rows, dataset.pixels, seen.looks.pixels, SAME_PIXELS, matches, add)
        rest = np.array([row for row in rows.tolist() if row not in matches], dtype=np.int64)
        with progress_bar("comparing with training images") as progress:
            pixels = [dataset.pixels[row] for row in rest]
            described = describe_all(manifest.take(rest), pixels, workers, progress)
        pairs = alike_across(
            described.reshape(-1, SIDE, SIDE), seen.looks.described.reshape(-1, SIDE, SIDE)
        )
        for pair in sorted(pairs, key=lambda pair: pair.correlation):  # the nearest stays
            add(int(rest[pair.first]), pair.second, ALIKE, 1 - pair.correlation)
    return Overlap(
        tuple(matches[row] for row in sorted(matches)),
        len(rows),
        seen.looks is not None,
        sum(dataset.sha256[row] in seen.tested for row in rows),
        _same_names(dataset, rows, seen),
    )


def _same(
    rows: np.ndarray,
    theirs: Sequence[str],
    own: Sequence[str],
    how: str,
    matches: dict[int, Match],
    add: Any,
) -> None:
    places = {digest: place for place, digest in enumerate(own) if digest}
    for row in rows.tolist():
        if row not in matches and theirs[row] in places:
            add(row, places[theirs[row]], how)


def _same_names(dataset: DataSet, rows: np.ndarray, seen: Seen) -> tuple[str, ...]:
    manifest = dataset.manifest
    theirs = {manifest.subjects[row] for row in rows if manifest.subjects[row] !=
              manifest.paths[row]}  # fmt: skip
    own = {who for who, path in zip(seen.subjects, seen.paths, strict=True) if who != path}
    return tuple(sorted(theirs & own))
