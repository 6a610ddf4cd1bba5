"""The augmentation for a plain ``torch.utils.data.Dataset`` and ``DataLoader``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate

from fastleuk.augment.batch import augment_batch, fastest_applier
from fastleuk.augment.draw import draw
from fastleuk.augment.normalization import IMAGENET_MEAN, IMAGENET_STD
from fastleuk.augment.policy import PAPER, AugmentPolicy
from fastleuk.data.images.decode import RefusedImage, opaque_rgb
from fastleuk.errors import ConfigError


class Augment:
    """A transform like torchvision's: an image in, a normalised float tensor out.

    It draws from torch's global generator, as torchvision's transforms do, so
    ``torch.manual_seed`` and the DataLoader's seeding of its workers hold for it, too.

    Args:
        policy: What to draw from.
        size: Edge of the output in pixels.
        applier: ``reference`` (torchvision; the default, since DALI is made for batches: see
            :class:`AugmentCollate`), ``compiled``, ``fused``, ``exact``, or ``auto`` for the
            fastest that is installed.
        normalize: If false, the values are levels from 0 to 255.
        mean: For each channel, in units of the range 0-1.
        std: Likewise.
    """

    def __init__(
        self,
        policy: AugmentPolicy = PAPER,
        size: int = 224,
        *,
        applier: str = "reference",
        normalize: bool = True,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        if not isinstance(policy, AugmentPolicy):
            raise ConfigError(f"policy must be an AugmentPolicy, got {policy!r}")
        self.policy, self.size = policy, size
        if applier == "auto":
            applier = fastest_applier(policy.interpolation)
        self.options: dict[str, Any] = {
            "applier": applier,
            "normalize": normalize,
            "mean": tuple(mean),
            "std": tuple(std),
        }
        probe = draw(policy, seed=0, epoch=0, indices=[0], size=size)
        augment_batch(np.zeros((1, 8, 8, 3), np.uint8), probe, **self._probe_options())

    def _probe_options(self) -> dict[str, Any]:
        """Check the options at construction, without building a DALI pipeline for it."""
        applier = self.options["applier"]
        known = applier in ("compiled", "fused", "exact")
        return {**self.options, "applier": "reference" if known else applier}

    def _draw(self, n: int) -> Any:
        indices = torch.randint(2**63 - 1, (n,)).numpy()
        return draw(self.policy, seed=0, epoch=0, indices=indices, size=self.size)

    def __call__(self, image: Any) -> torch.Tensor:
        """Augment one image.

        Args:
            image: A PIL image of 8 bits (grey and the like become RGB, transparent parts are
                laid over black), an array ``(H, W, 3)`` or a tensor ``(3, H, W)`` or
                ``(1, H, W)``, uint8.

        Returns:
            ``(3, size, size)`` float32.

        Raises:
            ConfigError: any other image.
        """
        batch = augment_batch([_array(image)], self._draw(1), layout="CHW", **self.options)
        return torch.from_numpy(batch[0])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.policy}, size={self.size})"


class AugmentCollate(Augment):
    """A ``collate_fn`` that augments the whole batch at once, several times as fast.

    The dataset yields ``(image, label, …)`` with the image as :class:`Augment` takes it; the
    batch is ``(images (N, 3, size, size), labels, …)``, or the images alone if the dataset
    yields nothing else. Arguments are those of :class:`Augment`, but the applier is the fastest
    that is installed (``auto``, see :func:`fastleuk.augment.batch.fastest_applier`).
    """

    def __init__(
        self,
        policy: AugmentPolicy = PAPER,
        size: int = 224,
        *,
        applier: str = "auto",
        **options: Any,
    ) -> None:
        super().__init__(policy, size, applier=applier, **options)

    def __call__(self, samples: Sequence[Any]) -> Any:
        """Augment and collate the samples of a batch."""
        with_labels = isinstance(samples[0], (tuple, list))
        arrays = [_array(sample[0] if with_labels else sample) for sample in samples]
        params = self._draw(len(arrays))
        images = torch.from_numpy(augment_batch(arrays, params, layout="CHW", **self.options))
        if not with_labels:
            return images
        return [images, *default_collate([tuple(sample[1:]) for sample in samples])]


def _array(image: Any) -> np.ndarray:
    if isinstance(image, torch.Tensor):
        if image.ndim != 3 or image.shape[0] not in (1, 3):
            raise ConfigError(f"a tensor must be (3, H, W) or (1, H, W), got {tuple(image.shape)}")
        return image.expand(3, -1, -1).permute(1, 2, 0).numpy()
    if hasattr(image, "convert"):  # PIL
        try:
            return np.asarray(opaque_rgb(image))
        except RefusedImage as refused:
            raise ConfigError(f"an image of the mode {image.mode}: {refused}") from refused
    return np.asarray(image)
