"""What all ways of feeding share: the type of a feed, an order without end, the normalisation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from fastleuk.augment.batch import IMAGENET_MEAN as MEAN
from fastleuk.augment.batch import IMAGENET_STD as STD
from fastleuk.loading.stream import BatchPlan

__all__ = ["MEAN", "STD", "EndlessStream", "Feed"]

Feed = Iterator[tuple[torch.Tensor, torch.Tensor]]
"""Images ``(B, 3, H, W)`` float32, normalised, and labels ``(B,)``, on the device."""


class EndlessStream:
    """Every labelled image, augmented, in a new order again and again: no epoch ends.

    Args:
        rows: int64 ``(K,)``, rows of the manifest.
        batch_size: Samples a batch.
    """

    def __init__(self, rows: np.ndarray, *, batch_size: int) -> None:
        self.rows, self.batch_size = rows, batch_size

    def __len__(self) -> int:
        """Return the number of batches after which something must end: a great many."""
        return 1 << 40

    def batches(self, epoch: int = 0, start: int = 0) -> Iterator[BatchPlan]:
        """Yield plans without end."""
        left = np.empty(0, np.int64)
        every = np.ones(self.batch_size, dtype=bool)
        while True:
            while len(left) < self.batch_size:
                order = np.random.Generator(np.random.Philox(key=[7, epoch])).permutation(self.rows)
                left, epoch = np.concatenate([left, order]), epoch + 1
            rows, left = left[: self.batch_size], left[self.batch_size :]
            if start:
                start -= 1
            else:
                yield BatchPlan(rows, rows, every, epoch)
