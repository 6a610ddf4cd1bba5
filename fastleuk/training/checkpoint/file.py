"""The checkpoint that resumes a run."""

from __future__ import annotations

import contextlib
import functools
import pickle
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import fastleuk
from fastleuk.errors import CheckpointError
from fastleuk.files import write_atomically

FORMAT = 2


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Save ``state`` (tensors, numbers, strings, lists, dicts of them) atomically."""
    import torch

    content = {"format": FORMAT, "versions": versions(), **state}
    write_atomically(path, lambda file: torch.save(content, file))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint, tensors on the CPU; nothing in the file can run code.

    Raises:
        CheckpointError: missing, cut short, not a checkpoint, or of another format.
    """
    import torch

    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint {path}: nothing to resume from.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own text advises to switch the check off
        raise CheckpointError(
            f"{path} holds other things than a checkpoint of fastleuk, and loading those could "
            "run code. Nothing was loaded. It is damaged, or not fastleuk's: start the run anew."
        ) from error
    except Exception as error:  # a damaged file can fail in any of the unpickler's ways
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path} can't be read as a checkpoint ({reason}). It is damaged or is no checkpoint "
            "of fastleuk; start the run anew."
        ) from error
    found = state.get("format") if isinstance(state, dict) else None
    if found != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {found!r}, this version reads {FORMAT}. "
            "Resume it with the version of fastleuk that wrote it."
        )
    return state


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of everything that computes, by package; absent ones are left out."""
    found = {"fastleuk": fastleuk.__version__}
    for name in ("torch", "timm", "numpy"):
        found[name] = metadata.version(name)
    optional = {f"nvidia-dali-cuda{toolkit}": "dali" for toolkit in (110, 120, 130)}
    for package, name in {**optional, "numba": "numba"}.items():
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(package)
    return found


def version_note(saved: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say in a line which versions differ; empty if none does.

    >>> version_note({"torch": "2.5.0", "timm": "1.0"}, {"torch": "2.6.0", "timm": "1.0"})
    'note: the checkpoint was written with torch 2.5.0 (now 2.6.0): figures may differ slightly.'
    """
    names = [name for name in {**now, **saved} if saved.get(name) != now.get(name)]
    if not names:
        return ""
    told = (f"{n} {saved.get(n, '(none)')} (now {now.get(n, 'none')})" for n in names)
    return f"note: the checkpoint was written with {', '.join(told)}: figures may differ slightly."
