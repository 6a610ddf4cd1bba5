"""A split as a CSV that is kept with a run, read back only for the same data."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastleuk.csv_files import CsvReader, CsvWriter
from fastleuk.data.copies.identical import subject_groups
from fastleuk.data.manifest import Manifest
from fastleuk.data.split.draw_parts import UNUSED
from fastleuk.data.split.parts import (
    PARTS,
    Split,
    check_split,
    crossing_groups,
    parse_mode,
    split_notes,
)
from fastleuk.errors import ConfigError, DataError, listed

COLUMNS = ("path", "label", "subject", "group", "part", "sha256", "mode", "seed")


def write_split(split: Split, manifest: Manifest, path: Path, sha256: Sequence[str]) -> None:
    """Write one row for each labelled image: ``path,label,subject,group,part,sha256,mode,seed``."""
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        writer = CsvWriter(stream)
        writer.writerow(COLUMNS)
        for i in manifest.labelled:
            who = (manifest.paths[i], manifest.label_name(i), manifest.subjects[i])
            part = PARTS[split.parts[i]]
            writer.writerow((*who, int(split.groups[i]), part, sha256[i], split.mode, split.seed))


def read_split(
    path: Path, manifest: Manifest, groups: np.ndarray, sha256: Sequence[str] | None = None
) -> Split:
    """Read a split back, and check that it is of this data and keeps its promise.

    Args:
        path: the CSV of :func:`write_split`.
        manifest: N images; rows are matched by path.
        groups: (N,) int64, computed from the data as it is now.
        sha256: N hashes of the files as they are now; None leaves contents unchecked.

    Raises:
        DataError: not such a CSV; images that are missing, new, changed, or relabelled (all
            listed); or a subject that crosses the parts.
    """
    rows = read_split_rows(path)
    index = {manifest.paths[i]: int(i) for i in manifest.labelled}
    drawn = groups.copy()  # the groups by which the split was made
    problems = [f"{name}: not in the data any more" for name in rows if name not in index]
    problems += [f"{name}: new, not in the split" for name in index if name not in rows]
    parts = np.full(len(manifest), UNUSED, dtype=np.int8)
    for name, row in rows.items():
        if name in index:
            i = index[name]
            problems += _differences(row, manifest, i, sha256[i] if sha256 else row["sha256"])
            parts[i] = PARTS.index(row["part"])
            drawn[i] = int(row["group"]) if row["group"].isdecimal() else -1 - i
    if problems:
        raise DataError(
            f"{path}: the data in {manifest.root} is not what was split. Restore the data, or "
            f"train anew with a split of its own:\n{listed(problems)}"
        )
    first = next(iter(rows.values()))
    mode, seed = first["mode"], int(first["seed"])
    notes = split_notes(mode, parts, manifest, groups)
    check_split(Split(mode, seed, parts, drawn), manifest, drawn)
    looks = () if mode == "image" else tuple(_tied_since(mode, parts, manifest, groups))
    return Split(mode, seed, parts, groups, (*notes, *looks), looks)


def _tied_since(mode: str, parts: np.ndarray, manifest: Manifest, groups: np.ndarray) -> list[str]:
    """Report subjects in several parts that only near-identical pictures tie.

    A split of an earlier version was drawn before these were compared; its run stays usable.

    Raises:
        DataError: a subject itself is in several parts.
    """
    crossing = crossing_groups(parts, manifest, groups)
    if not crossing:
        return []
    named = subject_groups(manifest, ())
    check_split(Split(mode, 0, parts, named), manifest, named)
    shown = "; ".join(crossing[:3])
    return [
        f"{len(crossing)} group(s) of subjects that near-identical pictures tie are in several "
        f"parts ({shown}{'; …' if len(crossing) > 3 else ''}): this split was made before pictures "
        "were compared, so the figures may be too good. Train again for a split without that."
    ]


def _differences(row: dict[str, str], manifest: Manifest, i: int, digest: str) -> list[str]:
    now = {"label": manifest.label_name(i), "subject": manifest.subjects[i]}
    found = [f"{row['path']}: {name} was {row[name]!r}, is {value!r}"
             for name, value in now.items() if row[name] != value]  # fmt: skip
    if row["sha256"] != digest:
        found.append(f"{row['path']}: the file's content has changed")
    return found


def read_split_rows(path: Path) -> dict[str, dict[str, str]]:
    """Read the rows by path, whether the data are there or not.

    Args:
        path: the CSV of :func:`write_split`.

    Returns:
        by each path, the row's values by :data:`COLUMNS`.

    Raises:
        DataError: the file can't be read as a split.
    """
    if not path.exists():
        raise DataError(
            f"{path} is missing: it says which images a run trains, validates and tests on. Copy "
            "it back from where it was made; a new one would mix them."
        )
    reader = CsvReader(path, required=COLUMNS, columns_hint="It is no split file.")
    rows: dict[str, dict[str, str]] = {}
    problems = []
    for row in reader:
        clean = {name: row.cells[name] for name in COLUMNS}
        if clean["part"] not in PARTS:
            problems.append(f"line {row.line}: part {clean['part']!r}")
        if clean["path"] in rows:
            problems.append(f"line {row.line}: {clean['path']} stands twice")
        rows[clean["path"]] = clean
    kinds = sorted({(row["mode"], row["seed"]) for row in rows.values()})
    if len(kinds) != 1 or not _is_kind(*kinds[0]):
        problems.append(f"(mode, seed) should be one and the same in every row: {kinds[:5]}")
    if problems:
        raise DataError(f"{path}: not a sound split file:\n{listed(problems)}")
    return rows


def _is_kind(mode: str, seed: str) -> bool:
    try:
        parse_mode(mode)
    except ConfigError:
        return False
    return seed.isascii() and seed.isdigit()
