"""A run between two updates, as a checkpoint keeps it: the state, and random numbers to come."""

from __future__ import annotations

import math
from typing import Any

import torch

from fastleuk.training.distributed.ranks import Ranks
from fastleuk.training.state import TrainingState


def snapshot(state: TrainingState, ranks: Ranks, device: torch.device) -> dict[str, Any]:
    """Return what :func:`restore` needs.

    Args:
        state: What training changes; the same in every process but for ``loss_sum``.
        ranks: The processes; with several, all of them have to call this.
        device: Of the model: its random state belongs to it.
    """
    rng = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        rng["cuda"] = torch.cuda.get_rng_state(device)
    whole = state.state_dict()
    saved = {"progress": whole.pop("progress"), "rng": rng, **whole}
    if ranks.several:  # what each process has of its own
        loss_sum = torch.tensor(state.progress.loss_sum, dtype=torch.float64)
        saved["ranks"] = ranks.gather_tensors({**rng, "loss_sum": loss_sum})
    return saved


def restore(
    saved: dict[str, Any], state: TrainingState, ranks: Ranks, device: torch.device, *, seed: int
) -> None:
    """Turn ``state`` and torch's random state into what they were.

    Args:
        saved: Of :func:`snapshot`, by as many processes or by others.
        state: Is changed.
        ranks: The processes.
        device: Of the model.
        seed: The run's, for a process that wasn't there.

    Raises:
        KeyError, IndexError, TypeError, ValueError, RuntimeError, AttributeError: something is
            missing or doesn't fit.
    """
    state.load_state_dict(saved)
    progress = state.progress
    each = saved.get("ranks") or [{**saved["rng"], "loss_sum": progress.loss_sum}]
    if len(each) == ranks.world_size:
        progress.loss_sum = float(each[ranks.rank]["loss_sum"])
    else:  # each had the mean losses of its share of every batch
        progress.loss_sum = math.fsum(float(one["loss_sum"]) for one in each) / len(each)
    if ranks.rank >= len(each):
        torch.manual_seed(seed + (ranks.rank << 32) + progress.updates)
        return
    rng = each[ranks.rank]
    torch.set_rng_state(rng["cpu"])
    if "cuda" in rng and device.type == "cuda":
        torch.cuda.set_rng_state(rng["cuda"], device)
