"""The table of predictions: written batch by batch, so that it can be gone on with."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from fastleuk.csv_files import BOM, CsvReader, CsvWriter, unescape_cell
from fastleuk.errors import CheckpointError, ConfigError, DataError
from fastleuk.locks import try_lock
from fastleuk.os_errors import naming
from fastleuk.predict.ensemble import Scored

NAME, LABEL, SPREAD, NOTE, ERROR = "path", "predicted", "spread", "note", "error"


def columns_of(class_names: Sequence[str], *, several: bool) -> list[str]:
    """Return the columns: path, label, a probability for each class, spread, note, error."""
    spread = [SPREAD] if several else []
    return [NAME, LABEL, *(f"p_{name}" for name in class_names), *spread, NOTE, ERROR]


class Table:
    """A CSV that grows by whole batches.

    Args:
        path: The file. It is held by one process at a time.
        class_names: C names.
        several: Whether there is a column for the spread between runs.
        excel: Begin with a byte order mark, so that Excel reads UTF-8.

    Raises:
        CheckpointError: another process writes it.
        OSError: it can't be written.
    """

    def __init__(
        self, path: Path, class_names: Sequence[str], *, several: bool, excel: bool = False
    ) -> None:
        self.path, self._names = path, list(class_names)
        self.columns = columns_of(class_names, several=several)
        self._mark = BOM if excel else b""
        with naming(path):
            self._file: IO[bytes] = path.open("a+b")
            if not try_lock(self._file.fileno(), path):
                self._file.close()
                raise CheckpointError(
                    f"{path} is being written by another process. Wait for it, or name another "
                    "file with --out."
                )

    def __enter__(self) -> Table:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with naming(self.path):
            self._file.close()

    def begin(self) -> None:
        """Write the head of an empty table."""
        with naming(self.path):
            self._file.truncate(0)
            self._file.write(self._mark)
        self._write([self.columns])

    def go_on(self, names: Iterator[str], batch_size: int) -> int:
        """Keep the whole batches that are there, cut off what is behind them, and count their rows.

        What a killed process left half-written is cut off too.

        Args:
            names: Of the images in order; as many are taken as rows are kept.
            batch_size: Rows of a batch.

        Raises:
            DataError: the rows are of other images, or the table has other columns.
            ConfigError: a byte order mark can't be added to a table that has none.
        """
        self._file.seek(0)
        begun = self._file.read(len(BOM))
        if self._mark and begun and not BOM.startswith(begun):
            raise ConfigError(
                f"--excel: {self.path} was begun without a byte order mark. Leave --excel out, or "
                "name another file with --out."
            )
        self._file.seek(0)
        records = _records(self._file)
        head, end = next(records, ([], 0))
        if not head and self._is_beginning():
            self.begin()
            return 0
        if head != self.columns:
            raise DataError(
                f"{self.path}: it does not begin with the columns {', '.join(self.columns)}, so "
                "it is no table of these runs. Name another file with --out."
            )
        rows, kept = 0, (0, end)
        for record, end in records:
            if len(record) != len(self.columns):
                break
            expected = next(names, None)
            if expected is None or _text(expected) != record[0]:
                told = "there are no more images" if expected is None else f"it is {expected}"
                raise DataError(
                    f"{self.path}: row {rows + 1} is of {record[0]}, but now {told}. The images "
                    "have changed since: name another file with --out."
                )
            rows += 1
            if rows % batch_size == 0:
                kept = (rows, end)
        at_end = next(names, None) is None and end == self._file.seek(0, io.SEEK_END)
        if at_end and rows:
            return rows
        with naming(self.path):
            self._file.truncate(kept[1])
        return kept[0]

    def _is_beginning(self) -> bool:
        """Whether nothing is there, or a part of the first line."""
        self._file.seek(0)
        there = self._file.read(1 << 16)
        return (self._mark + _lines([self.columns])).startswith(there)

    def append(self, names: Sequence[str], scored: Scored) -> None:
        """Write a batch; it is with the system, if not on the disk, when this returns."""
        self._write(self._row(name, scored, i) for i, name in enumerate(names))

    def _row(self, name: str, scored: Scored, place: int) -> list[object]:
        error = scored.errors[place]
        if error:
            gaps: list[object] = [""] * (len(self.columns) - 4)
            return [_text(name), "", *gaps, _text(scored.notes[place]), _text(error)]
        chances: list[object] = [float(p) for p in scored.probabilities[place]]
        spread: list[object] = [] if scored.spread is None else [float(scored.spread[place])]
        label = self._names[int(scored.labels[place])]
        return [_text(name), label, *chances, *spread, _text(scored.notes[place]), ""]

    def _write(self, rows: Iterable[Sequence[object]]) -> None:
        with naming(self.path):
            self._file.write(_lines(rows))
            self._file.flush()


def _lines(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    writer = CsvWriter(text)
    for row in rows:
        writer.writerow(row)
    return text.getvalue().encode("utf-8", "surrogateescape")


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a table, one at a time."""
    for row in CsvReader(path, required=(NAME, LABEL, ERROR)):
        yield row.cells


def _text(text: str) -> str:
    """Return a text on one line: line ends in it would tear the table where it is cut."""
    return text.replace("\r", "\\r").replace("\n", "\\n")


def _records(file: IO[bytes]) -> Iterator[tuple[list[str], int]]:
    """Yield (cells, offset behind them) of every line that is whole."""
    offset = 0
    for line in file:
        if not line.endswith(b"\n"):
            return
        text = line.removeprefix(BOM if offset == 0 else b"").decode("utf-8", "surrogateescape")
        offset += len(line)
        try:
            cells = next(csv.reader([text], strict=True), [])
        except csv.Error:
            return
        yield [unescape_cell(cell) for cell in cells], offset


def concatenate(scored: Sequence[Scored]) -> Scored:
    """Join what was said of several batches."""
    spreads = [each.spread for each in scored if each.spread is not None]
    return Scored(
        np.concatenate([each.probabilities for each in scored]),
        np.concatenate([each.labels for each in scored]),
        np.concatenate(spreads) if spreads else None,
        [error for each in scored for error in each.errors],
        [note for each in scored for note in each.notes],
    )
