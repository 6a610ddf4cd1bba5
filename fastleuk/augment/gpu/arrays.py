"""The GPU's part of :func:`fastleuk.augment.batch.augment_batch`."""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np
import torch

from fastleuk.augment.gpu.images import checked_tensors
from fastleuk.augment.gpu.kernels import shared_kernels
from fastleuk.augment.gpu.verdicts import ORDER, first_sound, require
from fastleuk.augment.params import AugmentParams
from fastleuk.errors import ConfigError, MissingDependencyError

NO_GPU = 'device="gpu": torch sees no NVIDIA GPU here. Use device="cpu".'


def augment_there(
    images: list[Any], params: AugmentParams, is_tensor: bool, **options: Any
) -> torch.Tensor | np.ndarray:
    """Augment by the kernels: what is on a GPU stays there, arrays go up and come back.

    Args:
        images: Tensors ``(H, W, 3)`` on a GPU, or arrays.
        params: A row for each.
        is_tensor: Whether the result is a tensor, which is on the GPU then.
        options: Of :class:`.kernels.Kernels`.
    """
    if isinstance(images[0], np.ndarray):
        if not torch.cuda.is_available():
            raise MissingDependencyError(NO_GPU)
        if options["dtype"] == "bfloat16" and not is_tensor:
            raise ConfigError("dtype bfloat16 is for tensors: NumPy has no such arrays")
        images = [torch.from_numpy(np.ascontiguousarray(image)).cuda() for image in images]
    tensors = checked_tensors(images)
    require("compiled", tensors[0].device)
    result = shared_kernels(params.size, **options)(tensors, params)
    return result if is_tensor else result.cpu().numpy()


def sound_applier(interpolation: str) -> str:
    """Return the applier of torch's current GPU; standard error is told what is passed over.

    Args:
        interpolation: ``exact`` alone knows ``nearest``.

    Raises:
        MissingDependencyError: there is no GPU.
        FastleukError: none works there.
    """
    if not torch.cuda.is_available():
        raise MissingDependencyError(NO_GPU)
    order = ORDER if interpolation == "bilinear" else ("exact",)
    return _sound_on(torch.cuda.current_device(), order)


@functools.lru_cache
def _sound_on(index: int, order: tuple[str, ...]) -> str:
    device = torch.device("cuda", index)
    return first_sound(device, order=order, report=lambda line: print(line, file=sys.stderr))
