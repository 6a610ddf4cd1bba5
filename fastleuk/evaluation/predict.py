"""Run a model over a loader."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from fastleuk.evaluation.probabilities import softmax

if TYPE_CHECKING:
    from fastleuk.loading.batch import Loader
    from fastleuk.models.device import Precision


@dataclass(frozen=True, eq=False, slots=True)
class Predictions:
    """What a model said, in the order of the loader.

    Attributes:
        indices: int64 ``(N,)``, rows of the manifest.
        labels: int64 ``(N,)``.
        logits: float32 ``(N, C)``; of several views, float64: the logarithm of the mean of their
            probabilities.
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
def predict(
    model: torch.nn.Module,
    loader: Loader,
    precision: Precision,
    *,
    views: Callable[[torch.Tensor], Iterable[torch.Tensor]] | None = None,
) -> Predictions:
    """Give the logits of every sample of an un-augmented loader, exactly once each.

    The model is left in the mode (training or evaluation) it came in.

    Args:
        model: The network, on the device of ``precision``.
        loader: Batches of an epoch.
        precision: Device and autocast dtype.
        views: Makes the views of a batch, see :class:`fastleuk.evaluation.tta.Views`; their
            probabilities are averaged. None: the batch as it is.
    """
    was_training = model.training
    model.eval()
    collected: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    try:
        for batch in loader.epoch():
            images = batch.images.to(precision.device, non_blocking=True)
            viewed = _view_logits(model, images, precision, views)
            collected.append((batch.indices, batch.labels, viewed))
    finally:
        model.train(was_training)
    indices, labels, logits = (
        torch.cat(parts).cpu().numpy() for parts in zip(*collected, strict=True)
    )
    return Predictions(indices, labels, _one_of(logits))


@torch.inference_mode()
def predict_batch(
    model: torch.nn.Module,
    images: torch.Tensor,
    precision: Precision,
    *,
    views: Callable[[torch.Tensor], Iterable[torch.Tensor]] | None = None,
) -> np.ndarray:
    """Give the logits of one batch, as :func:`predict` gives those of a loader's.

    Args:
        model: The network in evaluation mode, on the device of ``precision``.
        images: float32 ``(N, 3, H, W)``, normalised.
        precision: Device and autocast dtype.
        views: See :func:`predict`.

    Returns:
        ``(N, C)``, see :attr:`Predictions.logits`.
    """
    placed = images.to(precision.device, non_blocking=True)
    return _one_of(_view_logits(model, placed, precision, views).cpu().numpy())


def _view_logits(
    model: torch.nn.Module,
    images: torch.Tensor,
    precision: Precision,
    views: Callable[[torch.Tensor], Iterable[torch.Tensor]] | None,
) -> torch.Tensor:
    """Return float32 ``(N, V, C)``."""
    logits = []
    for view in views(images) if views else (images,):
        with precision.autocast():
            logits.append(model(view).float())
    return torch.stack(logits, dim=1)


def _one_of(logits: np.ndarray) -> np.ndarray:
    """Merge the views of ``logits`` ``(N, V, C)``."""
    if logits.shape[1] == 1:
        return logits[:, 0]
    count = logits.shape[2]
    chances = softmax(logits.reshape(-1, count)).reshape(logits.shape).mean(axis=1)
    return np.log(np.maximum(chances, np.finfo(np.float64).tiny))
