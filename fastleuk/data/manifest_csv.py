"""Make a manifest of a CSV's rows: any place, no escapes, what can't be used by line."""

import os
from pathlib import Path
from typing import Any, cast

import numpy as np

from fastleuk.data.left_out import Ignored, bad_lines
from fastleuk.data.manifest import (
    MISSING,
    UNLABELLED,
    Manifest,
    is_synthetic,
    natural_key,
    order_classes,
)
from fastleuk.data.manifest_rows import (
    ManifestReader,
    crop_of,
    whole_number,
    without_decimals,
)
from fastleuk.errors import DataError, listed

Bad = tuple[tuple[str, str], ...]


def read_manifest(csv_path: Path | str, root: Path | str | None = None) -> Manifest:
    """Read a manifest CSV: columns ``path,label,subject``, and others as below, if any.

    ``fold`` and ``crop`` are numbers, ``source`` a word. Paths are relative to ``root``, else to
    the folder that the column ``root`` names, else to the CSV's own. An unknown label is an empty
    cell where there is a ``root`` column, and else ``unlabelled``, so that no label is forgotten.
    A subject column that is empty in every row makes each image its own subject.

    Raises:
        DataError: with the offending rows: a missing column, a file that is missing, listed
            twice, or outside the root.
    """
    manifest, _, bad, _ = parse_manifest(csv_path, root)
    if bad:
        raise DataError(
            f"{csv_path}: {len(bad)} rows that can't be used:\n{listed(bad_lines(bad))}"
        )
    return manifest


def parse_manifest(
    csv_path: Path | str, root: Path | str | None = None, *, least_classes: int = 2
) -> tuple[Manifest, tuple[Ignored, ...], Bad, tuple[str, ...]]:
    """Read a manifest CSV as :func:`read_manifest` does, but hand back what it would refuse.

    Returns:
        The manifest, nothing ignored, (path, reason) of bad rows, and what a user should know.

    Raises:
        DataError: the file can't be read, a column is missing, or fewer than
            ``least_classes`` are left.
    """
    source = Path(csv_path).expanduser()
    reader = ManifestReader(source, root)
    base = reader.base
    rows = list(reader)
    unknown = "" if reader.has_root else UNLABELLED
    remedy = f"write {UNLABELLED!r} for such an image" if unknown else "leave the cell empty"
    remarks = _remove_decimals([row.cells for row in rows], source, unknown)
    ownerless = not any(row.cells["subject"] for row in rows)
    good: list[dict[str, Any]] = []
    bad: list[tuple[str, str]] = []
    seen: dict[str, dict[str, Any]] = {}
    contradictions: list[str] = []
    outside = 0
    for each in rows:
        problem = reader.problem(each)
        row = cast(dict[str, Any], each.cells)
        row["line"] = each.line
        forgotten = not row["label"] and unknown != ""
        row["label"] = "" if row["label"] == unknown else row["label"]
        if forgotten and row["path"].strip():
            problem = f"empty label; {remedy}"
        problem = problem or _check_row(row, reader, ownerless, remedy) or ""
        if not problem:
            before = seen.setdefault(row["path"], row)
            if before is not row:
                problem = "listed more than once"
                contradictions += _contradiction(before, row)
        if problem:
            shown = row["path"] or "(no path)"
            bad.append((shown, f"{problem} (line {row['line']} of {source.name})"))
        else:
            outside += row.get("outside", False)
            good.append(row)
    if contradictions:
        raise DataError(
            f"{source}: {len(contradictions)} images that are listed again with another label or "
            f"subject. Keep the right row of each:\n{listed(contradictions)}"
        )
    if not good:
        raise DataError(
            f"{source}: no row can be used. Paths are read relative to {base}: name another folder "
            f"with --root, or correct the paths:\n{listed(bad_lines(bad))}"
        )
    remarks += [*reader.remarks(), *reader.unused_columns()]
    if outside:
        remarks.append(f"{outside} images are links that lead outside {base}")
    unlabelled = sum(not row["label"] for row in good)
    if unlabelled:
        remarks.append(
            f"{unlabelled} rows of {source.name} have no label: kept, but not trained on"
        )
    return _assemble(good, base, str(source), least_classes), (), tuple(bad), tuple(remarks)


def _remove_decimals(rows: list[dict[str, str]], source: Path, unknown: str) -> list[str]:
    """Write labels and subjects that are all ``1.0``, ``2.0`` as whole numbers, in place."""
    remarks = []
    for name in ("label", "subject"):
        numbers = without_decimals([row[name] for row in rows if row[name] != unknown])
        for row in rows:
            row[name] = numbers.get(row[name], row[name])
        if numbers:
            old, new = next(iter(numbers.items()))
            remarks.append(f"{source.name}: each {name} is a whole number with decimals: {old} is "
                           f"read as {new}, and so on")  # fmt: skip
    return remarks


def _contradiction(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Say in which column two rows of one image differ."""
    for name in ("label", "subject", "fold", "source", "crop"):
        if one[name] != other[name]:
            where = " and ".join(f"{row[name]!r} (line {row['line']})" for row in (one, other))
            return [f"{one['path']}: {name} {where}"]
    return []


def _check_row(
    row: dict[str, Any], reader: ManifestReader, ownerless: bool, remedy: str
) -> str | None:
    """Normalize ``row`` in place; return what is wrong with it, or None."""
    base = reader.base
    full, problem = reader.files.find(row["path"])
    if not Path(full).is_relative_to(base):
        return f"outside the root {base}; --root names another"
    if not Path(os.path.realpath(full)).is_relative_to(base):
        if not reader.root_is_named:
            return f"a link that leads outside the root {base}; --root {base} follows such links"
        row["outside"] = True
    if problem:
        return problem
    row["path"] = Path(full).relative_to(base).as_posix()
    if row["label"].casefold() in MISSING:
        return f"label {row['label']!r} says that it isn't known; {remedy}"
    if not row["subject"]:
        if not ownerless and row["label"]:
            return "empty subject (fill in every subject, or none)"
        row["subject"] = row["path"]
    fold = whole_number(row["fold"], default=-1)
    if fold is None or fold < -1:
        return f"fold {row['fold']!r} is not a whole number"
    row["fold"] = fold
    row["crop"], problem = crop_of(row["crop"])
    return problem or None


def _assemble(rows: list[dict[str, Any]], base: Path, where: str, least: int) -> Manifest:
    rows = sorted(rows, key=lambda row: natural_key(row["path"]))
    names = order_classes({row["label"] for row in rows} - {""}, where, least)
    code = {name.casefold(): i for i, name in enumerate(names)} | {"": -1}
    return Manifest(
        root=base,
        paths=tuple(row["path"] for row in rows),
        labels=np.array([code[row["label"].casefold()] for row in rows], dtype=np.int64),
        class_names=names,
        subjects=tuple(row["subject"] for row in rows),
        folds=np.array([row["fold"] for row in rows], dtype=np.int64),
        sources=tuple(row["source"] or "csv" for row in rows),
        crops=np.array([row["crop"] for row in rows], dtype=np.int64),
        layout="csv",
        synthetic=is_synthetic(base),
    )
