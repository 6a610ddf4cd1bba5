"""What training changes, all of which a checkpoint keeps: weights, optimiser, progress."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

Kept = dict[str, Any]
"""``epoch`` (from 1), ``val_f1_macro`` and ``val_loss`` of an epoch whose weights are kept."""


@dataclass
class Progress:
    """How far a run has come: all of it is in every checkpoint.

    Attributes:
        epoch: The epoch under way, from 0.
        step: Batches of it that are done: the loader's position. In a checkpoint it always stands
            at the end of an update, so no gradient is half accumulated.
        updates: Updates of the weights since the beginning.
        lr: Learning rate of the last update, the head's.
        loss_sum: Sum of the batches' mean losses in this epoch.
        kept: The best epochs, the best first; at least the best one.
        stale: Epochs since macro-F1 last rose.
        history: One row for each finished epoch, the rows of ``metrics.csv``.
    """

    epoch: int = 0
    step: int = 0
    updates: int = 0
    lr: float = 0.0
    loss_sum: float = 0.0
    kept: list[Kept] = field(default_factory=list)
    stale: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    def start_next_epoch(self) -> None:
        """Begin the epoch after this one at its first batch."""
        self.epoch, self.step, self.loss_sum = self.epoch + 1, 0, 0.0


@dataclass(eq=False)
class TrainingState:
    """What training changes.

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

    @property
    def lr(self) -> float:
        """The learning rate of the next update, the head's."""
        return max(group["lr"] for group in self.optimizer.param_groups)

    def state_dict(self) -> dict[str, Any]:
        """Return what :meth:`load_state_dict` needs; its tensors are the state's own."""
        return {
            "progress": vars(self.progress),
            **{name: part.state_dict() for name, part in self._parts()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become what the state dict was made of.

        The schedule is a function of the number of updates, so it isn't restored but asked: with
        another number of epochs than then, it is that of the new one.

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
