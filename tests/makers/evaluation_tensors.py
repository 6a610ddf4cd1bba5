"""Batches of random tensors for the tests of evaluation."""

import torch

from fastleuk.loading.batch import Batch
from fastleuk.models.device import Precision

CPU = Precision(torch.device("cpu"), torch.float32)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BLACK = [-m / s for m, s in zip(MEAN, STD, strict=True)]


def random_images(count=5, side=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, side, side, generator=generator)


class Batches:
    """A loader over tensors; it keeps nothing between epochs."""

    def __init__(self, images, batch_size):
        self.images, self.batch_size = images, batch_size

    def epoch(self, epoch=0, start=0):
        del epoch
        for first in range(start, len(self.images), self.batch_size):
            index = torch.arange(first, min(first + self.batch_size, len(self.images)))
            yield Batch(self.images[index], index % 2, index)
