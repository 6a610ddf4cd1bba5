"""The training loss: cross-entropy, label smoothing, class weights, mixup."""

from __future__ import annotations

import numpy as np
import torch
from timm.data import Mixup
from torch.nn import functional as F

from fastleuk.config import OptimConfig

_MIXUP = 10
"""Which of the seed's streams is mixup's; see fastleuk.data.balance for others."""


class Objective:
    """What training minimises.

    Class weights are applied sample by sample and the mean is over the samples, not over their
    weights, so that the batches of an update may be summed.

    Args:
        config: ``label_smoothing``, ``class_weights``, ``mixup``.
        counts: int64 ``(C,)``, samples of each class in an epoch.
        seed: Of mixup.
        device: Where the logits are.
        rank: Which of the processes this is: each mixes by shares of its own.
    """

    def __init__(
        self,
        config: OptimConfig,
        *,
        counts: np.ndarray,
        seed: int,
        device: torch.device,
        rank: int = 0,
    ) -> None:
        self._smoothing, self._classes = config.label_smoothing, len(counts)
        self._weights: torch.Tensor | None = None
        if config.class_weights == "balanced":
            self._weights = torch.tensor(balanced_weights(counts), dtype=torch.float32).to(device)
        self._mixup = SeededMixup(config.mixup, self._classes, seed, rank) if config.mixup else None

    def prepare(
        self, images: torch.Tensor, labels: torch.Tensor, *, epoch: int, step: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images and targets of a batch, mixed where mixup is on.

        Args:
            images: ``(B, 3, H, W)``, changed in place by mixup.
            labels: int64 ``(B,)``.
            epoch: From 0.
            step: The batch in its epoch, from 0.

        Returns:
            The images, and labels ``(B,)`` or probabilities float32 ``(B, C)``.
        """
        if self._mixup is not None:
            return self._mixup.at(epoch, step)(images, labels)
        if self._weights is not None:
            return images, F.one_hot(labels, self._classes).float()
        return images, labels

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of float32 ``logits`` ``(B, C)``."""
        return F.cross_entropy(
            logits, targets, weight=self._weights, label_smoothing=self._smoothing
        )


class SeededMixup(Mixup):
    """timm's mixup of a batch with its reverse, a pure function of (seed, epoch, step, rank)."""

    def __init__(self, alpha: float, classes: int, seed: int, rank: int = 0) -> None:
        super().__init__(mixup_alpha=alpha, label_smoothing=0.0, num_classes=classes)
        self._seed, self._rank, self._share = seed, rank, 1.0

    def at(self, epoch: int, step: int) -> SeededMixup:
        """Draw the share of a batch from its own counter-based stream; returns itself."""
        key = np.array([self._seed, epoch << 8 | _MIXUP], dtype=np.uint64)
        counter = np.array([0, step, self._rank, 0], dtype=np.uint64)
        rng = np.random.Generator(np.random.Philox(key=key, counter=counter))
        self._share = float(rng.beta(self.mixup_alpha, self.mixup_alpha))
        return self

    def _params_per_batch(self) -> tuple[float, bool]:
        return self._share, False  # timm draws it from NumPy's global state


def balanced_weights(counts: np.ndarray) -> np.ndarray:
    """Return float64 ``(C,)``: samples / (classes * samples of the class), as in scikit-learn.

    >>> balanced_weights(np.array([30, 10])).tolist()
    [0.6666666666666666, 2.0]
    """
    counts = np.asarray(counts, dtype=np.float64)
    return np.divide(counts.sum(), len(counts) * counts, out=np.ones_like(counts), where=counts > 0)
