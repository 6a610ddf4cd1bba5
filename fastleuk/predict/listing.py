"""List the images of a manifest for prediction; labels and subjects need not be there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fastleuk.data.manifest_rows import ManifestReader, crop_of
from fastleuk.errors import DataError, listed


def listed_images(
    source: Path, root: str | None = None, remarks: list[str] | None = None
) -> Iterator[tuple[str, int, str]]:
    """Yield (path, crop, problem) of every row of a table with a column ``path``, row by row.

    It is read as :func:`fastleuk.data.manifest_csv.read_manifest` reads it, but paths may lead out
    of the root: nothing is copied or trained on. The problem is empty, or tells why the row can't
    be predicted.

    Args:
        source: The table.
        root: Folder of the paths; else a column ``root``, else the table's own folder.
        remarks: At the end, takes sentences on what was guessed or replaced.

    Raises:
        DataError: the table can't be read, has no column ``path``, or no row can be used.
    """
    reader = ManifestReader(source, root, required=("path",), absolute=False)
    usable = 0
    problems: list[str] = []
    for row in reader:
        name, cell, where = "", row.cells["path"], f"(line {row.line} of {source.name})"
        crop, problem = crop_of(row.cells["crop"])
        problem = reader.problem(row) or problem
        if cell.strip() and "\0" not in cell:
            name, missing = reader.files.find(cell, anywhere=True)
            problem = problem or missing
        usable += not problem
        if problem and not usable and len(problems) <= 20:
            problems.append(f"{cell or '(no path)'}: {problem} {where}")
        yield name, crop, problem and f"{problem} {where}"
    if not usable:
        raise DataError(
            f"{source}: no row can be used. Paths are read relative to {reader.base.resolve()}: "
            f"name another folder with --root, or correct the paths:\n{listed(problems)}"
        )
    if remarks is not None:
        remarks += reader.remarks()
