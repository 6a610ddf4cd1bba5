"""The finished table as Parquet."""

from __future__ import annotations

import importlib.util
from itertools import islice
from pathlib import Path
from typing import Any

from fastleuk.csv_files import CsvReader
from fastleuk.errors import MissingDependencyError
from fastleuk.files import write_atomically
from fastleuk.predict.table import ERROR, LABEL, NAME, SPREAD

ROWS = 50_000
"""Of a row group."""


def require_parquet() -> None:
    """Refuse early what can't be written.

    Raises:
        MissingDependencyError: pyarrow is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise MissingDependencyError(
            "A .parquet table needs pyarrow: pip install 'fastleuk[parquet]', or name a .csv."
        )


def write_parquet(table: Path, out: Path, metadata: dict[str, str]) -> None:
    r"""Turn a CSV of predictions into Parquet, a row group at a time; numbers stay to the last bit.

    Bytes of file names that are no UTF-8 are written as ``\xNN``.

    Args:
        table: The CSV.
        out: The file, written atomically.
        metadata: Kept in the file.
    """
    import pyarrow as pa
    from pyarrow import parquet

    reader = CsvReader(table, required=(NAME, LABEL, ERROR))
    names = [_utf8(name) for name in reader.header]
    numbers = [name == SPREAD or name.startswith("p_") for name in names]
    kinds = [pa.float64() if number else pa.string() for number in numbers]
    schema = pa.schema(list(zip(names, kinds, strict=True)), metadata=metadata)
    rows_left = ([_utf8(cell) for cell in row.cells.values()] for row in reader)

    def write(sink: Any) -> None:
        with parquet.ParquetWriter(sink, schema) as writer:
            while rows := list(islice(rows_left, ROWS)):
                columns = [
                    [float(cell) if cell else None for cell in cells] if number else list(cells)
                    for cells, number in zip(zip(*rows, strict=True), numbers, strict=True)
                ]
                arrays = [pa.array(c, k) for c, k in zip(columns, kinds, strict=True)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))

    write_atomically(out, write)


def _utf8(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
