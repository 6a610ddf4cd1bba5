"""Where what is said of a run goes."""

from __future__ import annotations

import os
from pathlib import Path

from fastleuk.errors import DataError


def writing_place(run_dir: Path, out: Path | None) -> Path:
    """Return the folder for figures of a run: ``out``, which is made, or the run folder itself.

    Raises:
        DataError: it can't be written.
    """
    place = run_dir if out is None else out
    try:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"Can't make the folder --out {place}: {error.strerror or error}."
        ) from error
    if not os.access(place, os.W_OK | os.X_OK):
        raise DataError(
            f"{place} is read-only. Name a folder of your own for the figures: --out DIR"
        )
    return place
