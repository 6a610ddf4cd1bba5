"""The checkpoint that resumes a run, and the best weights that come out of it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastleuk.errors import CheckpointError
from fastleuk.files import write_atomically
from fastleuk.models.weights import METADATA_KEY

LAST = "last.ckpt"
BEST = "best.safetensors"
FORMAT = 1


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Save ``state`` (tensors, numbers, strings, lists, dicts of them) atomically."""
    import torch

    write_atomically(path, lambda file: torch.save({"format": FORMAT, **state}, file))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint, tensors on the CPU; nothing in the file can run code.

    Raises:
        CheckpointError: missing, cut short, not a checkpoint, or from a newer version.
    """
    import torch

    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint {path}: nothing to resume from.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
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


def save_best(path: Path, model: Any, metadata: Mapping[str, Any]) -> None:
    """Save a model's tensors with ``metadata`` (fit for JSON) as safetensors, atomically.

    The metadata go into one key, since safetensors writes several in no fixed order and equal
    runs shall give equal files.
    """
    from safetensors.torch import save

    state = model.state_dict()
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    data = save(tensors, metadata={METADATA_KEY: json.dumps(metadata, sort_keys=True)})
    write_atomically(path, lambda file: file.write(data))
