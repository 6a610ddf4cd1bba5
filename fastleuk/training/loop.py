"""The training loop: epochs, early stopping, checkpoints. Reads from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fastleuk.config import OptimConfig
from fastleuk.errors import FastleukError
from fastleuk.evaluation.metrics import classification_metrics
from fastleuk.evaluation.predict import predict
from fastleuk.files import write_rows
from fastleuk.loading.batch import Loader
from fastleuk.models.device import Precision
from fastleuk.training.checkpoint import BEST, LAST, save_best, save_checkpoint
from fastleuk.training.interrupt import StopRequest
from fastleuk.training.progress import EpochProgress


class Interrupted(FastleukError):
    """The run was stopped by a signal; its checkpoint is complete."""

    exit_code = 130


@dataclass
class Progress:
    """How far a run has come: all of it is in every checkpoint.

    Attributes:
        epoch: The epoch under way, from 0.
        step: Batches of it that are done.
        loss_sum: Sum of the batches' mean losses in this epoch.
        best_f1: Best validation macro-F1.
        best_loss: Validation loss at the best epoch; decides between equal macro-F1.
        stale: Epochs since macro-F1 last rose.
        history: One row for each finished epoch, the rows of ``metrics.csv``.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    best_f1: float = -1.0
    best_loss: float = math.inf
    stale: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Trainer:
    """A model, what trains it, and where the run is kept.

    Args:
        model: The network, on the device, channels_last.
        train_loader: Shuffled batches.
        val_loader: Un-augmented batches for early stopping.
        precision: Device and autocast dtype.
        config: Epochs, patience, learning rate.
        class_names: Names by label.
        run_dir: Where checkpoints and ``metrics.csv`` go.
        identity: What the checkpoint belongs to; resuming compares it.
        metadata: What is stored with the best weights, fit for JSON.
        report: Takes the line printed after each epoch.
    """

    model: nn.Module
    train_loader: Loader
    val_loader: Loader
    precision: Precision
    config: OptimConfig
    class_names: tuple[str, ...]
    run_dir: Path
    identity: dict[str, str]
    metadata: dict[str, Any]
    report: Callable[[str], None] = print
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        fused = self.precision.device.type == "cuda"
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=self.config.lr, fused=fused)
        self.scaler = self.precision.scaler()
        self.loss_function = nn.CrossEntropyLoss()

    def fit(self) -> None:
        """Train until the last epoch or until patience runs out.

        Raises:
            Interrupted: SIGINT or SIGTERM came; the checkpoint has been written.
            FastleukError: the loss is not finite.
        """
        with StopRequest() as stop:
            self._save()
            while not self.finished:
                loss, timing = self._train_epoch(stop)
                self._validate(loss, timing)
                self._save()
                if stop and not self.finished:
                    self._interrupt()

    @property
    def finished(self) -> bool:
        """Whether no epoch is left, or patience has run out."""
        over = self.progress.epoch >= self.config.epochs
        return over or self.progress.stale >= self.config.patience

    def _train_epoch(self, stop: StopRequest) -> tuple[float, dict[str, float]]:
        progress, device = self.progress, self.precision.device
        loss_sum = torch.tensor(progress.loss_sum, device=device, dtype=torch.float64)
        batches = self.train_loader.epoch(progress.epoch, progress.step)
        self.model.train()
        title = f"epoch {progress.epoch + 1}/{self.config.epochs}"
        with EpochProgress(title, total=len(self.train_loader), done=progress.step) as bar:
            for batch in bar.timed(batches):
                loss_sum += self._step(batch.images, batch.labels)
                progress.step += 1
                bar.advance(len(batch.labels))
                if stop:
                    progress.loss_sum = loss_sum.item()
                    self._interrupt()
            mean_loss = loss_sum.item() / progress.step
        if not math.isfinite(mean_loss):
            raise FastleukError(
                f"The training loss became {mean_loss} in epoch {progress.epoch + 1}. Lower --lr "
                f"(now {self.config.lr:g}) or train without --amp. {self.run_dir / LAST} still "
                "holds the state before this epoch."
            )
        return mean_loss, bar.timing

    def _step(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        device = self.precision.device
        with self.precision.autocast():
            logits = self.model(images.to(device, non_blocking=True))
        loss = self.loss_function(logits.float(), labels.to(device, non_blocking=True))
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()

    def _validate(self, train_loss: float, timing: dict[str, float]) -> None:
        progress = self.progress
        started = time.perf_counter()
        predictions = predict(self.model, self.val_loader, self.precision)
        figures = classification_metrics(
            predictions.labels, predictions.probabilities, self.class_names
        )
        f1, loss = figures["f1_macro"], predictions.loss
        rose = f1 > progress.best_f1
        best = rose or (f1 == progress.best_f1 and loss < progress.best_loss)
        progress.stale = 0 if rose else progress.stale + 1
        if best:
            progress.best_f1, progress.best_loss = f1, loss
            save_best(self.run_dir / BEST, self.model, self.metadata)
        progress.history.append(
            {
                "epoch": progress.epoch + 1,
                "train_loss": train_loss,
                "val_loss": loss,
                "val_f1_macro": f1,
                "val_accuracy": figures["accuracy"],
                "val_auc": figures["auc"],
                "val_balanced_accuracy": figures["balanced_accuracy"],
                "lr": self.config.lr,
                "best": int(best),
                **timing,
                "val_seconds": round(time.perf_counter() - started, 3),
            }
        )
        write_rows(self.run_dir / "metrics.csv", progress.history)
        self.report(_epoch_line(progress.history[-1], self.config.epochs))
        progress.epoch, progress.step, progress.loss_sum = progress.epoch + 1, 0, 0.0

    def _interrupt(self) -> None:
        self._save()
        raise Interrupted(
            f"Stopped after step {self.progress.step} of epoch {self.progress.epoch + 1}. Go on "
            f"with: fastleuk train --resume {self.run_dir}"
        )

    def _save(self) -> None:
        rng = {"cpu": torch.get_rng_state()}
        if self.precision.device.type == "cuda":
            rng["cuda"] = torch.cuda.get_rng_state(self.precision.device)
        save_checkpoint(
            self.run_dir / LAST,
            {
                "identity": self.identity,
                "progress": vars(self.progress),
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "rng": rng,
            },
        )

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint's ``state``, whose identity the caller has compared."""
        self.progress = Progress(**state["progress"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["rng"]["cpu"])
        if "cuda" in state["rng"] and self.precision.device.type == "cuda":
            torch.cuda.set_rng_state(state["rng"]["cuda"], self.precision.device)


def _epoch_line(row: dict[str, Any], epochs: int) -> str:
    auc = "  –   " if row["val_auc"] is None else f"{row['val_auc']:.4f}"
    return (
        f"epoch {row['epoch']:>3}/{epochs}  loss {row['train_loss']:.4f}  "
        f"val loss {row['val_loss']:.4f}  macro-F1 {row['val_f1_macro']:.4f}  AUC {auc}  "
        f"{row['images_per_s']:.0f} images/s  data wait {row['data_wait']:.1%}"
        f"{'  best' if row['best'] else ''}"
    )
