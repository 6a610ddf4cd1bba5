"""Arrays that cost time to compute, kept by the hashes of what they are of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastleuk.files import write_atomically


def read_kept(file: Path, columns: int, dtype: type[np.generic]) -> dict[str, np.ndarray]:
    """Read kept rows; a missing or damaged file simply means that there are none.

    Args:
        file: An ``.npz`` of :func:`keep`.
        columns: Numbers a row.
        dtype: Of the rows.
    """
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            keys, values = arrays["keys"].tolist(), arrays["values"]
        if values.shape != (len(keys), columns) or values.dtype != dtype:
            return {}
        return dict(zip(keys, values, strict=True))
    except Exception:  # zipfile, zlib and NumPy raise many kinds on damaged files
        return {}


def keep(file: Path, rows: dict[str, np.ndarray]) -> None:
    """Keep rows; a folder that can't be written to only makes the next time slower."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        keys, values = np.array(list(rows)), np.array(list(rows.values()))
        write_atomically(file, lambda stream: np.savez(stream, keys=keys, values=values))
    except OSError:
        pass
