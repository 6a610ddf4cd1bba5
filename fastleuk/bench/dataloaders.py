"""The paper's chain as users of torchvision, albumentations and kornia write it.

Plain ``Dataset`` and ``DataLoader`` with the libraries' own random transforms, each with the
paper's ranges (PAPER is the source of the numbers); nothing of fastleuk's engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision import transforms as v1
from torchvision.transforms import InterpolationMode, v2

from fastleuk.bench.feeds import MEAN, STD, Feed
from fastleuk.bench.spec import BenchSpec
from fastleuk.data.load import DataSet
from fastleuk.errors import DataError

BILINEAR = InterpolationMode.BILINEAR
PREFETCH = 2
"""Batches each worker works ahead: DataLoader's default."""


class Files(Dataset):
    """Image files and labels; ``load`` turns a file into what is collated."""

    def __init__(self, dataset: DataSet, load: Callable[[Path], Any]) -> None:
        manifest = dataset.manifest
        self.files = [manifest.file(int(row)) for row in manifest.labelled]
        self.labels = manifest.labels[manifest.labelled].tolist()
        self.load = load

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


def open_dataloader(spec: BenchSpec, dataset: DataSet) -> tuple[Feed, Callable[[], None]]:
    """Open the ``DataLoader`` of ``spec.method``."""
    if dataset.manifest.packed:
        raise DataError("reads files, not tar shards")
    load = LOADS[spec.method](spec.size)
    files = Files(dataset, load)
    device = torch.device(spec.device)
    loader = DataLoader(
        files,
        sampler=Endless(len(files)),
        batch_size=spec.batch_size,
        num_workers=spec.workers,
        prefetch_factor=PREFETCH if spec.workers else None,
        pin_memory=device.type == "cuda",
        worker_init_fn=_one_thread,
    )
    batches = iter(loader)
    finish = _kornia(spec.size, device) if spec.method == "kornia" else None

    def feed() -> Feed:
        for images, labels in batches:
            images = images.to(device, non_blocking=True)
            labels = labels.to(device, non_blocking=True)
            yield (finish(images) if finish else images), labels

    def close() -> None:
        if hasattr(batches, "_shutdown_workers"):
            batches._shutdown_workers()

    return feed(), close


def _one_thread(_worker: int) -> None:
    """Keep OpenCV from starting a thread a core in every worker; torch does so by itself."""
    try:
        import cv2
    except ImportError:
        return
    cv2.setNumThreads(0)


def torchvision_pil(size: int) -> Callable[[Path], torch.Tensor]:
    """The chain on PIL images, as in torchvision's own examples."""
    return _Pil(
        v1.Compose(
            [
                v1.Resize((size, size)),
                v1.RandomHorizontalFlip(0.5),
                v1.RandomVerticalFlip(0.5),
                v1.RandomRotation(25, interpolation=BILINEAR),
                v1.ColorJitter(0.3, 0.3, 0.3, 0.05),
                v1.RandomResizedCrop(size, scale=(0.7, 1.0), ratio=(0.75, 1.33)),
                v1.RandomAffine(
                    0,
                    translate=(0.05, 0.05),
                    scale=(0.95, 1.05),
                    shear=10,
                    interpolation=BILINEAR,
                ),
                v1.GaussianBlur(3, (0.1, 2.0)),
                v1.RandomAdjustSharpness(2, 0.3),
                v1.RandomPerspective(0.2, 0.3),
                v1.ToTensor(),
                v1.Normalize(MEAN, STD),
            ]
        )
    )


def torchvision_v2(size: int) -> Callable[[Path], torch.Tensor]:
    """The chain on uint8 tensors, as torchvision's v2 documentation recommends."""
    return _Pil(
        v2.Compose(
            [
                v2.PILToTensor(),
                v2.Resize((size, size), antialias=True),
                v2.RandomHorizontalFlip(0.5),
                v2.RandomVerticalFlip(0.5),
                v2.RandomRotation(25, interpolation=BILINEAR),
                v2.ColorJitter(0.3, 0.3, 0.3, 0.05),
                v2.RandomResizedCrop(size, scale=(0.7, 1.0), ratio=(0.75, 1.33), antialias=True),
                v2.RandomAffine(
                    0,
                    translate=(0.05, 0.05),
                    scale=(0.95, 1.05),
                    shear=10,
                    interpolation=BILINEAR,
                ),
                v2.GaussianBlur(3, (0.1, 2.0)),
                v2.RandomAdjustSharpness(2, 0.3),
                v2.RandomPerspective(0.2, 0.3),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )
    )


def albumentations(size: int) -> Callable[[Path], torch.Tensor]:
    """The chain in albumentations, read and resized with OpenCV."""
    import albumentations as A

    steps = [
        A.Resize(size, size, interpolation=_cv2().INTER_AREA),
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.5),
        A.Rotate((-25, 25), border_mode=_cv2().BORDER_CONSTANT, p=1),
        A.ColorJitter((0.7, 1.3), (0.7, 1.3), (0.7, 1.3), (-0.05, 0.05), p=1),
        A.RandomResizedCrop((size, size), scale=(0.7, 1.0), ratio=(0.75, 1.33), p=1),
        A.Affine(translate_percent=(-0.05, 0.05), scale=(0.95, 1.05), shear={"x": (-10, 10)}, p=1),
        A.GaussianBlur(blur_limit=3, sigma_limit=(0.1, 2.0), p=1),
        A.Sharpen(alpha=(0.5, 0.5), lightness=(1, 1), p=0.3),
        A.Perspective((0.05, 0.1), p=0.3),
        A.Normalize(MEAN, STD),
    ]
    return _Albumentations(A.Compose(steps))


def kornia(size: int) -> Callable[[Path], torch.Tensor]:
    """What kornia's batches are collated from: the resized tensor."""
    return _Pil(v2.Compose([v2.PILToTensor(), v2.Resize((size, size), antialias=True)]))


def _kornia(size: int, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    import kornia.augmentation as K

    chain = K.AugmentationSequential(
        K.RandomHorizontalFlip(p=0.5),
        K.RandomVerticalFlip(p=0.5),
        K.RandomRotation(25.0, p=1.0),
        K.ColorJitter(0.3, 0.3, 0.3, 0.05, p=1.0),
        K.RandomResizedCrop((size, size), scale=(0.7, 1.0), ratio=(0.75, 1.33), p=1.0),
        K.RandomAffine(0.0, translate=(0.05, 0.05), scale=(0.95, 1.05), shear=10.0, p=1.0),
        K.RandomGaussianBlur((3, 3), (0.1, 2.0), p=1.0),
        K.RandomSharpness(1.0, p=0.3),
        K.RandomPerspective(0.2, p=0.3),
        K.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
        data_keys=["input"],
    ).to(device)

    def finish(images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return chain(images.float() / 255)

    return finish


class _Pil:
    """Read with PIL, then ``transform``; a class, so that it pickles into workers."""

    def __init__(self, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.transform = transform

    def __call__(self, file: Path) -> torch.Tensor:
        with Image.open(file) as image:
            return self.transform(image.convert("RGB"))


class _Albumentations:
    """Read with OpenCV, then ``transform``."""

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __call__(self, file: Path) -> torch.Tensor:
        cv2 = _cv2()
        image = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
        return torch.from_numpy(self.transform(image=image)["image"].transpose(2, 0, 1).copy())


def _cv2() -> Any:
    import cv2

    return cv2


LOADS: dict[str, Callable[[int], Callable[[Path], torch.Tensor]]] = {
    "torchvision-pil": torchvision_pil,
    "torchvision-v2": torchvision_v2,
    "albumentations": albumentations,
    "kornia": kornia,
}
