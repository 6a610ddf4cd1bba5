"""CSV tables: one reader for every command, and a writer that is safe to open in a spreadsheet.

A cell of text that begins like a formula is written with an apostrophe in front (OWASP, "CSV
injection"). The reader removes it, so that a table names the same files when it is read back.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import os
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

from fastleuk.errors import DataError

BOM = codecs.BOM_UTF8
"""Byte order mark: with it, Excel reads a CSV as UTF-8."""

DELIMITERS = (",", ";", "\t", "|")
"""Spreadsheets write ``;`` or tabs where the comma is the decimal sign."""

_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_WORKBOOKS = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers", ".parquet")
_NO_TEXT = {
    b"PK\x03\x04": "a workbook or a zip archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"PAR1": "a Parquet file",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
}
_FORMULA = "=+\\-@\t\r\n\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}"
_FORMULA += "\N{FULLWIDTH COMMERCIAL AT}"
_BEGINS_FORMULA = re.compile(f"'*[{_FORMULA}]")
_ESCAPED = re.compile(f"'+[{_FORMULA}]")
_INVISIBLE = "\ufeff\u200b\u200e\u200f\u2060"


def is_table_name(name: str) -> bool:
    """Return True for the name of a table: ``.csv`` or ``.tsv``, also with ``.gz`` behind."""
    return name.lower().endswith(_SUFFIXES)


def is_table(place: Path) -> bool:
    """Return True where a user names a table and no folder; workbooks count, to be refused."""
    named = is_table_name(place.name) or place.name.lower().endswith(_WORKBOOKS)
    return named and not place.is_dir()


def table_stem(name: str) -> str:
    """Return a table's file name without its ending.

    >>> table_stem("cells.csv.gz"), table_stem("a.b.TSV")
    ('cells', 'a.b')
    """
    if name.lower().endswith(".gz"):
        name = name[:-3]
    return os.path.splitext(name)[0]


def escape_cell(value: Any) -> Any:
    """Return a text that no spreadsheet computes; numbers stay numbers.

    The cells of texts that begin with ``=``, ``+``, ``-``, ``@``, a tab, a line end, or the full
    width forms of these get an apostrophe in front, and so does one that looks escaped already.

    >>> escape_cell("=1+1.png"), escape_cell("'=1"), escape_cell("a=1"), escape_cell(-0.5)
    ("'=1+1.png", "''=1", 'a=1', -0.5)
    """
    return f"'{value}" if isinstance(value, str) and _BEGINS_FORMULA.match(value) else value


def unescape_cell(text: str) -> str:
    """Return the text that :func:`escape_cell` wrote; other texts stay as they are.

    >>> unescape_cell("'=1+1.png"), unescape_cell("'quoted'"), unescape_cell("-0.5")
    ('=1+1.png', "'quoted'", '-0.5')
    """
    return text[1:] if text[:1] == "'" and _ESCAPED.match(text) else text


class CsvWriter:
    """Write rows that no spreadsheet computes and every reader reads back.

    Carriage returns are quoted, which ``csv.writer`` does from Python 3.13 on only, and so are
    blanks that a cell begins with.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._plain = csv.writer(stream, lineterminator="\n")
        self._quoted = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def writerow(self, row: Sequence[Any]) -> None:
        """Write one row."""
        odd = any(isinstance(v, str) and ("\r" in v or v[:1].isspace()) for v in row)
        (self._quoted if odd else self._plain).writerow([escape_cell(value) for value in row])


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table."""

    line: int
    """Number of the row's last line in the file, from 1."""
    cells: dict[str, str]
    """By column, as they stand, but for the apostrophes of :func:`escape_cell`; an absent cell is
    empty."""
    count: int
    """Number of cells that the row has."""
    surplus: bool
    """True where cells beyond the header's are not empty."""


class CsvReader:
    r"""Read a table row by row: any delimiter, encoding and line end of a spreadsheet.

    Delimiters are ``,`` ``;`` tab ``|``, or what a first line ``sep=;`` names. Encodings are UTF-8
    and UTF-16, with or without a byte order mark. In a table of another encoding, such as
    Windows-1252, bytes become surrogates (PEP 383): names of files keep their bytes. A gzip file is
    decompressed, whatever its name.

    Args:
        source: The file.
        required: Columns that must be there.
        known: Further columns that are recognized in any case; others keep their names.
        columns_hint: Sentence on the columns of such a table, for the error message.
        shown: Name in error messages; the path by default.

    Raises:
        DataError: not a table, a required column is missing, or one is there twice.
    """

    def __init__(
        self,
        source: Path,
        *,
        required: Sequence[str],
        known: Sequence[str] = (),
        columns_hint: str = "",
        shown: str = "",
    ) -> None:
        self.shown = shown or str(source)
        lines = _lines(source, self.shown)
        first = next(lines, "")
        self._skipped = 0
        named = re.fullmatch(r'"?sep=(.)"?', first.strip("\r\n" + _INVISIBLE), re.IGNORECASE)
        while named or (first and not first.strip(" \r\n" + _INVISIBLE)):
            self._skipped += 1
            first = next(lines, "")
            if named:
                break
        self.delimiter = named[1] if named else _delimiter(first, (*required, *known))
        spaced = re.search(rf'{re.escape(self.delimiter)} +"', first) is not None
        head = list(_first(lines, 50))
        spaced = spaced or _quotes_behind_blanks(head, self.delimiter)
        self._reader = csv.reader(
            chain([first], head, lines),
            strict=True,
            delimiter=self.delimiter,
            skipinitialspace=spaced,
        )
        cells = next(self._records(), [])
        self.header = _header(self.shown, first.strip("\r\n"), cells, required, known, columns_hint)

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows that are left; rows without any text are skipped."""
        width = len(self.header)
        gaps = [""] * width
        for cells in self._records():
            if not any(map(str.strip, cells)):
                continue
            count, surplus = len(cells), any(map(str.strip, cells[width:]))
            if any(cell[:1] == "'" for cell in cells):
                cells = [unescape_cell(cell) for cell in cells]
            named = dict(zip(self.header, [*cells, *gaps[count:]], strict=False))
            yield Row(self._reader.line_num + self._skipped, named, count, surplus)

    def _records(self) -> Iterator[list[str]]:
        while True:
            begin = self._reader.line_num + self._skipped + 1
            try:
                yield next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise DataError(
                    f"{self.shown}: can't be read as a CSV: {error}, in the row that begins in "
                    f"line {begin}. Check the quotes from there on."
                ) from error


def read_table(path: Path, required: Sequence[str], *, empty: bool = False) -> list[dict[str, str]]:
    """Read all rows of a table that fastleuk wrote; cells are unescaped.

    Args:
        path: The file.
        required: Columns that must be there.
        empty: Accept a table without a row.

    Raises:
        DataError: it can't be read, has no row, lacks a column, or a row is cut.
    """
    reader = CsvReader(path, required=required, shown=path.name)
    rows = []
    for row in reader:
        if row.count < len(reader.header) or row.surplus:
            raise DataError(
                f"{path.name}: line {row.line} has {row.count} cells, and the first line names "
                f"{len(reader.header)}. Restore the file from where it was written."
            )
        rows.append(row.cells)
    if not rows and not empty:
        raise DataError(
            f"{path.name}: has a header but no row. Restore it from where it was written."
        )
    return rows


def has_surrogates(text: str) -> bool:
    """Return True for text with bytes that are not UTF-8."""
    return not text.isascii() and any("\udc80" <= c <= "\udcff" for c in text)


def windows_text(text: str) -> str:
    """Decode text that has surrogates as Windows-1252, or Latin-1 where that has no such byte."""
    data = text.encode("utf-8", "surrogateescape")
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _lines(source: Path, shown: str) -> Iterator[str]:
    """Yield the lines of a text with their ends, whatever these are.

    Raises:
        DataError: the file can't be read, or is no text.
    """
    try:
        with source.open("rb") as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            with gzip.open(raw) if packed else raw as data:
                stream = io.BufferedReader(cast(io.RawIOBase, data))
                encoding = _encoding(shown, stream.peek(4096)[:4096])
                strict = encoding not in ("utf-8", "utf-8-sig")
                errors = "strict" if strict else "surrogateescape"
                with io.TextIOWrapper(stream, encoding, errors, newline="") as text:
                    yield from text
    except UnicodeDecodeError as error:
        raise DataError(f"{shown}: damaged {error.encoding} text ({error.reason}). Save it as CSV "
                        "in UTF-8.") from error  # fmt: skip
    except (OSError, EOFError, zlib.error) as error:
        said = getattr(error, "strerror", None) or error
        raise DataError(f"{shown}: can't be read: {said}. Check the file.") from error


def _encoding(shown: str, head: bytes) -> str:
    """Return the codec for a file that begins with ``head``."""
    kind = next((kind for magic, kind in _NO_TEXT.items() if head.startswith(magic)), None)
    if kind:
        raise DataError(
            f"{shown}: {kind}, not a text. Save the table as CSV in UTF-8, and give that file."
        )
    if head.startswith(BOM):
        return "utf-8-sig"
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = head[0:40:2], head[1:40:2]  # the header is ASCII, so every second byte is zero
    if 2 * odd.count(0) > len(odd) and not even.count(0):
        return "utf-16-le"
    if 2 * even.count(0) > len(even) and not odd.count(0):
        return "utf-16-be"
    return "utf-8"


def _first(lines: Iterator[str], count: int) -> Iterator[str]:
    for _ in range(count):
        line = next(lines, None)
        if line is None:
            return
        yield line


def _delimiter(header: str, names: Sequence[str]) -> str:
    """Return the delimiter that gives the most of the columns, or else the commonest one."""
    wanted = set(map(_folded, names))

    def score(sign: str) -> tuple[int, int]:
        return len(wanted & set(map(_folded, _cells(header, sign)))), header.count(sign)

    return max(DELIMITERS, key=score)


def _cells(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])


def _quotes_behind_blanks(lines: Iterable[str], delimiter: str) -> bool:
    """Return True for rows such as ``a.png, "x, y"``, whose quotes a plain reader keeps."""
    try:
        rows = csv.reader(lines, delimiter=delimiter)
        return any(re.match(' +"', cell) for row in rows for cell in row)
    except csv.Error:
        return False


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).strip(_INVISIBLE).strip().casefold()


def _header(
    shown: str,
    first: str,
    cells: Sequence[str],
    required: Sequence[str],
    known: Sequence[str],
    hint: str,
) -> list[str]:
    """Return the columns' names, the known ones as they are known."""
    names = {_folded(name): name for name in (*required, *known)}
    plain = [unescape_cell(cell.strip(_INVISIBLE).strip()) for cell in cells]
    header = [name if name in names.values() else names.get(_folded(name), name) for name in plain]
    missing = [name for name in required if name not in header]
    if missing:
        reads = f"the first line reads {first[:200]!r}" if first else "the file is empty"
        raise DataError(
            f"{shown}: missing column(s) {', '.join(missing)}; {reads}.{hint and f' {hint}'}"
        )
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise DataError(
            f"{shown}: column(s) that stand more than once: {', '.join(twice)}. Rename or remove "
            "all but one."
        )
    return header
