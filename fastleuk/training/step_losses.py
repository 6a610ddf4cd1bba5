"""The losses of an epoch's steps, kept on the device and looked at together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from fastleuk.errors import FastleukError, listed

CHECK_EVERY = 50
"""Steps between two looks at the losses: each makes the host wait for the device once."""


class NonFiniteError(FastleukError):
    """Training has diverged; the last checkpoint is from before that.

    Attributes:
        step: The step of the epoch, from 1, at which that was seen; 0 where it was after all.
    """

    def __init__(self, message: str, *, step: int = 0) -> None:
        super().__init__(message)
        self.step = step


@dataclass(frozen=True, eq=False, slots=True)
class _Step:
    step: int
    loss: torch.Tensor
    indices: torch.Tensor
    lr: float


class StepLosses:
    """Sums the losses of an epoch and finds the first that is not finite.

    Adding one does not wait for the device. The sum is taken in float64 in the order of the steps,
    so it doesn't depend on when :meth:`check` is called.

    Args:
        epoch: From 0.
        total: Sum of the losses of the epoch's earlier steps.
        files: Paths by row of the manifest, to name a batch's images.
        advice: What the error's text ends with.
    """

    def __init__(
        self, epoch: int, *, total: float = 0.0, files: Sequence[str], advice: str = ""
    ) -> None:
        self._epoch, self._total, self._files, self._advice = epoch, total, files, advice
        self._pending: list[_Step] = []
        self._last: _Step | None = None

    def __len__(self) -> int:
        """Return how many losses were not looked at yet."""
        return len(self._pending)

    def add(self, step: int, loss: torch.Tensor, indices: torch.Tensor, lr: float) -> None:
        """Note a step's loss, a scalar on the device, and what it was computed from."""
        self._last = _Step(step, loss, indices, lr)
        self._pending.append(self._last)

    def check(self) -> float:
        """Return the sum of all losses so far.

        Raises:
            NonFiniteError: one is not finite; names the step, its learning rate and its images.
        """
        if self._pending:
            losses = torch.stack([noted.loss for noted in self._pending]).double().tolist()
            for noted, loss in zip(self._pending, losses, strict=True):
                if not math.isfinite(loss):
                    text = self._text(f"The training loss became {loss}", noted)
                    raise NonFiniteError(text, step=noted.step + 1)
                self._total += loss
            self._pending.clear()
        return self._total

    def check_tensors(self, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Refuse a state that is not finite: the losses up to here may have been.

        Raises:
            NonFiniteError: names the tensors and the last step.
        """
        bad = non_finite(tensors)
        if bad:
            what = f"{bad[0]} and {len(bad) - 1} other tensors" if len(bad) > 1 else bad[0]
            text = f"Not finite any more: {what}"
            if self._last is None:
                raise NonFiniteError(f"{text}.")
            raise NonFiniteError(self._text(text, self._last), step=self._last.step + 1)

    def _text(self, what: str, noted: _Step) -> str:
        names = [self._files[row] for row in noted.indices.tolist()]
        return (
            f"{what} in epoch {self._epoch + 1}, step {noted.step + 1}, at learning rate "
            f"{noted.lr:g}. {self._advice}\nThe batch's images:\n{listed(names, 512)}"
        )


def non_finite(tensors: Iterable[tuple[str, torch.Tensor]]) -> list[str]:
    """Return the names of floating-point tensors that hold an infinity or a NaN."""
    floats = [(name, value) for name, value in tensors if value.is_floating_point()]
    flags: dict[torch.device, list[tuple[str, torch.Tensor]]] = {}
    for name, value in floats:
        flags.setdefault(value.device, []).append((name, torch.isfinite(value).all()))
    return [
        name
        for found in flags.values()
        for (name, _), good in zip(
            found, torch.stack([flag for _, flag in found]).tolist(), strict=True
        )
        if not good
    ]
