"""Find images of other data that a run has learned from, or was chosen by."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from fastleuk.data.copies.near import SIDE, SMALL_CELL, alike_across
from fastleuk.data.dataset import DataSet
from fastleuk.errors import DataError, listed
from fastleuk.evaluation.elsewhere.seen import Seen

SAME_FILE, SAME_PIXELS, ALIKE = "the same file", "the same pixels", "looks alike"
RECORDED, NAMED = "recorded by the weights", "has its name"
_KINDS = {
    SAME_FILE: "with the same file", SAME_PIXELS: "with the same pixels", ALIKE: "that look alike",
    RECORDED: "that the weights record", NAMED: "with its name",
}  # fmt: skip
_PARTS = {"train": "training", "val": "validation"}


@dataclass(frozen=True, slots=True)
class Match:
    """An image that the run has seen.

    Attributes:
        row: Of the other data's manifest.
        path: Its path.
        seen: Path of the run's image; empty where only its hash is known.
        part: ``train`` or ``val``; empty likewise.
        how: :data:`SAME_FILE`, :data:`SAME_PIXELS`, :data:`ALIKE`, :data:`RECORDED` (by the hash of
            its pixels, also by the starting weights) or :data:`NAMED`.
        distance: 1 less the correlation of what looks alike; 0 of the same pixels.
    """

    row: int
    path: str
    seen: str
    part: str
    how: str
    distance: float = 0.0

    def __str__(self) -> str:
        if self.how == RECORDED:
            return f"{self.path}: its pixels were trained on, maybe by the starting weights"
        how = f"{self.how} (distance {self.distance:.3f})" if self.how == ALIKE else self.how
        return f"{self.path}: {how}: {_PARTS[self.part]} image {self.seen}"

    def as_json(self) -> dict[str, Any]:
        """Convert to a document fit for JSON."""
        found = {"path": self.path, "seen": self.seen, "part": self.part, "how": self.how}
        return {**found, "distance": round(self.distance, 4)} if self.how == ALIKE else found


@dataclass(frozen=True, eq=False, slots=True)
class Overlap:
    """Images that other data share with a run.

    Attributes:
        matches: At most one of each image, by row.
        images: How many were compared.
        by_looks: True where pixels were compared, False where only files, hashes and names were.
        tested: How many files are of the run's own test part.
        names: Subjects that the run has seen one of the same name of.
        cell_side: Median diameter of the cells in pixels; NaN where it is not known.
        skipped: The matches are left out of the figures.
    """

    matches: tuple[Match, ...]
    images: int
    by_looks: bool
    tested: int
    names: tuple[str, ...]
    cell_side: float = float("nan")
    skipped: bool = False

    @property
    def scored(self) -> tuple[Match, ...]:
        """The matches among the images that are scored."""
        return () if self.skipped else self.matches

    @property
    def _kinds(self) -> str:
        kinds = Counter(match.how for match in self.matches)
        return ", ".join(f"{kinds[kind]} {words}" for kind, words in _KINDS.items() if kinds[kind])

    @property
    def warning(self) -> str:
        """The line under every table; empty where nothing that is scored is shared."""
        if not self.scored:
            return ""
        return (
            f"WARNING: {len(self.matches)} of {self.images} images are training or validation "
            f"images of this run, or copies of one ({self._kinds}): the figures flatter."
        )

    def refusal(self, where: str) -> DataError:
        """Build the error that names the images."""
        named = ""
        if any(match.how == NAMED for match in self.matches):
            named = (
                "An image with the name of a training image counts as an altered copy of it. Where "
                "the same names are a coincidence, --allow-overlap is right. "
            )
        return DataError(
            f"{where}: {len(self.matches)} of {self.images} images are training or validation "
            f"images of this run, or look like one ({self._kinds}):\n"
            f"{listed([*map(str, self.matches)])}\n"
            f"What the run says of them is no test. {named}Take them out of the data; or give "
            "--skip-overlap: the other images are scored, and what is left out is listed; or give "
            "--allow-overlap: they are scored, predictions.csv marks them, and every table says so."
        )

    def skip(self, rows: np.ndarray, where: str) -> tuple[np.ndarray, Overlap]:
        """Leave the matches out.

        Args:
            rows: int64 ``(N,)``, the rows that were compared.
            where: The data, for the error.

        Returns:
            The rows that are left, and what to report of the others.

        Raises:
            DataError: none is left.
        """
        left = rows[~np.isin(rows, [match.row for match in self.matches])]
        if not len(left):
            raise DataError(
                f"{where}: each of the {self.images} images is a training or validation image of "
                "this run, or looks like one. Give other data."
            )
        return left, dataclasses.replace(self, skipped=True)

    def skipped_lines(self) -> list[str]:
        """List the images that are left out."""
        if not self.skipped or not self.matches:
            return []
        return [
            f"{len(self.matches)} of {self.images} images are left out (--skip-overlap): training "
            f"or validation images of this run, or copies of one ({self._kinds}):\n"
            f"{listed([*map(str, self.matches)], 1000)}"
        ]

    def notes(self) -> list[str]:
        """List what else a reader should know."""
        told = []
        if self.skipped and self.matches:
            told.append(
                f"{len(self.matches)} of {self.images} images are left out: they are training "
                f"or validation images of this run, or copies of one ({self._kinds})"
            )
        if self.by_looks and self.cell_side < SMALL_CELL:
            told.append(
                f"the cells are about {self.cell_side:.0f} pixels across, fewer than {SMALL_CELL}: "
                "of so small cells copies that were cut or shifted are not found by their looks, "
                "and only a part of those saved with losses or at half the size. That no copy was "
                "found does not show that there is none"
            )
        if self.tested:
            told.append(f"{self.tested} of {self.images} files are of the run's own test part")
        if self.names:
            one = len(self.names) == 1
            some = f"{', '.join(self.names[:5])}{', …' if len(self.names) > 5 else ''}"
            told.append(
                f"{len(self.names)} subject{'' if one else 's'} {'has' if one else 'have'} the "
                f"name of one that the run has seen ({some}): where they are the same people, the "
                "figures flatter"
            )
        return told

    def as_json(self) -> dict[str, Any]:
        """Convert to counts, and the images that were left out, fit for JSON."""
        return {
            "images": len(self.scored),
            "of": self.images,
            "by_kind": dict(Counter(match.how for match in self.matches)),
            "compared": "pixels, looks and names" if self.by_looks else "files and names only",
            "cell_side": round(self.cell_side, 1) if np.isfinite(self.cell_side) else None,
            "own_test_part": self.tested,
            "subjects_of_the_same_name": len(self.names),
            "skipped": [match.as_json() for match in self.matches] if self.skipped else [],
        }


def find_overlap(dataset: DataSet, rows: np.ndarray, seen: Seen) -> Overlap:
    """Compare other data with the images that a run has seen.

    By the files' hashes, the pixels that the weights record, and the names; where the run's images
    are known by their looks, by :func:`fastleuk.data.copies.near.alike_across`, too.

    Args:
        dataset: The other data.
        rows: int64 ``(N,)``, the rows that are scored.
        seen: By the run.
    """
    manifest, matches = dataset.manifest, dict[int, Match]()

    def add(row: int, place: int, how: str, distance: float = 0.0) -> None:
        matches[row] = Match(
            row, manifest.paths[row], seen.paths[place], seen.parts[place], how, distance
        )

    def rest() -> np.ndarray:
        return np.array([row for row in rows.tolist() if row not in matches], dtype=np.int64)

    _same(rows, dataset.sha256, seen.sha256, SAME_FILE, matches, add)
    if seen.looks is not None:
        assert dataset.described is not None
        _same(rows, dataset.pixels, seen.looks.pixels, SAME_PIXELS, matches, add)
        left = rest()
        pairs = alike_across(
            dataset.described[left].reshape(-1, SIDE, SIDE),
            seen.looks.described.reshape(-1, SIDE, SIDE),
        )
        for pair in sorted(pairs, key=lambda pair: pair.correlation):  # the nearest stays
            add(int(left[pair.first]), pair.second, ALIKE, 1 - pair.correlation)
    left = rest()
    for row in left[seen.by_weights.contain(dataset.pixels[row] for row in left)].tolist():
        matches[row] = Match(row, manifest.paths[row], "", "", RECORDED)
    if not (manifest.synthetic and seen.synthetic):
        known = distinctive_stems(seen.paths)
        for row in rest().tolist():
            place = next((known[s] for s in spans(manifest.paths[row]) if s in known), None)
            if place is not None:
                add(row, place, NAMED)
    sides = [seen.cell_side, float(np.median(dataset.sizes[rows].min(axis=1)))]
    return Overlap(
        tuple(matches[row] for row in sorted(matches)),
        len(rows),
        seen.looks is not None,
        sum(dataset.sha256[row] in seen.tested for row in rows),
        _same_names(dataset, rows, seen),
        min(sides) if np.isfinite(sides[0]) else float("nan"),
    )


def distinctive_stems(paths: Sequence[str]) -> dict[str, int]:
    """Map the file stems that no other data have by chance to their places.

    A stem counts if it is at least eight characters long, has three numbers or six digits, and
    belongs to one path only: ``UID_25_1_1_all`` and ``MY_968942`` do, ``img_1`` and ``cell_0042``
    don't.

    >>> distinctive_stems(["all/UID_25_1_1_all.bmp", "all/img_1.bmp", "hem/0001.bmp"])
    {'uid_25_1_1_all': 0}
    """
    stems = ["_".join(_words(path)) for path in paths]
    counts = Counter(stems)
    return {
        stem: place
        for place, stem in enumerate(stems)
        if counts[stem] == 1
        and len(stem) >= 8
        and (len(re.findall(r"[0-9]+", stem)) >= 3 or len(re.findall(r"[0-9]", stem)) >= 6)
    }


def spans(path: str) -> Iterator[str]:
    """Yield the whole stem of a file name, then its runs of whole words, the longest first.

    >>> list(spans("x/aug_UID-25.png"))
    ['aug_uid_25', 'aug_uid', 'uid_25', 'aug', 'uid', '25']
    """
    words = _words(path)[:24]
    for length in range(len(words), 0, -1):
        for start in range(len(words) - length + 1):
            yield "_".join(words[start : start + length])


def _words(path: str) -> list[str]:
    name = PurePosixPath(path).name
    stem = name.rpartition(".")[0] or name
    return re.findall(r"[^\W_]+", stem.casefold())


def _same(
    rows: np.ndarray,
    theirs: Sequence[str],
    own: Sequence[str],
    how: str,
    matches: dict[int, Match],
    add: Callable[[int, int, str], None],
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
