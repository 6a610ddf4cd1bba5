"""Make a manifest of a CSV's rows: any place, no escapes, what can't be used by line."""

import os
import re
from pathlib import Path
from typing import Any

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
from fastleuk.data.manifest_rows import find, read_rows
from fastleuk.errors import DataError, listed

Bad = tuple[tuple[str, str], ...]
_HIGHEST_CROP = 100_000


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
    rows, remarks = read_rows(source)
    base, links = _base(source, rows, root)
    unknown = UNLABELLED if rows[0]["root"] is None else ""
    remedy = f"write {UNLABELLED!r} for such an image" if unknown else "leave the cell empty"
    ownerless = not any(row["subject"] for row in rows)
    good: list[dict[str, Any]] = []
    bad: list[tuple[str, str]] = []
    seen: dict[str, dict[str, Any]] = {}
    contradictions: list[str] = []
    outside = 0
    for row in rows:
        forgotten = not row["label"] and unknown != ""
        row["label"] = "" if row["label"] == unknown else row["label"]
        problem = (
            f"empty label; {remedy}"
            if forgotten and row["path"].strip()
            else _check_row(row, base, ownerless, links, remedy)
        )
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
            f"with --root, or mend the paths:\n{listed(bad_lines(bad))}"
        )
    if outside:
        remarks.append(f"{outside} images are links that lead outside {base}")
    unlabelled = sum(not row["label"] for row in good)
    if unlabelled:
        remarks.append(
            f"{unlabelled} rows of {source.name} have no label: kept, but not trained on"
        )
    return _assemble(good, base, str(source), least_classes), (), tuple(bad), tuple(remarks)


def _base(source: Path, rows: list[dict[str, Any]], root: Path | str | None) -> tuple[Path, bool]:
    """Return the folder of the paths, and whether it was named, so that its links are followed.

    Raises:
        DataError: the column names several, or there is no such folder.
    """
    own = _own_folder(source, rows[0]["path"])
    named = {row["root"] for row in rows} - {None}
    if root is None and not named:
        return own, False
    if root is None and len(named) > 1:
        raise DataError(
            f"{source}: the column root must be the same in every row; it has:\n"
            f"{listed(sorted(map(repr, named)))}"
        )
    given = Path(root).expanduser() if root is not None else own / (named.pop() or ".")
    if not given.is_dir():
        teller = "--root" if root is not None else f"the column root of {source}"
        raise DataError(f"{given}: no such folder, which {teller} names. Give another with --root.")
    return given.resolve(), True


def _own_folder(source: Path, first: str) -> Path:
    """Return the folder of a manifest, or that of a link to it where the images are there."""
    of_link, of_file = source.parent.resolve(), source.resolve().parent
    if of_link != of_file and not os.path.isfile(find(of_file, first)):
        return of_link if os.path.isfile(find(of_link, first)) else of_file
    return of_file


def _contradiction(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Say in which column two rows of one image differ."""
    for name in ("label", "subject", "fold", "source", "crop"):
        if one[name] != other[name]:
            where = " and ".join(f"{row[name]!r} (line {row['line']})" for row in (one, other))
            return [f"{one['path']}: {name} {where}"]
    return []


def _check_row(
    row: dict[str, Any], base: Path, ownerless: bool, links: bool, remedy: str
) -> str | None:
    """Normalise ``row`` in place; return what is wrong with it, or None."""
    if not row["path"].strip():
        return "empty path"
    if row["surplus"]:
        return "more cells than the first line names; put a cell that has a comma into quotes"
    if "\0" in row["path"]:
        return "a NUL character in the path"
    full = find(base, row["path"])
    if not Path(full).is_relative_to(base):
        return f"outside the root {base}; --root names another"
    if not Path(os.path.realpath(full)).is_relative_to(base):
        if not links:
            return f"a link that leads outside the root {base}; --root {base} follows such links"
        row["outside"] = True
    if not os.path.isfile(full):
        return "no such file"
    row["path"] = Path(full).relative_to(base).as_posix()
    if row["label"].casefold() in MISSING:
        return f"label {row['label']!r} says that it isn't known; {remedy}"
    if not row["subject"]:
        if not ownerless and row["label"]:
            return "empty subject (fill in every subject, or none)"
        row["subject"] = row["path"]
    for name, default in (("fold", -1), ("crop", 0)):
        value = row[name] or str(default)
        if not re.fullmatch(r"-1|[0-9]{1,9}" if name == "fold" else r"[0-9]{1,9}", value):
            return f"{name} {value!r} is not a whole number"
        row[name] = int(value)
    if row["crop"] > _HIGHEST_CROP:
        return f"crop {row['crop']}: no image is so large"
    return None


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
