"""The weights of the best epochs, as files.

``best.safetensors`` holds those of the best epoch. With ``--keep-best K``, K from 2 on, the K
best epochs' stand beside it as ``best-1.safetensors`` (the same) to ``best-K.safetensors``. The
metadata of each say which epoch it is (``epoch``, from 1), its ``val_f1_macro`` and ``val_loss``,
and whether the weights are a moving average (``ema``).
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

BEST = "best.safetensors"
Kept = dict[str, Any]
"""``epoch`` (from 1), ``val_f1_macro`` and ``val_loss`` of an epoch whose weights are kept."""


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
    count: int,
    metadata: Mapping[str, Any],
) -> None:
    """Bring the files in line with ``ranking``, in which ``epoch`` may be new.

    Whenever this is cut short, doing it again with the same arguments completes it.

    Args:
        run_dir: The run folder.
        model: That of ``epoch``.
        ranking: See :func:`ranked`.
        epoch: From 1; nothing is written where it isn't in ``ranking``.
        count: How many epochs' weights are kept; 1 for ``best.safetensors`` alone.
        metadata: What every file says of its weights.
    """
    rank = next((r for r, kept in enumerate(ranking) if kept["epoch"] == epoch), None)
    if rank is None:
        return
    data = serialise(model, {**metadata, **ranking[rank]})
    if count > 1:
        there = {_epoch(file): file for file in _numbered(run_dir)}
        # From the last rank up: what is overwritten has moved down already, or is dropped.
        for place in range(len(ranking) - 1, rank, -1):
            file = there.get(ranking[place]["epoch"])
            if file is not None:
                os.replace(file, run_dir / f"best-{place + 1}.safetensors")
        write_atomically(run_dir / f"best-{rank + 1}.safetensors", lambda file: file.write(data))
    if rank == 0:
        write_atomically(run_dir / BEST, lambda file: file.write(data))


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
