"""``Dataset`` and ``DataLoader`` around the chains of :mod:`fastleuk.bench.contenders.chains`.

As torch's own tutorials write them; nothing of fastleuk's engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler

from fastleuk.bench.contenders.chains import ON_BATCHES, ON_IMAGES, plain_tensor
from fastleuk.bench.contenders.stream import Feed
from fastleuk.bench.spec import BenchSpec
from fastleuk.data.manifest import Manifest
from fastleuk.errors import DataError

PREFETCH = 2
"""Batches each worker works ahead: DataLoader's default."""


class Files(Dataset):
    """Image files and labels; ``load`` turns a file into what is collated."""

    def __init__(
        self, files: Sequence[Path], labels: Sequence[int], load: Callable[[Path], Any]
    ) -> None:
        self.files, self.labels, self.load = files, labels, load

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.load(self.files[index]), self.labels[index]


class Endless(Sampler):
    """Shuffled again and again."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng(7)
        while True:
            yield from rng.permutation(self.count).tolist()


def open_manifest(spec: BenchSpec, manifest: Manifest) -> tuple[Feed, Callable[[], None]]:
    """Open the ``DataLoader`` of ``spec.method`` over a manifest's labelled images."""
    if manifest.packed:
        raise DataError("reads files, not tar shards")
    files = [manifest.file(int(row)) for row in manifest.labelled]
    return open_dataloader(spec, files, manifest.labels[manifest.labelled].tolist())


def open_dataloader(
    spec: BenchSpec, files: Sequence[Path], labels: Sequence[int]
) -> tuple[Feed, Callable[[], None]]:
    """Open the ``DataLoader`` of ``spec.method``."""
    images = Files(files, labels, _load(spec.method, spec.size))
    device = torch.device(spec.device)
    loader = DataLoader(
        images,
        sampler=Endless(len(images)),
        batch_size=spec.batch_size,
        num_workers=spec.workers,
        prefetch_factor=PREFETCH if spec.workers else None,
        pin_memory=device.type == "cuda",
        worker_init_fn=_one_thread,
    )
    batches = iter(loader)
    on_batches = ON_BATCHES.get(spec.method)
    finish = on_batches(spec.size, device) if on_batches else None

    def feed() -> Feed:
        for images, labels in batches:
            images = images.to(device, non_blocking=True)
            labels = labels.to(device, non_blocking=True)
            yield (finish(images) if finish else images), labels

    def close() -> None:
        if hasattr(batches, "_shutdown_workers"):
            batches._shutdown_workers()

    return feed(), close


def _load(method: str, size: int) -> Callable[[Path], torch.Tensor]:
    chain = ON_IMAGES.get(method, plain_tensor)(size)
    return _Array(chain) if method == "albumentations" else _Pil(chain)


def _one_thread(_worker: int) -> None:
    """Keep OpenCV from starting a thread a core in every worker; torch does so by itself."""
    try:
        import cv2
    except ImportError:
        return
    cv2.setNumThreads(0)


class _Pil:
    """Read with PIL, then ``transform``; a class, so that it pickles into workers."""

    def __init__(self, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.transform = transform

    def __call__(self, file: Path) -> torch.Tensor:
        with Image.open(file) as image:
            return self.transform(image.convert("RGB"))


class _Array:
    """Read with OpenCV, as albumentations' documentation does, then ``transform`` the RGB array."""

    def __init__(self, transform: Callable[[Any], torch.Tensor]) -> None:
        self.transform = transform

    def __call__(self, file: Path) -> torch.Tensor:
        import cv2

        image = cv2.imread(str(file))
        assert image is not None, f"{file} could not be read"
        return self.transform(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
