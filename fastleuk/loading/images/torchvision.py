"""Checked images by PIL and torchvision, as :mod:`fastleuk.loading.torchvision` reads files."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from fastleuk.augment.appliers.reference import resize
from fastleuk.data.images.decode import decode_rgb
from fastleuk.loading.decode.pil import cut_centre
from fastleuk.loading.images.encoded import Encoded, groups


class TorchvisionImages:
    """Batches of images that are handed over.

    Args:
        size: Side of the result in pixels.
        workers: Threads.
        mean: Channel means in 0–1 units.
        std: Channel standard deviations in 0–1 units.
        device: Where the batches go.
    """

    def __init__(
        self,
        *,
        size: int,
        workers: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
    ) -> None:
        self._size, self._workers, self._device = size, max(1, workers), device
        self._mean, self._std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
        self._pool = ThreadPoolExecutor(self._workers)

    def prepare(self, images: Sequence[Encoded]) -> tuple[torch.Tensor, list[str]]:
        """See :class:`fastleuk.loading.images.make.Images`."""
        pixels = np.empty((len(images), self._size, self._size, 3), np.float32)
        # Large images one after the other; the others share the threads.
        errors: list[str] = []
        for cut in groups(images, len(images) or 1):
            errors += self._pool.map(self._one, images[cut], pixels[cut])
        good = np.array([not error for error in errors], dtype=bool)
        chosen = pixels if good.all() else pixels[good]
        normalised = torch.from_numpy((chosen / np.float32(255) - self._mean) / self._std)
        return normalised.permute(0, 3, 1, 2).to(self._device), errors

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _one(self, image: Encoded, output: np.ndarray) -> str:
        try:
            decoded = cut_centre(np.asarray(decode_rgb(image.data.data)), image.crop)
        except Exception as error:  # PIL's decoders raise nearly anything
            return f"can't be decoded: {error}"
        tensor = resize(torch.from_numpy(np.array(decoded)).permute(2, 0, 1), self._size)
        output[...] = tensor.permute(1, 2, 0).numpy()
        return ""
