"""How far a run has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastleuk.training.checkpoint.best import Kept


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


def epoch_row(
    new: Kept, figures: Mapping[str, Any], *, train_loss: float, lr: float, best: bool
) -> dict[str, Any]:
    """Return an epoch's row of ``metrics.csv``, but for the columns that are times.

    Args:
        new: The epoch's number and score.
        figures: Of the validation, see :func:`fastleuk.evaluation.metrics.classification_metrics`.
        train_loss: Mean over the epoch.
        lr: The head's learning rate in the epoch's last update.
        best: Whether no epoch was better.
    """
    return {
        "epoch": new["epoch"],
        "train_loss": train_loss,
        "val_loss": new["val_loss"],
        "val_f1_macro": new["val_f1_macro"],
        "val_accuracy": figures["accuracy"],
        "val_auc": figures["auc"],
        "val_balanced_accuracy": figures["balanced_accuracy"],
        "lr": lr,
        "best": int(best),
    }


def epoch_line(row: dict[str, Any], epochs: int) -> str:
    """Return the line that is printed after an epoch, from its row of ``metrics.csv``."""
    auc = "  –   " if row["val_auc"] is None else f"{row['val_auc']:.4f}"
    return (
        f"epoch {row['epoch']:>3}/{epochs}  loss {row['train_loss']:.4f}  "
        f"val loss {row['val_loss']:.4f}  macro-F1 {row['val_f1_macro']:.4f}  AUC {auc}  "
        f"{row['images_per_s']:.0f} images/s  data wait {row['data_wait']:.1%}"
        f"{'  best' if row['best'] else ''}"
    )
