"""The paper's chain as users of torchvision, albumentations and kornia write it.

Each library's own random transforms with the paper's ranges, in the paper's order, one for each
of its nine steps: the one definition, for all benchmarks. Where a library has no such step, what
is nearest stands here and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torchvision import transforms as v1
from torchvision.transforms import InterpolationMode, v2

from fastleuk.bench.contenders.stream import MEAN, STD

STEPS = ("hflip", "vflip", "rotate", "color_jitter", "resized_crop", "affine", "gaussian_blur",
         "adjust_sharpness", "perspective")  # fmt: skip
"""The paper's nine, in order."""

Batches = Callable[[torch.Tensor], torch.Tensor]
"""From uint8 ``(B, 3, size, size)`` to float32, augmented and normalised."""

BILINEAR = InterpolationMode.BILINEAR


def torchvision_steps(library: Any, size: int) -> list[Any]:
    """The nine steps of torchvision.

    Args:
        library: ``torchvision.transforms`` or its ``v2``, which take the same.
        size: Edge in pixels.
    """
    return [
        library.RandomHorizontalFlip(0.5),
        library.RandomVerticalFlip(0.5),
        library.RandomRotation(25, interpolation=BILINEAR),
        library.ColorJitter(0.3, 0.3, 0.3, 0.05),
        library.RandomResizedCrop(size, scale=(0.7, 1), ratio=(0.75, 1.33), antialias=True),
        library.RandomAffine(
            0, translate=(0.05, 0.05), scale=(0.95, 1.05), shear=10, interpolation=BILINEAR
        ),
        library.GaussianBlur(3, (0.1, 2.0)),
        library.RandomAdjustSharpness(2, 0.3),
        library.RandomPerspective(0.2, 0.3),
    ]


def torchvision_pil(size: int) -> Callable[[Any], torch.Tensor]:
    """The chain on PIL images, as in torchvision's own examples."""
    steps = torchvision_steps(v1, size)
    return v1.Compose([v1.Resize((size, size)), *steps, v1.ToTensor(), v1.Normalize(MEAN, STD)])


def torchvision_v2(size: int) -> Callable[[Any], torch.Tensor]:
    """The chain on uint8 tensors, as torchvision's v2 documentation recommends."""
    return v2.Compose([*_to_tensor(size), *torchvision_v2_end(size)])


def torchvision_v2_end(size: int) -> list[Any]:
    """The steps on uint8 tensors of ``size``, then floats, normalised."""
    steps = torchvision_steps(v2, size)
    return [*steps, v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]


def plain_tensor(size: int) -> Callable[[Any], torch.Tensor]:
    """What batches that are augmented whole are collated from: the resized uint8 tensor."""
    return v2.Compose(_to_tensor(size))


def _to_tensor(size: int) -> list[Any]:
    return [v2.PILToTensor(), v2.Resize((size, size), antialias=True)]


def albumentations_steps(size: int) -> list[Any]:
    """The nine steps of albumentations.

    Sharpening by 1/13 of its kernel is torchvision's factor 2 exactly. Its perspective moves the
    corners by normal, not uniform, distances, as far on average, and fills the frame again.
    """
    import albumentations as A
    import cv2

    return [
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.5),
        A.Rotate((-25, 25), border_mode=cv2.BORDER_CONSTANT, p=1),
        A.ColorJitter((0.7, 1.3), (0.7, 1.3), (0.7, 1.3), (-0.05, 0.05), p=1),
        A.RandomResizedCrop((size, size), scale=(0.7, 1.0), ratio=(0.75, 1.33), p=1),
        A.Affine(
            translate_percent=(-0.05, 0.05),
            scale=(0.95, 1.05),
            shear={"x": (-10, 10), "y": (0, 0)},
            p=1,
        ),
        A.GaussianBlur(blur_limit=(3, 3), sigma_limit=(0.1, 2.0), p=1),
        A.Sharpen(alpha=(1 / 13, 1 / 13), lightness=(1, 1), p=0.3),
        A.Perspective((0.0625, 0.0625), p=0.3),
    ]


def albumentations(size: int) -> Callable[[Any], torch.Tensor]:
    """The chain in albumentations, from an RGB array.

    ``INTER_AREA`` is OpenCV's antialiased resize, as the others' is.
    """
    import albumentations as A
    import cv2

    resize = A.Resize(size, size, interpolation=cv2.INTER_AREA)
    steps = albumentations_steps(size)
    chain = A.Compose([resize, *steps, A.Normalize(MEAN, STD), A.ToTensorV2()])
    return _Named(chain)


class _Named:
    """albumentations' calls by name; a class, so that it pickles into workers."""

    def __init__(self, chain: Any) -> None:
        self._chain = chain

    def __call__(self, image: Any) -> torch.Tensor:
        return self._chain(image=image)["image"]


def kornia_steps(size: int) -> list[Any]:
    """The nine steps of kornia. Its sharpness takes a range: 2 alone would be 0 to 2."""
    import kornia.augmentation as K

    return [
        K.RandomHorizontalFlip(p=0.5),
        K.RandomVerticalFlip(p=0.5),
        K.RandomRotation(25.0, p=1.0),
        K.ColorJitter(0.3, 0.3, 0.3, 0.05, p=1.0),
        K.RandomResizedCrop((size, size), scale=(0.7, 1.0), ratio=(0.75, 1.33), p=1.0),
        K.RandomAffine(0.0, translate=(0.05, 0.05), scale=(0.95, 1.05), shear=10.0, p=1.0),
        K.RandomGaussianBlur((3, 3), (0.1, 2.0), p=1.0),
        K.RandomSharpness((2.0, 2.0), p=0.3),
        K.RandomPerspective(0.2, p=0.3),
    ]


def kornia(size: int, device: torch.device) -> Batches:
    """Kornia's container of transforms, on a batch; parameters are drawn for each image."""
    import kornia.augmentation as K

    normalize = K.Normalize(torch.tensor(MEAN), torch.tensor(STD))
    chain = K.AugmentationSequential(*kornia_steps(size), normalize, data_keys=["input"])
    return _floats(chain.to(device))


def fuse_augmentations(size: int, device: torch.device) -> Batches:
    """fuse-augmentations' ``Compose`` over kornia's transforms, as its quick start has it."""
    import kornia.augmentation as K
    from fuse_aug import Compose

    normalize = K.Normalize(torch.tensor(MEAN), torch.tensor(STD))
    return _floats(Compose([*kornia_steps(size), normalize]).to(device))


def torchvision_v2_batch(size: int, device: torch.device) -> Batches:
    """Torchvision's v2 on a batch: every image of it gets the same draw."""
    chain = v2.Compose(torchvision_v2_end(size))
    return lambda images: chain(images.to(device))


def kornia_compiled(size: int, device: torch.device) -> Batches:
    """The functions of :mod:`fastleuk.bench.contenders.kornia_functions` by ``torch.compile``."""
    from fastleuk.bench.contenders.kornia_functions import compiled_chain

    return compiled_chain(size, device)


def _floats(chain: Callable[[torch.Tensor], torch.Tensor]) -> Batches:
    def finish(images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return chain(images.float() / 255)

    return finish


ON_IMAGES: dict[str, Callable[[int], Callable[[Any], torch.Tensor]]] = {
    "torchvision-pil": torchvision_pil,
    "torchvision-v2": torchvision_v2,
    "albumentations": albumentations,
}
"""Chains that workers apply: from a PIL image, albumentations' from an RGB array."""

ON_BATCHES: dict[str, Callable[[int, torch.device], Batches]] = {
    "kornia": kornia,
    "torchvision-v2-batch": torchvision_v2_batch,
    "kornia-compiled": kornia_compiled,
    "fuse-augmentations": fuse_augmentations,
}
"""Chains that the consumer applies, on its device."""

RESIDENT: dict[str, Callable[[int, torch.device], Batches]] = {
    "kornia-compiled-cache-gpu": kornia_compiled,
    "torchvision-v2-cache-gpu": torchvision_v2_batch,
}
"""The same for batches that are taken from GPU memory."""
