"""What a run says of cells, as it is applied: calibrated, and at its threshold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastleuk.data.load import DataSet
from fastleuk.evaluation.decision import read_decision
from fastleuk.evaluation.predict import Predictions


@dataclass(frozen=True, eq=False, slots=True)
class Predicted:
    """What the run says of K cells, calibrated and at its threshold.

    Attributes:
        rows: int64 ``(K,)``, rows of the manifest.
        labels: int64 ``(K,)``, the true classes; -1 is unknown.
        probabilities: float64 ``(K, C)``.
        classes: int64 ``(K,)``, those predicted.
    """

    rows: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    classes: np.ndarray

    def place(self, row: int) -> int:
        """Return where a row of the manifest stands here."""
        return int(np.flatnonzero(self.rows == row)[0])

    def kind(self, row: int) -> tuple[int, bool]:
        """Return the true class of a cell, and whether it was recognised."""
        place = self.place(row)
        label = int(self.labels[place])
        return label, label == int(self.classes[place])


def decided(run_dir: Path, predictions: Predictions, dataset: DataSet) -> Predicted:
    """Apply a run's temperature and threshold to its predictions.

    Args:
        run_dir: The run folder.
        predictions: Of its weights.
        dataset: What they are of.

    Raises:
        CheckpointError: the run's decision is damaged, or of other weights.
    """
    decision = read_decision(run_dir, class_names=dataset.manifest.class_names)
    chances = decision.probabilities(predictions.logits, logits=True)
    rows = predictions.indices
    return Predicted(rows, dataset.manifest.labels[rows], chances, decision.labels(chances))
