"""What a run leaves while it trains: checkpoint, weights of the best epochs, ``metrics.csv``."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fastleuk.errors import CheckpointError
from fastleuk.files import write_rows
from fastleuk.run_folder.names import LAST, METRICS
from fastleuk.training.checkpoint.best import publish, write_best
from fastleuk.training.checkpoint.file import save_checkpoint
from fastleuk.training.checkpoint.snapshot import restore, snapshot
from fastleuk.training.distributed.ranks import ALONE, Ranks
from fastleuk.training.state import Kept, Progress, TrainingState


@dataclass
class Keeper:
    """Writes a run's files so that they agree whenever it is killed; the first process does that.

    First the weights of an epoch (:meth:`write_weights`), then the checkpoint that ranks it
    (:meth:`save`), then :meth:`publish`, which a resumed run repeats.

    Args:
        run_dir: The run folder.
        device: Of the model.
        seed: The run's.
        identity: What the checkpoint belongs to; resuming compares it.
        metadata: What is stored with the best weights, fit for JSON.
        keep_best: Of how many best epochs the weights are kept.
        every: Seconds between checkpoints within an epoch; 0 for none.
        ranks: This process among those that train the model.
    """

    run_dir: Path
    device: torch.device
    seed: int = 0
    identity: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    keep_best: int = 1
    every: float = 0.0
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        self._saved_at = time.monotonic()

    @property
    def last(self) -> Path:
        """The checkpoint's file."""
        return self.run_dir / LAST

    @property
    def due(self) -> bool:
        """Whether the last checkpoint is so old that another is to be written."""
        return 0 < self.every <= time.monotonic() - self._saved_at

    def save(self, state: TrainingState) -> None:
        """Write the checkpoint; all processes have to call this."""
        saved = snapshot(state, self.ranks, self.device)
        if self.ranks.first:
            save_checkpoint(self.last, {"identity": self.identity, **saved})
        self._saved_at = time.monotonic()

    def restore(self, saved: dict[str, Any], state: TrainingState) -> None:
        """Put a checkpoint's content, whose identity the caller has compared, into ``state``.

        Raises:
            CheckpointError: something in it is missing or doesn't fit.
        """
        try:
            restore(saved, state, self.ranks, self.device, seed=self.seed)
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise CheckpointError(
                f"{self.last} doesn't fit this run ({type(error).__name__}: {error}). "
                "It is damaged; start the run anew."
            ) from error

    def write_weights(self, state: TrainingState, epoch: int) -> None:
        """Write the weights of ``epoch`` (from 1) aside, if it is one of the best."""
        if self.ranks.first:
            metadata = {**self.metadata, "ema": state.ema is not None}
            kept = state.progress.kept
            write_best(self.run_dir, state.weights, kept, epoch=epoch, metadata=metadata)

    def publish(self, progress: Progress) -> list[Kept]:
        """Bring weights and ``metrics.csv`` in line with the checkpoint, which decides.

        Returns:
            Of the best epochs those whose weights are lost.
        """
        if not self.ranks.first:
            return []
        lost = publish(self.run_dir, progress.kept, count=self.keep_best)
        if progress.history:
            write_rows(self.run_dir / METRICS, progress.history)
        return lost
