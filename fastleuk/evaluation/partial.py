"""Predictions that are saved while they are made, so that a stopped evaluation is resumed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fastleuk.evaluation.predict import Predictions
from fastleuk.files import write_atomically

PIECE = 4096
"""Images between two savings."""

_ARRAYS = ("indices", "labels", "logits")


def joined(pieces: Sequence[Predictions]) -> Predictions:
    """Concatenate predictions in their order."""
    return Predictions(*(np.concatenate([getattr(p, n) for p in pieces]) for n in _ARRAYS))


def write_partial(file: Path, key: str, made: Predictions, report: Callable[[str], None]) -> None:
    """Save predictions; a folder that can't be written to only costs a stopped evaluation.

    Args:
        file: An ``.npz``.
        key: Identifies weights, images and method.
        made: Of the first images.
        report: Takes the note that they can't be saved.
    """
    arrays = {name: getattr(made, name) for name in _ARRAYS}
    try:
        write_atomically(file, lambda stream: np.savez(stream, key=np.array(key), **arrays))
    except OSError as error:
        report(f"note: {file}: can't be written ({error.strerror or error}). Should this be "
               "stopped, it starts over.")  # fmt: skip


def read_partial(file: Path, key: str) -> Predictions | None:
    """Read predictions; None where they are missing, damaged, or have another key."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            if str(arrays["key"]) != key:
                return None
            made = Predictions(*(arrays[name] for name in _ARRAYS))
    except Exception:  # zipfile, zlib and NumPy raise many kinds on damaged files
        return None
    lengths = {len(getattr(made, name)) for name in _ARRAYS}
    return made if len(lengths) == 1 and made.logits.ndim == 2 else None
