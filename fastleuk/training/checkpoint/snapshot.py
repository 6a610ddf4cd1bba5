"""All that a run is between two updates, as a checkpoint keeps it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from fastleuk.training.distributed.ranks import Ranks
from fastleuk.training.state import Progress


@dataclass(eq=False)
class TrainingState:
    """What training changes; the loop holds it, a checkpoint saves it.

    Attributes:
        model: The network, on its device.
        optimizer: Of its parameters.
        schedule: timm's, of the optimiser's learning rates.
        scaler: Of the gradient.
        ema: timm's moving average of ``model``, or None.
        progress: How far it has come.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Any
    scaler: torch.amp.GradScaler
    ema: Any = None
    progress: Progress = field(default_factory=Progress)

    @property
    def weights(self) -> nn.Module:
        """The model that counts: the moving average where there is one."""
        return self.model if self.ema is None else self.ema.module

    def state_dict(self, ranks: Ranks, device: torch.device) -> dict[str, Any]:
        """Return what :meth:`load_state_dict` needs.

        Args:
            ranks: The processes; with several, all of them have to call this.
            device: Of the model: its random state belongs to it.
        """
        rng = {"cpu": torch.get_rng_state()}
        if device.type == "cuda":
            rng["cuda"] = torch.cuda.get_rng_state(device)
        state = {
            "progress": vars(self.progress),
            "rng": rng,
            **{name: part.state_dict() for name, part in self._parts()},
        }
        if ranks.several:  # all else is the same in every process
            loss_sum = torch.tensor(self.progress.loss_sum, dtype=torch.float64)
            state["ranks"] = ranks.gather_tensors({**rng, "loss_sum": loss_sum})
        return state

    def load_state_dict(
        self, state: dict[str, Any], ranks: Ranks, device: torch.device, *, seed: int
    ) -> None:
        """Become what the state dict was made of.

        The schedule is a function of the number of updates, so it isn't restored but asked: with
        another number of epochs than then, it is that of the new one.

        Args:
            state: Of :meth:`state_dict`, by as many processes or by others.
            ranks: The processes.
            device: Of the model.
            seed: The run's, for a process that wasn't there.

        Raises:
            KeyError, IndexError, TypeError, ValueError, RuntimeError, AttributeError: something is
                missing or doesn't fit.
        """
        for name, value in vars(Progress(**state["progress"])).items():
            setattr(self.progress, name, value)
        for name, part in self._parts():
            if name != "schedule":
                part.load_state_dict(state[name])
        self.schedule.step_update(self.progress.updates)
        self._load_random_state(state, ranks, device, seed)

    def _load_random_state(
        self, state: dict[str, Any], ranks: Ranks, device: torch.device, seed: int
    ) -> None:
        """Restore what each process has of its own."""
        progress = self.progress
        saved = state.get("ranks") or [{**state["rng"], "loss_sum": progress.loss_sum}]
        if len(saved) == ranks.world_size:
            progress.loss_sum = float(saved[ranks.rank]["loss_sum"])
        else:  # each had the mean losses of its share of every batch
            progress.loss_sum = math.fsum(float(each["loss_sum"]) for each in saved) / len(saved)
        if ranks.rank >= len(saved):
            torch.manual_seed(seed + (ranks.rank << 32) + progress.updates)
            return
        rng = saved[ranks.rank]
        torch.set_rng_state(rng["cpu"])
        if "cuda" in rng and device.type == "cuda":
            torch.cuda.set_rng_state(rng["cuda"], device)

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Everything that training changes, by name."""
        yield from self.weights.state_dict().items()
        if self.ema is not None:
            yield from self.model.state_dict().items()
        for values in self.optimizer.state.values():
            yield from ((f"optimiser {k}", v) for k, v in values.items() if torch.is_tensor(v))

    def _parts(self) -> Iterator[tuple[str, Any]]:
        names = ("model", "optimizer", "schedule", "scaler")
        averaged = [("ema", self.ema.module)] if self.ema is not None else []
        return itertools.chain(((name, getattr(self, name)) for name in names), averaged)
