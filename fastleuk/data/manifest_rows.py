"""Read a manifest CSV's rows and paths: any encoding, sign and line end of a spreadsheet."""

import csv
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastleuk.data.folders.parts import part_of
from fastleuk.data.manifest import COLUMNS, REQUIRED_COLUMNS
from fastleuk.errors import DataError

_FEW = 12
"""So many values of a column that isn't used are looked at."""


def _read_text(source: Path) -> str:
    """Decode the file; line ends stay as they are, and bytes that aren't UTF-8 become surrogates.

    Raises:
        DataError: UTF-16 without a mark that says so.
        OSError: the file can't be read.
    """
    data = source.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError as error:
            raise DataError(f"{source}: damaged UTF-16 ({error}). Save it as UTF-8.") from error
    if b"\0" in data[:4096]:
        raise DataError(f"{source}: not UTF-8, but maybe UTF-16. Save it as CSV in UTF-8.")
    return data.decode("utf-8-sig", "surrogateescape")


def _delimiter(header: str) -> str:
    """Spreadsheets write ``;`` or tabs where the comma is a decimal sign."""
    for sign in (",", ";", "\t"):
        cells = {cell.strip().strip('"').casefold() for cell in header.split(sign)}
        if cells.issuperset(REQUIRED_COLUMNS):
            return sign
    return ","


def read_rows(source: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Read a CSV's rows as they stand: cells stripped but paths, columns by their names.

    Returns:
        For each row a value for each of :data:`COLUMNS`, ``line`` (its number in the file), and
        ``surplus`` (cells beyond the header's); and what a user should know.

    Raises:
        DataError: no such file, not a CSV, no row, a column that is missing or stands twice.
    """
    if not source.is_file():
        raise DataError(f"{source}: no such manifest file.")
    rows: list[dict[str, Any]] = []
    unused: dict[str, set[str]] = {}
    try:
        text = _read_text(source)
        first = re.split("[\r\n]", text, maxsplit=1)[0]
        stream = io.StringIO(text, newline="")
        reader = csv.reader(stream, strict=True, delimiter=_delimiter(first))
        header = _header(source, first, next(reader, []))
        unused = {name: set() for name in header if name not in COLUMNS}
        for cells in reader:
            if any(cells):
                row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
                row["root"] = "" if "root" in header else None
                row.update(zip(header, cells, strict=False))
                for name, values in unused.items():
                    if len(values) <= _FEW:
                        values.add(str(row.get(name, "")).strip())
                    row.pop(name, None)
                surplus = any(cell.strip() for cell in cells[len(header) :])
                rows.append({**row, "line": reader.line_num, "surplus": surplus})
    except (OSError, csv.Error) as error:
        raise DataError(f"{source}: can't be read as a CSV: {error}") from error
    if not rows:
        raise DataError(f"{source}: has a header but no row.")
    return rows, [*_strip_and_recode(rows, source), *_unused(source, unused)]


def _header(source: Path, first: str, cells: Sequence[str]) -> list[str]:
    """Return the columns' names, the known ones in lower case."""
    stripped = [cell.strip() for cell in cells]
    header = [name.casefold() if name.casefold() in COLUMNS else name for name in stripped]
    missing = [name for name in REQUIRED_COLUMNS if name not in header]
    if missing:
        reads = f"the first line reads {first[:200]!r}" if first else "the first line is empty"
        raise DataError(
            f"{source}: missing column(s) {', '.join(missing)}; {reads}. A manifest has the "
            "columns path,label,subject and, if wanted, fold,source,crop,root."
        )
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise DataError(
            f"{source}: column(s) that stand more than once: {', '.join(twice)}. Rename or remove "
            "all but one."
        )
    return header


def _unused(source: Path, unused: dict[str, set[str]]) -> list[str]:
    """Say which columns are not read, and what to do if one tells the parts of a split."""
    told = [name for name in unused if name]
    if not told:
        return []
    columns = "column" if len(told) == 1 else "columns"
    names = ", ".join(repr(name) for name in told[:10]) + (", …" if len(told) > 10 else "")
    remark = f"{source.name}: {columns} not used: {names}"
    for name in told:
        values = unused[name] - {""}
        parts = {part[0] for part in map(part_of, values) if part}
        if len(values) <= _FEW and len(parts) > 1:
            shown = ", ".join(sorted(values))
            remark += (
                f". If {name!r} ({shown}) is a split to be kept, name the column 'source' and "
                "give --split folders"
            )
            break
    return [remark]


def _strip_and_recode(rows: list[dict[str, Any]], source: Path) -> list[str]:
    """Strip cells but paths, and read those that aren't UTF-8 as Windows-1252, in place."""
    odd = 0
    for row in rows:
        for name in (*REQUIRED_COLUMNS[1:], *COLUMNS[3:]):
            value = row[name]
            if value is None:
                continue
            if not value.isascii() and _has_surrogates(value):
                value = _windows_text(value)
                odd += 1
            row[name] = value.strip()
    if not odd:
        return []
    return [f"{source.name} is not UTF-8: {odd} cells are read as Windows-1252"]


def _has_surrogates(text: str) -> bool:
    return any("\udc80" <= c <= "\udcff" for c in text)


def _windows_text(text: str) -> str:
    data = text.encode("utf-8", "surrogateescape")
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def find(base: Path, path: str) -> str:
    r"""Return the full path of what a cell names: as it stands, stripped, or as Windows wrote it.

    Windows separates folders by ``\``, and spreadsheets there don't write UTF-8.
    """
    exact = os.path.normpath(base / path)
    if os.path.isfile(exact):
        return exact
    names = [path.strip()]
    if not path.isascii() and _has_surrogates(path):
        names.append(_windows_text(path.strip()))
    names += [name.replace("\\", "/") for name in names if "\\" in name]
    for name in names:
        other = os.path.normpath(base / name)
        if os.path.isfile(other):
            return other
    return exact
