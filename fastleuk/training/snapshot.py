"""All that a run is between two updates, as a checkpoint keeps it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from fastleuk.errors import CheckpointError
from fastleuk.run_folder.names import LAST
from fastleuk.training.state import Progress

if TYPE_CHECKING:
    from fastleuk.training.loop import Trainer


def snapshot(trainer: Trainer) -> dict[str, Any]:
    """Return what :func:`put_back` needs; with several processes, all of them have to call it."""
    ranks, device = trainer.ranks, trainer.precision.device
    rng = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        rng["cuda"] = torch.cuda.get_rng_state(device)
    state = {
        "identity": trainer.identity,
        "progress": vars(trainer.progress),
        "rng": rng,
        **{name: part.state_dict() for name, part in _parts(trainer)},
    }
    if ranks.several:  # all else is the same in every process
        loss_sum = torch.tensor(trainer.progress.loss_sum, dtype=torch.float64)
        state["ranks"] = ranks.gather_tensors({**rng, "loss_sum": loss_sum})
    return state


def put_back(trainer: Trainer, state: dict[str, Any]) -> None:
    """Make ``trainer`` what it was.

    The schedule is a function of the number of updates, so it isn't restored but asked: with
    another number of epochs than then, it is that of the new one.

    Raises:
        CheckpointError: something in ``state`` is missing or doesn't fit.
    """
    try:
        trainer.progress = Progress(**state["progress"])
        for name, part in _parts(trainer):
            if name != "schedule":
                part.load_state_dict(state[name])
        trainer.schedule.step_update(trainer.progress.updates)
        _put_back_random_state(trainer, state)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise CheckpointError(
            f"{trainer.run_dir / LAST} doesn't fit this run ({type(error).__name__}: {error}). "
            "It is damaged; start the run anew."
        ) from error


def _put_back_random_state(trainer: Trainer, state: dict[str, Any]) -> None:
    """Restore what each process has of its own; a process that wasn't there gets new numbers."""
    ranks, device, progress = trainer.ranks, trainer.precision.device, trainer.progress
    saved = state.get("ranks") or [{**state["rng"], "loss_sum": progress.loss_sum}]
    if len(saved) == ranks.world_size:
        progress.loss_sum = float(saved[ranks.rank]["loss_sum"])
    else:  # each had the mean losses of its share of every batch
        progress.loss_sum = math.fsum(float(each["loss_sum"]) for each in saved) / len(saved)
    if ranks.rank >= len(saved):
        torch.manual_seed(trainer.run.seed + (ranks.rank << 32) + progress.updates)
        return
    rng = saved[ranks.rank]
    torch.set_rng_state(rng["cpu"])
    if "cuda" in rng and device.type == "cuda":
        torch.cuda.set_rng_state(rng["cuda"], device)


def tensors(trainer: Trainer) -> Iterator[tuple[str, torch.Tensor]]:
    """Everything that training changes, by name."""
    yield from trainer.weights.state_dict().items()
    if trainer.ema is not None:
        yield from trainer.model.state_dict().items()
    for values in trainer.optimizer.state.values():
        yield from ((f"optimiser {k}", v) for k, v in values.items() if torch.is_tensor(v))


def _parts(trainer: Trainer) -> Iterator[tuple[str, Any]]:
    names = ("model", "optimizer", "schedule", "scaler")
    averaged = [("ema", trainer.ema.module)] if trainer.ema is not None else []
    return itertools.chain(((name, getattr(trainer, name)) for name in names), averaged)
