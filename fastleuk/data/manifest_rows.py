"""Read a manifest's rows and find the files that they name: the one reader for every command."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from fastleuk.csv_files import CsvReader, Row, escape_cell, has_surrogates, windows_text
from fastleuk.data.folders.parts import part_of
from fastleuk.data.manifest import COLUMNS, MISSING, REQUIRED_COLUMNS
from fastleuk.data.tree import is_image_name
from fastleuk.errors import DataError, listed

_EMPTY = dict.fromkeys(COLUMNS, "")
_FEW = 12
"""Values of an unused column that are looked at."""
_FOLDERS = 64
"""Folders whose names are held at once."""
_HIGHEST_CROP = 100_000
_ONE_ENDING = {
    **dict.fromkeys((".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".pjpeg", ".pjp"), ".jpg"),
    ".tiff": ".tif",
}
"""Endings of one format."""


class ManifestReader:
    """Read a manifest row by row, by any command.

    Args:
        source: The table.
        root: Folder of the paths; else a column ``root``, else the table's own folder.
        required: Columns that must be there.
        absolute: Make the folder of the paths absolute, and follow links in it.

    Raises:
        DataError: no such file, not a table, no row, a column that is missing or there twice, or a
            root that is no folder.
    """

    def __init__(
        self,
        source: Path,
        root: Path | str | None = None,
        *,
        required: Sequence[str] = REQUIRED_COLUMNS,
        absolute: bool = True,
    ) -> None:
        self.source = source
        if not source.is_file():
            raise DataError(f"{source}: no such manifest file. Check the path.")
        optional = ",".join(name for name in COLUMNS if name not in required)
        self._table = CsvReader(
            source,
            required=required,
            known=COLUMNS,
            columns_hint=f"A manifest has the columns {','.join(required)} and, if wanted, "
            f"{optional}.",
        )
        self.has_root = "root" in self._table.header
        others = [name for name in self._table.header if name and name not in COLUMNS]
        self._columns = [name for name in COLUMNS if name in self._table.header]
        self._unused: dict[str, set[str]] = {name: set() for name in others}
        self._recoded = 0
        self._rows = iter(self._table)
        self._first = next(self._rows, None)
        if self._first is None:
            raise DataError(f"{source}: has a header but no row.")
        has_named = self.has_root and root is None
        self._named = _text(self._first.cells["root"])[0] if has_named else None
        base, self.root_is_named = _base(source, self._first.cells["path"], self._named, root)
        self.base = base.resolve() if absolute else base
        self.files = FileFinder(self.base)

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows: a value for each of the columns, stripped but for the path.

        Raises:
            DataError: a damaged row, or another root than in the first row.
        """
        while (row := self._first) is not None:
            cells = {**_EMPTY, **{n: row.cells[n] for n in self._columns}}
            for name, values in self._unused.items():
                if len(values) <= _FEW:
                    values.add(_text(row.cells[name])[0])
            for name in self._columns:
                if name != "path":
                    cells[name], recoded = _text(cells[name])
                    self._recoded += recoded
            if self._named is not None and cells["root"] != self._named:
                raise DataError(
                    f"{self.source}: the column root must be the same in every row; it has:\n"
                    f"{listed(sorted(map(repr, (self._named, cells['root']))))}"
                )
            yield Row(row.line, cells, row.count, row.surplus)
            self._first = next(self._rows, None)

    def problem(self, row: Row) -> str:
        """Return a fault of a row that every command refuses, or an empty text."""
        if not row.cells["path"].strip():
            return "empty path"
        if row.surplus:
            return "more cells than the first line names; put a cell that has a comma into quotes"
        if any("\0" in text for text in row.cells.values()):
            return "a NUL character in a cell; the table is damaged"
        return ""

    def remarks(self) -> list[str]:
        """Return sentences on what was guessed or replaced in the rows up to now."""
        remarks = []
        recoded = self._recoded + self.files.recoded
        if recoded:
            remarks.append(
                f"{self.source.name} is not UTF-8: {recoded} cells are read as Windows-1252"
            )
        if self.files.respelled:
            (cell, found), count = self.files.example, self.files.respelled
            remarks.append(
                f"{self.source.name}: {count} paths differ from the file's name by case, encoding, "
                f"Unicode form or ending, such as {cell!r} for {found!r}: the one such file is used"
            )
        return remarks

    def unused_columns(self) -> list[str]:
        """Return a sentence on columns that are not read, and on one that looks like a split."""
        unused = list(self._unused)
        if not unused:
            return []
        columns = "column" if len(unused) == 1 else "columns"
        names = ", ".join(repr(name) for name in unused[:10]) + (", …" if len(unused) > 10 else "")
        remark = f"{self.source.name}: {columns} not used: {names}"
        for name in unused:
            values = self._unused[name] - {""}
            parts = {part[0] for part in map(part_of, values) if part}
            if len(values) <= _FEW and len(parts) > 1:
                shown = ", ".join(sorted(values))
                remark += (
                    f". If {name!r} ({shown}) is a split to be kept, name the column 'source' and "
                    "give --split folders"
                )
                break
        return [remark]


class FileFinder:
    """Find the files that a table's cells name.

    Attributes:
        recoded: Number of paths that were found when read as Windows-1252.
        respelled: Number of paths that differ from their file's name by case, encoding, Unicode
            form, or the ending of one format.
        example: The first of these, and its file.

    Args:
        base: Folder that the paths are relative to.
    """

    def __init__(self, base: Path) -> None:
        self.base, self._folder = base, os.fspath(base)
        self.recoded = self.respelled = 0
        self.example = ("", "")
        self._names: dict[str, dict[str, list[str]]] = {}

    def exact(self, cell: str) -> str | None:
        r"""Return the file of that very name: as it stands, stripped, or as Windows writes it.

        Windows separates folders by ``\``, and spreadsheets there don't write UTF-8.
        """
        if os.path.isfile(full := self._full(cell)):
            return full
        for name in _candidates(cell):
            full = self._full(name)
            if os.path.isfile(full):
                self.recoded += has_surrogates(cell) and not has_surrogates(name)
                return full
        return None

    def find(self, cell: str, *, anywhere: bool = False) -> tuple[str, str]:
        """Return the full path of the file that a cell names, and a problem or an empty text.

        A name that differs by case, encoding, Unicode form, the ending of one format (``.jpeg``),
        or lacks an ending counts where there is one such file.

        Args:
            cell: The path; ``/`` or Windows' separators.
            anywhere: Search outside the base, too.
        """
        found = self.exact(cell)
        if found is not None:
            return found, ""
        near: list[str] = []
        for name in _candidates(cell):
            full, top = self._full(name), self.base
            if not Path(full).is_relative_to(os.path.normpath(top)):
                if not anywhere:
                    continue
                top = Path("/" if os.path.isabs(full) else ".")
            same, other = self._search(top, os.path.relpath(full, top))
            if len(same) == 1:
                if not self.respelled:
                    self.example = (cell, os.path.relpath(same[0], self.base))
                self.respelled += 1
                self.recoded += has_surrogates(cell) and not has_surrogates(name)
                return same[0], ""
            near = near or [*same, *other]
        problem = "no such file"
        if near:
            shown = [os.path.relpath(path, self.base) for path in near]
            more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
            problem += f"; {', '.join(shown[:3])}{more} {'is' if len(shown) == 1 else 'are'} there"
        elif re.match(r"[A-Za-z]:[\\/]", cell.strip()):
            problem += "; it is an absolute path of Windows: write it relative to the root"
        return self._full(cell), problem

    def _full(self, name: str) -> str:
        return os.path.normpath(os.path.join(self._folder, name))

    def _search(self, top: Path, relative: str) -> tuple[list[str], list[str]]:
        """Return the files of that name in another spelling, and those of other formats."""
        folder = os.path.normpath(top)
        *parts, name = PurePosixPath(relative).parts or ("",)
        for part in parts:
            step = os.path.join(folder, part)
            if not os.path.isdir(step):
                names = self._index(folder).get(_spelling(part), [])
                steps = [d for d in (os.path.join(folder, n) for n in names) if os.path.isdir(d)]
                if len(steps) != 1:
                    return [], []
                step = steps[0]
            folder = step
        index = self._index(folder)
        same = _files(folder, index.get(_spelling(name), []))
        other = _files(folder, index.get(f"{_spelling(_stem(name))}/", []))
        if not same and not is_image_name(name):
            same = other
        return same, [path for path in other if path not in same]

    def _index(self, folder: str) -> dict[str, list[str]]:
        """Return the names in a folder by spelling, and images also by stem, with a slash."""
        if folder not in self._names:
            if len(self._names) >= _FOLDERS:
                self._names.clear()
            index: dict[str, list[str]] = {}
            try:
                names = sorted(os.listdir(folder))
            except OSError:
                names = []
            for name in names:
                index.setdefault(_spelling(name), []).append(name)
                if is_image_name(name):
                    index.setdefault(f"{_spelling(_stem(name))}/", []).append(name)
            self._names[folder] = index
        return self._names[folder]


def crop_of(text: str) -> tuple[int, str]:
    """Read the side of a centered square in pixels, 0 for the whole image; or return a problem."""
    crop = whole_number(text, default=0)
    if crop is None or crop < 0:
        return 0, f"crop {text!r} is not a whole number of pixels"
    if crop > _HIGHEST_CROP:
        return 0, f"crop {crop}: no image is so large"
    return crop, ""


def whole_number(text: str, *, default: int) -> int | None:
    """Read a whole number as programs write it, ``default`` where it is missing; else None.

    >>> [whole_number(text, default=-1) for text in ("1.0", "2,00", "NA", "", "1.5")]
    [1, 2, -1, -1, None]
    """
    if not text or text.casefold() in MISSING:
        return default
    number = re.fullmatch(r"([+-]?[0-9]{1,9})(?:[.,]0*)?", text)
    return int(number[1]) if number else None


def without_decimals(values: Sequence[str]) -> dict[str, str]:
    """Return the whole numbers for a column that a program wrote as ``1.0``, ``2.0``; else nothing.

    >>> without_decimals(["0.0", "1.0", ""]), without_decimals(["0", "1.0"])
    ({'0.0': '0', '1.0': '1'}, {})
    """
    given = {value for value in values if value}
    numbers = {v: m[1] for v in given if (m := re.fullmatch(r"(-?[0-9]+)[.,]0+", v))}
    return dict(sorted(numbers.items())) if len(numbers) == len(given) else {}


def _text(cell: str) -> tuple[str, bool]:
    """Return a cell without outer blanks, and True where it was read as Windows-1252."""
    recoded = has_surrogates(cell)
    return (windows_text(cell) if recoded else cell).strip(), recoded


def _base(
    source: Path, first: str, column: str | None, root: Path | str | None
) -> tuple[Path, bool]:
    """Return the folder of the paths, and True where it was named, so that its links are followed.

    Raises:
        DataError: there is no such folder.
    """
    own = _own_folder(source, first)
    if root is not None:
        given = Path(root).expanduser()
    elif column is None:
        return own, False
    else:
        given = own / column
        if not given.is_dir():
            given = own / column.replace("\\", "/")
    if not given.is_dir():
        named = "--root" if root is not None else f"the column root of {source}"
        raise DataError(f"{given}: no such folder, which {named} names. Give another with --root.")
    return given, True


def _own_folder(source: Path, first: str) -> Path:
    """Return the folder of a manifest, or that of a link to it where the images are there."""
    of_link, of_file = source.parent, source.resolve().parent
    if of_link.resolve() == of_file:
        return of_link
    moved = FileFinder(of_file).exact(first) is None and FileFinder(of_link).exact(first)
    return of_link if moved else of_file


def _candidates(cell: str) -> list[str]:
    """Return the readings of a path, the literal one first."""
    names = [cell, cell.strip()]
    if has_surrogates(cell):
        names.append(windows_text(cell.strip()))
    if escape_cell(cell) != cell:  # a name that begins with an apostrophe, from another program
        names.append(escape_cell(cell))
    names += [name.replace("\\", "/") for name in names if "\\" in name]
    return [name for name in dict.fromkeys(names) if name and "\0" not in name]


def _files(folder: str, names: Sequence[str]) -> list[str]:
    return [path for path in (os.path.join(folder, n) for n in names) if os.path.isfile(path)]


def _stem(name: str) -> str:
    return os.path.splitext(name)[0] if is_image_name(name) else name


def _spelling(name: str) -> str:
    """Return what names have in common that differ by case, encoding, Unicode form or ending."""
    if has_surrogates(name):
        name = windows_text(name)
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).strip()
    stem, ending = os.path.splitext(folded)
    return stem.rstrip() + _ONE_ENDING.get(ending, ending)
