"""From checked images to normalised batches, whatever order they come in: for predicting.

The pixels are those of the loader of the same name: the same decoder, resize and normalisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from fastleuk.config import LoaderConfig
from fastleuk.loading.images.encoded import Encoded

if TYPE_CHECKING:
    import torch


class Images(Protocol):
    """Turns images into batches. One call at a time; others wait."""

    def prepare(self, images: Sequence[Encoded]) -> tuple[torch.Tensor, list[str]]:
        """Decode, resize and normalise.

        Args:
            images: N of them, any number.

        Returns:
            float32 ``(M, 3, size, size)`` in channels_last memory on the device, of the images
            that could be decoded, in their order, and N reasons why one couldn't; empty texts
            for the M others.
        """

    def close(self) -> None:
        """Free threads and memory."""


def make_images(
    config: LoaderConfig,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device,
) -> Images:
    """Make what prepares images as the loader that ``config.loader`` names does.

    Args:
        config: Loader, size, batch size and workers; resolved.
        mean: Channel means in 0–1 units.
        std: Channel standard deviations in 0–1 units.
        device: Where the batches go.
    """
    if config.loader == "dali":
        from fastleuk.loading.images.dali import DaliImages

        return DaliImages(
            size=config.size,
            batch_size=config.batch_size,
            workers=config.workers,
            mean=mean,
            std=std,
            device=device,
        )
    from fastleuk.loading.images.torchvision import TorchvisionImages

    return TorchvisionImages(
        size=config.size, workers=config.workers, mean=mean, std=std, device=device
    )
