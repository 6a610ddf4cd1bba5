"""Run a model over a loader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from fastleuk.evaluation.metrics import softmax

if TYPE_CHECKING:
    from fastleuk.loading.batch import Loader
    from fastleuk.models.device import Precision


@dataclass(frozen=True, eq=False, slots=True)
class Predictions:
    """What a model said, in the order of the loader.

    Attributes:
        indices: int64 ``(N,)``, rows of the manifest.
        labels: int64 ``(N,)``.
        logits: float32 ``(N, C)``.
    """

    indices: np.ndarray
    labels: np.ndarray
    logits: np.ndarray

    @property
    def probabilities(self) -> np.ndarray:
        """Class probabilities, float64 ``(N, C)``."""
        return softmax(self.logits)

    @property
    def loss(self) -> float:
        """Mean cross-entropy."""
        chosen = self.probabilities[np.arange(len(self.labels)), self.labels]
        return float(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)).mean())


@torch.inference_mode()
def predict(model: torch.nn.Module, loader: Loader, precision: Precision) -> Predictions:
    """Give the logits of every sample of an un-augmented loader, exactly once each.

    The model is left in the mode (training or evaluation) it came in.
    """
    was_training = model.training
    model.eval()
    collected: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    try:
        for batch in loader.epoch():
            with precision.autocast():
                logits = model(batch.images.to(precision.device, non_blocking=True))
            collected.append((batch.indices, batch.labels, logits.float()))
    finally:
        model.train(was_training)
    indices, labels, logits = (
        torch.cat(parts).cpu().numpy() for parts in zip(*collected, strict=True)
    )
    return Predictions(indices, labels, logits)
