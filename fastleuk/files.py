"""Files that must never be half-written, and tables that are read back."""

from __future__ import annotations

import glob
import io
import json
import os
import re
import socket
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from fastleuk.csv_files import CsvWriter, read_table
from fastleuk.errors import ConfigError
from fastleuk.os_errors import naming


def expand_home(path: str, name: str) -> Path:
    """Expand ``~`` at the beginning of a path.

    Args:
        path: Any.
        name: Of the option or variable that holds it, for the error.

    Raises:
        ConfigError: there is no such home folder. ``HOME`` isn't set, say, and the system doesn't
            know the user, as in a container whose user is a mere number.
    """
    expanded = os.path.expanduser(path)
    if path.startswith("~") and expanded == path:
        raise ConfigError(
            f"{name}: {path} needs a home folder, and user {os.getuid()} has none: HOME is not set "
            "and the system has no entry for the user. Set HOME, or FASTLEUK_CACHE_DIR to a folder "
            "for the cache, and give full paths."
        )
    return Path(expanded)


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file so that ``path`` always holds either its old or its new content, whole.

    What a killed process has left of an earlier writing is removed.
    """
    temporary = path.with_name(f".{path.name}.{_machine()}-{os.getpid()}.tmp")
    try:
        with naming(path), temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    for other in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        if is_abandoned(other):
            other.unlink(missing_ok=True)


def is_abandoned(temporary: Path) -> bool:
    """Say whether what :func:`write_atomically` was writing belongs to no process any more.

    Of files that another machine may be writing in a shared folder it says False.
    """
    own = re.search(rf"\.{_machine()}-(\d+)\.tmp$", temporary.name)
    if own is None:
        return False
    try:
        os.kill(int(own[1]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # of another user
        return False
    return False


def _machine() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; file names that aren't UTF-8 keep their bytes."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8", "surrogateescape")))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document atomically; file names that aren't UTF-8 come back as they were."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if not is_utf8(text):
        text = json.dumps(value, indent=2)
    write_text(path, text + "\n")


def is_utf8(text: str) -> bool:
    """Say whether a text can be encoded, which names of files that aren't UTF-8 can't."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV of ``rows``, columns in the first row's order; None becomes an empty cell.

    Floats are written so that reading them back gives the same number, and texts so that no
    spreadsheet computes them.
    """
    text = io.StringIO()
    writer = CsvWriter(text)
    names = list(rows[0])
    writer.writerow(names)
    for row in rows:
        assert row.keys() <= set(names), f"columns {names} don't hold {list(row)}"
        writer.writerow([row.get(name, "") for name in names])
    write_text(path, text.getvalue())


def read_rows(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """Read a CSV as :func:`write_rows` writes it.

    Args:
        path: The file.
        needed: Columns that must be there.

    Raises:
        DataError: it can't be read, is empty or lacks a column.
    """
    return read_table(path, needed)
