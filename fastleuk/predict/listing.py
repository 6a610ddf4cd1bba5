"""The images that a manifest CSV lists, read row by row; labels and subjects need not be there."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from fastleuk.errors import DataError

_SIGNS = (",", ";", "\t")


def listed_images(source: Path, root: str | None = None) -> Iterator[tuple[str, int]]:
    """Yield (path, crop) of every row of a CSV with a column ``path``.

    Paths are relative to ``root``, else to the folder that the column ``root`` names, else to the
    CSV's own. ``crop`` is the side of the centred square that is used, 0 for the whole image.

    Raises:
        DataError: the file can't be read, or has no column ``path``; or a crop is no number.
    """
    own = source.parent
    base = Path(root).expanduser() if root else None
    if base is not None and not base.is_dir():
        raise DataError(f"{base}: no such folder, which --root names.")
    try:
        with source.open(encoding=_encoding(source), errors=_ERRORS, newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            reader = csv.reader(stream, strict=True, delimiter=_sign(first))
            header = [cell.strip() for cell in next(reader, [])]
            if "path" not in header:
                raise DataError(
                    f"{source}: no column 'path'; the first line reads {first.strip()[:200]!r}. "
                    "A list of images has one."
                )
            for cells in reader:
                row = dict(zip(header, cells, strict=False))
                path = row.get("path", "")
                if not path.strip():
                    continue
                folder = base if base is not None else own / row.get("root", "").strip()
                yield str(folder / path), _crop(row, f"{source} line {reader.line_num}")
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{source}: can't be read as a CSV: {error}.") from error


_ERRORS = "surrogateescape"


def _encoding(source: Path) -> str:
    with source.open("rb") as stream:
        head = stream.read(2)
    return "utf-16" if head in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _sign(header: str) -> str:
    """Spreadsheets write ``;`` or tabs where the comma is a decimal sign."""
    for sign in _SIGNS:
        if "path" in {cell.strip().strip('"') for cell in header.split(sign)}:
            return sign
    return ","


def _crop(row: dict[str, str], where: str) -> int:
    text = row.get("crop", "").strip() or "0"
    if not text.isdecimal() or int(text) > 100_000:
        raise DataError(f"{where}: crop {text!r} is not a whole number of pixels.")
    return int(text)
