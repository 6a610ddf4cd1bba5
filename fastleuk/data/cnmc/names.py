"""C-NMC 2019: its names, its labels table, and the official counts to compare with."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastleuk.csv_files import CsvReader, Row
from fastleuk.data.manifest import Manifest, number_key
from fastleuk.errors import DataError, listed

CLASS_NAMES = ("hem", "ALL")
LABELS_HEADER = ("patient_id", "new_names", "labels")

_NAME = re.compile(r"UID_([^_]+)_(\d+)_(\d+)_(all|hem)\.\w+", re.IGNORECASE)

OFFICIAL_IMAGES: dict[tuple[str, str], int] = {
    ("fold 0", "hem"): 1130,
    ("fold 0", "ALL"): 2397,
    ("fold 1", "hem"): 1163,
    ("fold 1", "ALL"): 2418,
    ("fold 2", "hem"): 1096,
    ("fold 2", "ALL"): 2457,
    ("prelim", "hem"): 648,
    ("prelim", "ALL"): 1219,
    ("final", "unlabelled"): 2586,
}
OFFICIAL_SUBJECTS: dict[tuple[str, str], int] = {
    ("train", "hem"): 26,
    ("train", "ALL"): 47,
    ("prelim", "hem"): 15,
    ("prelim", "ALL"): 13,
}


@dataclass(frozen=True)
class CellName:
    """What ``UID_<subject>_<image>_<cell>_<all|hem>.bmp`` says."""

    subject: str
    image: int
    cell: int
    label: int
    """0 = hem, 1 = ALL."""


def parse_name(name: str) -> CellName | None:
    """Read a file name (no folder); None where it isn't a C-NMC name.

    >>> parse_name("UID_H1_2_3_hem.bmp")
    CellName(subject='H1', image=2, cell=3, label=0)
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    subject, image, cell, label = match.groups()
    return CellName(subject, int(image), int(cell), int(label.lower() == "all"))


@dataclass(frozen=True)
class LabelRow:
    """One row of the preliminary labels CSV."""

    table: str
    """The CSV it stands in."""
    line: int
    original: str
    """``Patient_ID``, e.g. ``UID_57_29_1_all.bmp``."""
    renamed: str
    """``new_names``, e.g. ``1.bmp``."""
    subject: str
    label: int


def read_labels(table: Path) -> tuple[LabelRow, ...] | None:
    """Read a CSV with the header ``Patient_ID,new_names,labels``; None if it is another table.

    Raises:
        DataError: some of the three columns are missing, or rows make no sense (all listed).
    """
    official_name = re.search(r"prelim.*labels", table.name, re.IGNORECASE)
    try:
        reader = CsvReader(table, required=(), known=LABELS_HEADER)
    except DataError:
        if official_name:
            raise
        return None
    header = reader.header
    missing = [name for name in LABELS_HEADER if name not in header]
    if len(missing) == 3 and not official_name:
        return None
    if missing:
        raise DataError(
            f"{table}: missing column(s) {', '.join(missing)}; the first line reads "
            f"{','.join(header)!r}. The C-NMC labels have Patient_ID,new_names,labels."
        )
    last = max(header.index(name) for name in LABELS_HEADER)
    good: list[LabelRow] = []
    bad: list[str] = []
    for found in reader:
        row: LabelRow | str
        if found.count <= last:
            shown = reader.delimiter.join(list(found.cells.values())[: found.count])
            row = f"line {found.line}: {shown!r} has too few columns"
        else:
            row = _label_row(table.name, found)
        if isinstance(row, str):
            bad.append(row)
        else:
            good.append(row)
    if bad:
        raise DataError(f"{table}: rows that can't be used:\n{listed(bad)}")
    return tuple(good)


def _label_row(table: str, found: Row) -> LabelRow | str:
    original, renamed, label = (found.cells[name].strip() for name in LABELS_HEADER)
    label, line = number_key(label) or label, found.line
    parsed = parse_name(original)
    if parsed is None:
        return f"line {line}: Patient_ID {original!r} is not UID_<subject>_<image>_<cell>_<class>"
    if label not in ("0", "1"):
        return f"line {line}: label {label!r} is neither 0 (hem) nor 1 (ALL)"
    if int(label) != parsed.label:
        return f"line {line}: label {label} contradicts the name {original!r} (1 = ALL, 0 = hem)"
    return LabelRow(table, line, original, renamed, parsed.subject, parsed.label)


@dataclass(frozen=True)
class Comparison:
    """One line of the comparison with the official counts."""

    what: str
    found: int
    official: int

    @property
    def verdict(self) -> str:
        """``matches``, or by how many it differs."""
        difference = self.found - self.official
        return "matches" if not difference else f"differs by {difference:+d}"


def compare(manifest: Manifest) -> tuple[Comparison, ...]:
    """Set images and subjects of a C-NMC manifest (before anything is dropped) beside the official.

    One row for each official figure, those of parts that aren't there included.
    """
    rows = []
    for (part, name), official in OFFICIAL_IMAGES.items():
        chosen = _members(manifest, part, name)
        rows.append(Comparison(f"{part} {name} images", len(chosen), official))
    for (part, name), official in OFFICIAL_SUBJECTS.items():
        people = {manifest.subjects[i] for i in _members(manifest, part, name)}
        rows.append(Comparison(f"{part} {name} subjects", len(people), official))
    return tuple(rows)


def _members(manifest: Manifest, part: str, name: str) -> Sequence[int]:
    label = CLASS_NAMES.index(name) if name in CLASS_NAMES else -1
    if part.startswith("fold"):
        mask = manifest.folds == int(part.split()[1])
    else:
        mask = np.array([source == part for source in manifest.sources], dtype=bool)
    return [int(i) for i in np.flatnonzero(mask & (manifest.labels == label))]
