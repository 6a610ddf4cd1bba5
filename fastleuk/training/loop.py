"""The training loop: epochs, early stopping, checkpoints. Reads from top to bottom."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from fastleuk.config import OptimConfig, RunConfig
from fastleuk.evaluation.metrics import classification_metrics
from fastleuk.evaluation.predict import predict
from fastleuk.loading.batch import Batch, Loader
from fastleuk.models.device import Precision, kernels
from fastleuk.shell import quoted
from fastleuk.tracking.writers import Writers
from fastleuk.training.checkpoint.best import ranked
from fastleuk.training.checkpoint.keeper import Keeper
from fastleuk.training.distributed.join import accumulating, share_gradients, statistics
from fastleuk.training.distributed.ranks import ALONE, Ranks
from fastleuk.training.interrupt import Interrupted, StopRequest
from fastleuk.training.objective import Objective
from fastleuk.training.optimizer import train_mode, update_share
from fastleuk.training.reports.epoch_report import epoch_line, epoch_row
from fastleuk.training.reports.profile import StepProfile
from fastleuk.training.reports.progress_bar import EpochBar
from fastleuk.training.state import Progress, TrainingState
from fastleuk.training.step_losses import CHECK_EVERY, NonFiniteError, StepLosses

ASK_EVERY = 10
"""Updates on several GPUs between two times that the processes ask each other for signals; on a
CPU they do after each."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingData:
    """The images that a model is trained and validated on.

    Attributes:
        train: Shuffled batches.
        val: Un-augmented batches for early stopping.
        class_names: Names by label.
        files: Paths by row of the manifest.
    """

    train: Loader
    val: Loader
    class_names: tuple[str, ...]
    files: Sequence[str]

    def close(self) -> None:
        """Free what the loaders hold."""
        self.train.close()
        self.val.close()


@dataclass(kw_only=True)
class Trainer:
    """Changes a state by batches until the last epoch, or until patience runs out.

    Args:
        state: What is trained: model, optimiser, schedule, moving average, progress.
        objective: What is minimised.
        data: What on.
        precision: Device and autocast dtype.
        config: Epochs, patience, accumulation, clipping, frozen epochs.
        run: Compilation and determinism.
        keeper: Writes checkpoints and the best weights.
        ranks: This process among those that train the model; the first one writes.
        profile: Of the steps.
        writer: Takes each epoch's row.
        report: Takes the line printed after each epoch.
    """

    state: TrainingState
    objective: Objective
    data: TrainingData
    precision: Precision
    config: OptimConfig
    run: RunConfig
    keeper: Keeper
    ranks: Ranks = ALONE
    profile: StepProfile = field(default_factory=StepProfile)
    writer: Writers | None = None
    report: Callable[[str], None] = print

    def __post_init__(self) -> None:
        self.losses = self._new_losses()
        # What a training batch goes through. Weights are always read from, and loaded into,
        # state.model.
        self.network: Callable[..., Any] = self.state.model
        if self.run.compile:
            self.network = torch.compile(self.state.model)

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        return self.state.progress

    @property
    def finished(self) -> bool:
        """Whether no epoch is left, or patience has run out."""
        over = self.progress.epoch >= self.config.epochs
        return over or self.progress.stale >= self.config.patience

    def restore(self, saved: dict[str, Any]) -> None:
        """Continue from a checkpoint, whose identity the caller has compared.

        Raises:
            CheckpointError: something in it is missing or doesn't fit.
        """
        self.keeper.restore(saved, self.state)
        self.losses = self._new_losses()

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
                self.keeper.publish(self.progress)
                signal_number, _ = self._asked(stop)
                if signal_number and not self.finished:
                    self._interrupt(signal_number)
            self.profile.close()

    def _begin(self) -> None:
        """Complete what was cut short, and do without weights that are not there any more."""
        self._save()
        lost = self.ranks.shared(self.keeper.publish(self.progress))
        for kept in lost:
            self.progress.kept.remove(kept)
            self.report(
                f"note: the weights of epoch {kept['epoch']}, one of the best, are not in "
                f"{self.keeper.run_dir}; the best of the epochs to come takes their place."
            )

    def _train_epoch(self, stop: StopRequest) -> tuple[float, dict[str, float]]:
        progress, steps = self.progress, len(self.data.train)
        train_mode(self.state.model, head_only=progress.epoch < self.config.freeze_epochs)
        fixed = self.run.deterministic or self.precision.device.type == "cpu"
        self.network = share_gradients(self.network, self.ranks, fixed=fixed)
        self.losses = self._new_losses()
        batches = self.data.train.epoch(progress.epoch, progress.step)
        title = f"epoch {progress.epoch + 1}/{self.config.epochs}"
        hidden = not self.ranks.first
        with EpochBar(title, total=steps, done=progress.step, hidden=hidden) as bar:
            for batch in self.profile.waits(bar.timed(batches)):
                share, last = update_share(progress.step, steps, self.config.accumulate)
                with accumulating(self.network, last):
                    loss = self._backward(batch, share)
                self.losses.add(progress.step, loss, batch.indices, self.state.lr)
                if last:
                    self._update()
                progress.step += 1
                bar.advance(len(batch.labels) * self.ranks.world_size)
                self.profile.step()
                if len(self.losses) >= CHECK_EVERY:
                    self._check()
                if last and progress.updates % self._ask_every == 0:
                    self._answer(stop)
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
            self.state.scaler.scale(loss * share).backward()
        return loss.detach()

    def _update(self) -> None:
        """Change the weights by the gradient that has gathered."""
        state, progress = self.state, self.progress
        with self.profile.part("optimiser"):
            if self.config.clip_grad:
                state.scaler.unscale_(state.optimizer)
                nn.utils.clip_grad_norm_(state.model.parameters(), self.config.clip_grad)
            state.scaler.step(state.optimizer)
            state.scaler.update()
            state.optimizer.zero_grad(set_to_none=True)
            progress.updates, progress.lr = progress.updates + 1, state.lr
            state.schedule.step_update(progress.updates)
            if self.ranks.several:
                self.ranks.average_(statistics(state.model))
            if state.ema is not None:
                state.ema.update(state.model, step=progress.updates)

    def _validate(self, train_loss: float, timing: dict[str, float]) -> None:
        """Score the weights, keep them if they are among the best, and end the epoch."""
        progress, started = self.progress, time.perf_counter()
        figures, loss = self._score()
        new = {
            "epoch": progress.epoch + 1,
            "val_f1_macro": figures["f1_macro"],
            "val_loss": loss,
        }
        rose = not progress.kept or new["val_f1_macro"] > progress.kept[0]["val_f1_macro"]
        progress.stale = 0 if rose else progress.stale + 1
        progress.kept = ranked(progress.kept, new, self.config.keep_best)
        self.keeper.write_weights(self.state, new["epoch"])
        best = progress.kept[0]["epoch"] == new["epoch"]
        row = epoch_row(new, figures, train_loss=train_loss, lr=progress.lr, best=best)
        row |= {**timing, "val_seconds": round(time.perf_counter() - started, 3)}
        progress.history.append(row)
        if self.writer is not None:
            self.writer.log(row, new["epoch"])
        self.report(epoch_line(row, self.config.epochs))
        progress.start_next_epoch()
        self.losses = self._new_losses()

    def _score(self) -> tuple[dict[str, Any], float]:
        """Return figures and loss of the validation images, the same in each process."""
        mine = predict(self.state.weights, self.data.val, self.precision)
        predictions = self.ranks.gather_predictions(mine)
        if not np.isfinite(predictions.logits).all():
            raise NonFiniteError(
                f"The validation logits of epoch {self.progress.epoch + 1} are not finite. "
                f"{self._advice}"
            )
        labels, probabilities = predictions.labels, predictions.probabilities
        figures = classification_metrics(labels, probabilities, self.data.class_names)
        figures, loss = self.ranks.shared((figures, predictions.loss))
        return figures, loss

    def _save(self) -> None:
        """Write the checkpoint, of a sound state only."""
        self.progress.loss_sum = self._check(state=True)
        self.keeper.save(self.state)

    def _check(self, *, state: bool = False) -> float:
        """Return the sum of the epoch's losses; all processes raise where one is not finite."""
        with self.ranks.together():
            loss_sum = self.losses.check()
            if state:
                self.losses.check_tensors(self.state.tensors())
        return loss_sum

    def _new_losses(self) -> StepLosses:
        progress, files = self.progress, self.data.files
        return StepLosses(progress.epoch, total=progress.loss_sum, files=files, advice=self._advice)

    @property
    def _advice(self) -> str:
        return (
            f"Lower --lr (now {self.config.lr:g}), or train without --amp. {self.keeper.last} "
            "holds the last sound state."
        )

    @property
    def _ask_every(self) -> int:
        """Updates between two calls of :meth:`_answer`."""
        return ASK_EVERY if self.ranks.several and self.precision.device.type == "cuda" else 1

    def _answer(self, stop: StopRequest) -> None:
        """Write a checkpoint if one is due, and stop if that is asked for."""
        signal_number, due = self._asked(stop)
        if signal_number or due:
            self._save()
        if signal_number:
            self._interrupt(signal_number)

    def _asked(self, stop: StopRequest) -> tuple[int, bool]:
        """Return the signal that any process got (0: none), and whether a checkpoint is due."""
        signal_number, due = self.ranks.highest(stop.signal or 0, int(self.keeper.due))
        return signal_number, bool(due)

    def _interrupt(self, signal_number: int) -> None:
        self.ranks.barrier()  # the checkpoint is written before any process ends
        raise Interrupted(
            f"Stopped after step {self.progress.step} of epoch {self.progress.epoch + 1}. Go on "
            f"with: fastleuk train --resume {quoted(self.keeper.run_dir)}",
            signal_number,
        )
