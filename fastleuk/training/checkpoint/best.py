"""The weights of the best epochs, as files.

``best.safetensors`` holds those of the best epoch. With ``--keep-best K``, K from 2 on, the K
best epochs' stand beside it as ``best-1.safetensors`` (the same) to ``best-K.safetensors``. The
metadata of each say which epoch it is (``epoch``, from 1), its ``val_f1_macro`` and ``val_loss``,
and whether the weights are a moving average (``ema``).

Weights and record agree whenever a run is killed. An epoch's weights are first written beside these
files; the checkpoint, which ranks the epochs, decides that they count; then they take their place.
A resumed run completes that, or drops what no checkpoint knows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from fastleuk.files import write_atomically
from fastleuk.models.weights import METADATA_KEY
from fastleuk.run_folder.names import BEST
from fastleuk.training.state import Kept


def ranked(kept: list[Kept], new: Kept, count: int) -> list[Kept]:
    """Return the best ``count`` epochs, the best first: by macro-F1, then loss, then age.

    >>> old = {"epoch": 1, "val_f1_macro": 0.5, "val_loss": 0.7}
    >>> [k["epoch"] for k in ranked([old], {**old, "epoch": 2, "val_loss": 0.6}, 2)]
    [2, 1]
    """
    order = sorted([*kept, new], key=lambda k: (-k["val_f1_macro"], k["val_loss"], k["epoch"]))
    return order[:count]


def write_best(
    run_dir: Path,
    model: nn.Module,
    ranking: list[Kept],
    *,
    epoch: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write the weights of ``epoch`` beside the others, if it is in ``ranking``.

    They count when a checkpoint with that ranking is written and :func:`publish` has been called.

    Args:
        run_dir: The run folder.
        model: That of ``epoch``.
        ranking: See :func:`ranked`.
        epoch: From 1.
        metadata: What every file says of its weights.
    """
    kept = next((kept for kept in ranking if kept["epoch"] == epoch), None)
    if kept is not None:
        data = serialise(model, {**metadata, **kept})
        write_atomically(_pending(run_dir, epoch), lambda file: file.write(data))


def publish(run_dir: Path, ranking: list[Kept], *, count: int) -> list[Kept]:
    """Bring the files in line with the ``ranking`` of the checkpoint that has just been written.

    Whenever this is cut short, doing it again completes it.

    Args:
        run_dir: The run folder.
        ranking: See :func:`ranked`.
        count: How many epochs' weights are kept; 1 for ``best.safetensors`` alone.

    Returns:
        Epochs of the ranking whose weights are not there: removed, or lost by an earlier version.
    """
    pending = {_epoch(file): file for file in run_dir.glob(_pending(run_dir, "*").name)}
    there = {**{_epoch(file): file for file in _numbered(run_dir)}, **pending}
    best = run_dir / BEST
    first = ranking[0]["epoch"] if ranking else None
    if first in there and (count > 1 or first in pending) and _epoch(best) != first:
        if count > 1:
            data = there[first].read_bytes()
            write_atomically(best, lambda file: file.write(data))
        else:
            os.replace(there[first], best)
    if count > 1:
        # From the last rank up: what is overwritten has moved down already, or is dropped.
        for place in range(len(ranking) - 1, -1, -1):
            file, target = there.get(ranking[place]["epoch"]), _rank(run_dir, place)
            if file is not None and file != target:
                os.replace(file, target)
    for file in pending.values():  # moved, or of an epoch that no checkpoint knows
        file.unlink(missing_ok=True)
    have = set(there) if count > 1 else {_epoch(best)}
    return [kept for kept in ranking if kept["epoch"] not in have]


def _pending(run_dir: Path, epoch: int | str) -> Path:
    return run_dir / f".best-of-epoch-{epoch}.safetensors"


def _rank(run_dir: Path, place: int) -> Path:
    return run_dir / f"best-{place + 1}.safetensors"


def serialise(model: nn.Module, metadata: Mapping[str, Any]) -> bytes:
    """Return a model's tensors with ``metadata`` (fit for JSON) as safetensors.

    The metadata go into one key, since safetensors writes several in no fixed order and equal
    runs shall give equal files.
    """
    from safetensors.torch import save

    state = model.state_dict()
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    return save(tensors, metadata={METADATA_KEY: json.dumps(metadata, sort_keys=True)})


def _numbered(run_dir: Path) -> list[Path]:
    return sorted(run_dir.glob("best-*.safetensors"))


def _epoch(file: Path) -> int | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            return json.loads((opened.metadata() or {}).get(METADATA_KEY, "{}")).get("epoch")
    except (SafetensorError, OSError, ValueError):
        return None
