"""The ways of loading that are compared: each an endless iterator of batches on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from fastleuk.augment import PAPER
from fastleuk.bench.spec import BenchSpec
from fastleuk.config import DataConfig, LoaderConfig
from fastleuk.data.load import DataSet
from fastleuk.data.open import open_dataset
from fastleuk.loading.stream import BatchPlan

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

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


def open_feed(spec: BenchSpec) -> tuple[Feed, Callable[[], None]]:
    """Open what ``spec.method`` names; return its batches and what closes it."""
    data = DataConfig(data=spec.data, subject_regex=spec.subject_regex, skip_bad=True)
    dataset = open_dataset(data, report=lambda _: None)
    if spec.method.startswith("dali"):
        return _dali(spec, dataset)
    from fastleuk.bench.dataloaders import open_dataloader

    return open_dataloader(spec, dataset)


def _dali(spec: BenchSpec, dataset: DataSet) -> tuple[Feed, Callable[[], None]]:
    from fastleuk.loading import make_loader
    from fastleuk.loading.prepare import open_pixels

    _, applier, source = spec.method.split("-")
    config = LoaderConfig(
        loader="dali",
        size=spec.size,
        batch_size=spec.batch_size,
        workers=spec.workers,
        cache=str(Path(spec.cache)) if source == "cache" else "off",
    )
    device = torch.device(spec.device)
    loader = make_loader(
        manifest=dataset.manifest,
        stream=EndlessStream(dataset.manifest.labelled, batch_size=spec.batch_size),
        config=config,
        policy=PAPER,
        mean=MEAN,
        std=STD,
        device=device,
        applier=applier,
        pixels=open_pixels(dataset, config, device, report=lambda _: None),
    )
    return ((batch.images, batch.labels) for batch in loader.epoch()), loader.close
