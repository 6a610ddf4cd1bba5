"""An epoch's row of ``metrics.csv``, and the line that is printed after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastleuk.training.state import Kept


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
