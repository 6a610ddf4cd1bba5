"""The augmentation of images that are on a GPU: :class:`GpuAugment`, by Triton kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fastleuk.augment.draw import draw
from fastleuk.augment.gpu.graph import CapturedKernels
from fastleuk.augment.gpu.kernels import Kernels, interpreted
from fastleuk.augment.gpu.lent import keep_until_read
from fastleuk.augment.gpu.verdicts import require
from fastleuk.augment.normalization import IMAGENET_MEAN, IMAGENET_STD, checked_moments
from fastleuk.augment.policy import PAPER, AugmentPolicy, check_policy
from fastleuk.errors import ConfigError


class GpuAugment:
    """Augment and normalise batches that are on a GPU, without a copy to the host or a wait.

    Everything is put on torch's current stream. The parameters are drawn on the host while the
    GPU is still busy with earlier work, and go up on a stream of their own. The first call on a GPU
    runs the self-test of the applier ``compiled`` there, unless it is remembered.

    Images of another size are resized first, with antialiasing; the steps sample the resized ones,
    whose pixels are whole levels.

    Args:
        policy: What to draw from.
        size: Edge of the output in pixels.
        seed: Of the run, in [0, 2**64).
        normalize: If false, the values are levels from 0 to 255.
        mean: For each channel, in units of the range 0-1.
        std: Likewise.
        layout: Of the result: ``CHW`` or ``HWC``.
        dtype: ``float32``, ``float16`` or ``bfloat16``.
        graph: Capture upload and kernels as a CUDA graph, one for each number and size of images:
            less work for the host, more memory, and for tensors of few forms only.

    Raises:
        ConfigError: an option makes no sense.
        MissingDependencyError: Triton isn't installed.
    """

    def __init__(
        self,
        policy: AugmentPolicy = PAPER,
        size: int = 224,
        *,
        seed: int = 7,
        normalize: bool = True,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        layout: str = "CHW",
        dtype: str = "float32",
        graph: bool = False,
    ) -> None:
        self.policy, self.size, self.seed = check_policy(policy), size, seed
        mean, std = checked_moments(mean, std)
        self._kernels = Kernels(
            size, normalize=normalize, mean=mean, std=std, layout=layout, dtype=dtype
        )
        self._captured = CapturedKernels(self._kernels.launch) if graph else None
        self._kernels.rows(draw(policy, seed=seed, epoch=0, indices=[0], size=size))  # errors: now

    def __call__(
        self,
        images: torch.Tensor | Sequence[torch.Tensor],
        *,
        indices: Any,
        epoch: int = 0,
        augmented: Any = None,
    ) -> torch.Tensor:
        """Augment a batch.

        Args:
            images: uint8 RGB on one GPU: a tensor ``(N, H, W, 3)``, or tensors ``(H, W, 3)`` of
                any sizes.
            indices: ``(N,)``, on the host: of the samples in the data set; with ``epoch`` and the
                seed they say what is drawn.
            epoch: Of the training.
            augmented: bool ``(N,)``, on the host: which of them are augmented; None for all.

        Returns:
            ``(N, 3, size, size)`` or ``(N, size, size, 3)`` on the same GPU.

        Raises:
            ConfigError: on images that don't fit: what was found, and how to mend it.
            FastleukError: the self-test fails on this GPU.
        """
        tensors = checked_tensors(images)
        require("compiled", tensors[0].device)
        extra = {} if augmented is None else {"augmented": _on_host("augmented", augmented)}
        indices = _on_host("indices", indices)
        params = draw(
            self.policy, seed=self.seed, epoch=epoch, indices=indices, size=self.size, **extra
        )
        if self._captured is None:
            return self._kernels(tensors, params)
        result = self._captured(self._kernels.packed(tensors, params), tensors[0].device)
        keep_until_read(tensors)
        return result


def _on_host(name: str, values: Any) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        if values.device.type != "cpu":
            raise ConfigError(
                f"{name} must be on the host, where the parameters are drawn, but they are on "
                f"{values.device}: pass those that the DataLoader gave, before their upload"
            )
        return values.numpy()
    return np.asarray(values)


def checked_tensors(images: torch.Tensor | Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The images as a list of ``(H, W, 3)`` uint8 tensors on one GPU.

    Raises:
        ConfigError: with what is wrong and how to mend it.
    """
    if isinstance(images, torch.Tensor) and images.ndim != 4:
        raise ConfigError(
            f"images must be (N, H, W, 3), got the shape {tuple(images.shape)}; one image: "
            "images[None]"
        )
    tensors = list(images)
    if not tensors:
        raise ConfigError("images must hold at least one image, got an empty batch")
    for i, image in enumerate(tensors):
        if not isinstance(image, torch.Tensor):
            raise ConfigError(f"image {i} must be a tensor on a GPU, got {type(image).__name__}")
        if image.device.type != ("cpu" if interpreted() else "cuda"):
            raise ConfigError(f"image {i} must be on a GPU, but it is on {image.device}")
        if image.device != tensors[0].device:
            raise ConfigError(
                f"image {i} is on {image.device}, image 0 on {tensors[0].device}: a batch must "
                "be on one GPU"
            )
        if image.dtype != torch.uint8:
            raise ConfigError(
                f"image {i} must be uint8 (levels 0 to 255), got {image.dtype}; an image in 0-1 "
                "becomes one by (255 * image).round().to(torch.uint8)"
            )
        if image.ndim != 3 or image.shape[2] != 3:
            first = image.ndim == 3 and image.shape[0] == 3
            hint = "; it looks like channels first: use permute(0, 2, 3, 1).contiguous()"
            raise ConfigError(
                f"image {i} must be (H, W, 3) RGB, got the shape {tuple(image.shape)}"
                f"{hint if first else ''}"
            )
        if image.numel() == 0:
            raise ConfigError(f"image {i} has no pixels: its shape is {tuple(image.shape)}")
        if image.stride(2) != 1 or (image.stride(1) != 3 and image.shape[1] > 1):
            raise ConfigError(
                f"image {i}'s pixels don't lie one behind the other (its strides are "
                f"{image.stride()}): use .contiguous()"
            )
    return tensors
