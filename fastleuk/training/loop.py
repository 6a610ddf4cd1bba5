"""The training loop: epochs, early stopping, checkpoints. Reads from top to bottom."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fastleuk.config import OptimConfig, RunConfig
from fastleuk.errors import CheckpointError
from fastleuk.evaluation.metrics import classification_metrics
from fastleuk.evaluation.predict import predict
from fastleuk.files import write_rows
from fastleuk.loading.batch import Batch, Loader
from fastleuk.models.device import Precision, kernels
from fastleuk.run_folder.names import LAST, METRICS
from fastleuk.tracking.writers import Writers
from fastleuk.training.checkpoint.best import Kept, publish, ranked, write_best
from fastleuk.training.checkpoint.file import save_checkpoint
from fastleuk.training.checkpoint.snapshot import TrainingState
from fastleuk.training.distributed.join import accumulating, share_gradients, statistics
from fastleuk.training.distributed.ranks import ALONE, Ranks
from fastleuk.training.interrupt import Interrupted, StopRequest
from fastleuk.training.objective import Objective
from fastleuk.training.optimizer import (
    build_average,
    build_optimizer,
    build_schedule,
    train_mode,
    update_share,
)
from fastleuk.training.profile import StepProfile
from fastleuk.training.progress_bar import EpochProgress
from fastleuk.training.state import Progress, epoch_line, epoch_row
from fastleuk.training.step_losses import CHECK_EVERY, NonFiniteError, StepLosses

ASK_EVERY = 10
"""Updates on several GPUs between two times that the processes ask each other for signals; on a
CPU they do after each."""


@dataclass
class Trainer:
    """A model, what trains it, and where the run is kept.

    Args:
        model: The network, on the device, channels_last.
        train_loader: Shuffled batches.
        val_loader: Un-augmented batches for early stopping.
        precision: Device and autocast dtype.
        config: How it is trained.
        run: Seed, compilation, determinism, checkpoints, profile.
        class_names: Names by label.
        class_counts: int64 ``(C,)``, samples of each class in an epoch, for class weights.
        files: Paths by row of the manifest.
        run_dir: Where checkpoints and ``metrics.csv`` go.
        identity: What the checkpoint belongs to; resuming compares it.
        metadata: What is stored with the best weights, fit for JSON.
        writer: Takes each epoch's row.
        report: Takes the line printed after each epoch.
        ranks: This process among those that train the model; the first one writes.
    """

    model: nn.Module
    train_loader: Loader
    val_loader: Loader
    precision: Precision
    config: OptimConfig
    run: RunConfig
    class_names: tuple[str, ...]
    class_counts: np.ndarray
    files: Sequence[str]
    run_dir: Path
    identity: dict[str, Any]
    metadata: dict[str, Any]
    writer: Writers | None = None
    report: Callable[[str], None] = print
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        device, config = self.precision.device, self.config
        self.optimizer = build_optimizer(self.model, config, device)
        updates = -(-len(self.train_loader) // config.accumulate)
        self.schedule = build_schedule(self.optimizer, config, updates_per_epoch=updates)
        self.scaler = self.precision.scaler()
        self.ema = build_average(self.model, config.ema)
        self.progress = Progress()
        self.state = TrainingState(
            self.model, self.optimizer, self.schedule, self.scaler, self.ema, self.progress
        )
        self.objective = Objective(
            config,
            counts=self.class_counts,
            seed=self.run.seed,
            device=device,
            rank=self.ranks.rank,
        )
        self.profile = StepProfile(
            self.run.profile if self.ranks.first else 0,
            run_dir=self.run_dir,
            device=device,
            report=self.report,
        )
        self.losses = self._new_losses()
        self._saved_at = time.monotonic()
        # What a training batch goes through. Weights are always read from, and loaded into,
        # self.model.
        self.network: Callable[..., Any] = self.model
        if self.run.compile:
            self.network = torch.compile(self.model)

    def fit(self) -> None:
        """Train until the last epoch or until patience runs out.

        Raises:
            Interrupted: SIGINT or SIGTERM came; the checkpoint has been written.
            NonFiniteError: training diverged; the last checkpoint is from before that.
        """
        with (
            kernels(self.precision.device, deterministic=self.run.deterministic),
            StopRequest() as stop,
        ):
            self._begin()
            while not self.finished:
                loss, timing = self._train_epoch(stop)
                self._validate(loss, timing)
                self._save()
                self._publish()
                signal_number, _ = self._asked(stop)
                if signal_number and not self.finished:
                    self._interrupt(signal_number)
            self.profile.close()

    @property
    def finished(self) -> bool:
        """Whether no epoch is left, or patience has run out."""
        over = self.progress.epoch >= self.config.epochs
        return over or self.progress.stale >= self.config.patience

    def _train_epoch(self, stop: StopRequest) -> tuple[float, dict[str, float]]:
        progress, steps = self.progress, len(self.train_loader)
        train_mode(self.model, head_only=progress.epoch < self.config.freeze_epochs)
        self.network = share_gradients(self.network, self.ranks, fixed=self._fixed)
        self.losses = self._new_losses()
        batches = self.train_loader.epoch(progress.epoch, progress.step)
        title = f"epoch {progress.epoch + 1}/{self.config.epochs}"
        hidden = not self.ranks.first
        with EpochProgress(title, total=steps, done=progress.step, hidden=hidden) as bar:
            for batch in self.profile.waits(bar.timed(batches)):
                share, last = update_share(progress.step, steps, self.config.accumulate)
                with accumulating(self.network, last):
                    loss = self._backward(batch, share)
                self.losses.add(progress.step, loss, batch.indices, self.lr)
                if last:
                    self._update()
                progress.step += 1
                bar.advance(len(batch.labels) * self.ranks.world_size)
                self.profile.step()
                if len(self.losses) >= CHECK_EVERY:
                    self._check()
                if not last or progress.updates % self._ask_every:
                    continue
                signal_number, due = self._asked(stop)
                if signal_number or due:
                    self._save()
                if signal_number:
                    self._interrupt(signal_number)
            loss_sum = self._check(state=True)
        return self.ranks.mean(loss_sum / progress.step), bar.timing

    def _backward(self, batch: Batch, share: float) -> torch.Tensor:
        """Add a batch's part of the gradient; returns its loss, on the device."""
        device, progress = self.precision.device, self.progress
        with self.profile.part("forward"):
            images, targets = self.objective.prepare(
                batch.images.to(device, non_blocking=True),
                batch.labels.to(device, non_blocking=True),
                epoch=progress.epoch,
                step=progress.step,
            )
            with self.precision.autocast():
                logits = self.network(images)
            loss = self.objective(logits.float(), targets)
        with self.profile.part("backward"):
            self.scaler.scale(loss * share).backward()
        return loss.detach()

    def _update(self) -> None:
        """Change the weights by the gradient that has gathered."""
        progress = self.progress
        with self.profile.part("optimiser"):
            if self.config.clip_grad:
                self.scaler.unscale_(self.optimizer)
                nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_grad)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.optimizer.zero_grad(set_to_none=True)
            progress.updates, progress.lr = progress.updates + 1, self.lr
            self.schedule.step_update(progress.updates)
            if self.ranks.several:
                self.ranks.average_(statistics(self.model))
            if self.ema is not None:
                self.ema.update(self.model, step=progress.updates)

    def _validate(self, train_loss: float, timing: dict[str, float]) -> None:
        progress, config = self.progress, self.config
        started = time.perf_counter()
        mine = predict(self.weights, self.val_loader, self.precision)
        predictions = self.ranks.gather_predictions(mine)
        if not np.isfinite(predictions.logits).all():
            raise NonFiniteError(
                f"The validation logits of epoch {progress.epoch + 1} are not finite. "
                f"{self._advice}"
            )
        figures, loss = self.ranks.shared(
            (
                classification_metrics(
                    predictions.labels, predictions.probabilities, self.class_names
                ),
                predictions.loss,
            )
        )
        new = {
            "epoch": progress.epoch + 1,
            "val_f1_macro": figures["f1_macro"],
            "val_loss": loss,
        }
        rose = not progress.kept or new["val_f1_macro"] > progress.kept[0]["val_f1_macro"]
        progress.stale = 0 if rose else progress.stale + 1
        progress.kept = ranked(progress.kept, new, config.keep_best)
        if self.ranks.first:
            write_best(
                self.run_dir,
                self.weights,
                progress.kept,
                epoch=new["epoch"],
                metadata={**self.metadata, "ema": config.ema > 0},
            )
        row = epoch_row(
            new,
            figures,
            train_loss=train_loss,
            lr=progress.lr,
            best=progress.kept[0]["epoch"] == new["epoch"],
        )
        row |= {**timing, "val_seconds": round(time.perf_counter() - started, 3)}
        progress.history.append(row)
        if self.writer is not None:
            self.writer.log(row, new["epoch"])
        self.report(epoch_line(row, config.epochs))
        progress.epoch, progress.step, progress.loss_sum = progress.epoch + 1, 0, 0.0
        self.losses = self._new_losses()

    @property
    def weights(self) -> nn.Module:
        """The model that counts: the moving average where there is one."""
        return self.state.weights

    @property
    def lr(self) -> float:
        """The learning rate of the next update, the head's."""
        return max(group["lr"] for group in self.optimizer.param_groups)

    def _new_losses(self) -> StepLosses:
        progress = self.progress
        return StepLosses(
            progress.epoch, total=progress.loss_sum, files=self.files, advice=self._advice
        )

    @property
    def _advice(self) -> str:
        return (
            f"Lower --lr (now {self.config.lr:g}), or train without --amp. {self.run_dir / LAST} "
            "holds the last sound state."
        )

    def _check(self, *, state: bool = False) -> float:
        """Return the sum of the epoch's losses; all processes raise where one is not finite."""
        with self.ranks.together():
            loss_sum = self.losses.check()
            if state:
                self.losses.check_tensors(self.state.tensors())
        return loss_sum

    def _interrupt(self, signal_number: int) -> None:
        self.ranks.barrier()  # the checkpoint is written before any process ends
        raise Interrupted(
            f"Stopped after step {self.progress.step} of epoch {self.progress.epoch + 1}. Go on "
            f"with: fastleuk train --resume {self.run_dir}",
            signal_number,
        )

    def _asked(self, stop: StopRequest) -> tuple[int, bool]:
        """Return the signal that any process got (0: none), and whether a checkpoint is due."""
        every = 60 * self.run.checkpoint_every
        due = 0 < every <= time.monotonic() - self._saved_at
        signal_number, save = self.ranks.highest(stop.signal or 0, int(due))
        return signal_number, bool(save)

    @property
    def _ask_every(self) -> int:
        """Updates between two questions of :meth:`_asked`."""
        return ASK_EVERY if self.ranks.several and self.precision.device.type == "cuda" else 1

    @property
    def _fixed(self) -> bool:
        return self.run.deterministic or self.precision.device.type == "cpu"

    def _save(self) -> None:
        """Write the checkpoint, of a sound state only."""
        self.progress.loss_sum = self._check(state=True)
        state = self.state.state_dict(self.ranks, self.precision.device)
        if self.ranks.first:
            save_checkpoint(self.run_dir / LAST, {"identity": self.identity, **state})
        self._saved_at = time.monotonic()

    def _publish(self) -> list[Kept]:
        """Bring weights and ``metrics.csv`` in line with the checkpoint, which decides.

        Returns:
            Of the best epochs those whose weights are lost.
        """
        if not self.ranks.first:
            return []
        lost = publish(self.run_dir, self.progress.kept, count=self.config.keep_best)
        if self.progress.history:
            write_rows(self.run_dir / METRICS, self.progress.history)
        return lost

    def _begin(self) -> None:
        """Complete what was cut short, and do without weights that are not there any more."""
        self._save()
        lost = self.ranks.shared(self._publish())
        for kept in lost:
            self.progress.kept.remove(kept)
            self.report(
                f"note: the weights of epoch {kept['epoch']}, one of the best, are not in "
                f"{self.run_dir}; the best of the epochs to come takes their place."
            )

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint's ``state``, whose identity the caller has compared.

        Raises:
            CheckpointError: something in it is missing or doesn't fit.
        """
        try:
            self.state.load_state_dict(state, self.ranks, self.precision.device, seed=self.run.seed)
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise CheckpointError(
                f"{self.run_dir / LAST} doesn't fit this run ({type(error).__name__}: {error}). "
                "It is damaged; start the run anew."
            ) from error
        self.losses = self._new_losses()
