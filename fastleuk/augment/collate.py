"""The augmentation for a plain ``torch.utils.data.Dataset`` and ``DataLoader``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, default_collate

from fastleuk.augment.batch import augment_batch, check_applier, fastest_applier
from fastleuk.augment.draw import draw
from fastleuk.augment.normalization import IMAGENET_MEAN, IMAGENET_STD, checked_moments
from fastleuk.augment.policy import PAPER, AugmentPolicy, check_policy
from fastleuk.data.images.decode import RefusedImage, opaque_rgb
from fastleuk.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class IndexedSample:
    """A sample and the number that identifies it in the data set."""

    index: int
    """In [0, 2**63)."""
    sample: Any
    """As :class:`AugmentCollate` takes it without indices."""


class Indexed(Dataset[IndexedSample]):
    """A map-style dataset whose samples carry their index, for ``AugmentCollate(seed=…)``.

    Wrap the whole data set, before ``Subset`` or ``random_split``, so that an index names the
    same sample in every split: ``Subset(Indexed(dataset), rows)``. Attributes are those of the
    wrapped dataset.

    Args:
        dataset: With ``__len__`` and ``__getitem__``.

    Raises:
        ConfigError: an iterable dataset, which has no indices: let it yield
            :class:`IndexedSample` itself.
    """

    def __init__(self, dataset: Any) -> None:
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
            raise ConfigError(
                f"Indexed: a {type(dataset).__name__}, which has no indices. Use "
                "fastleuk.augment.IndexedSample(index, sample) for what it yields, with a number "
                "of its own for each sample."
            )
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> IndexedSample:
        return IndexedSample(int(index), self.dataset[index])

    def __getitems__(self, indices: Sequence[int]) -> list[IndexedSample]:
        """Return many samples at once, as the wrapped dataset does where it can."""
        many = getattr(self.dataset, "__getitems__", None)
        samples = many(indices) if many else [self.dataset[index] for index in indices]
        return [IndexedSample(int(i), sample) for i, sample in zip(indices, samples, strict=True)]

    def __getattr__(self, name: str) -> Any:
        if name == "dataset" or name.startswith("__"):  # not there yet while it is unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)


class Augment:
    """A transform like torchvision's: an image in, a normalized float tensor out.

    It draws from torch's global generator, as torchvision's transforms do, so
    ``torch.manual_seed`` and the DataLoader's seeding of its workers hold for it, too: another
    number of workers gives other augmentations. :class:`AugmentCollate` can draw by index.

    Args:
        policy: Steps, ranges and probabilities.
        size: Edge of the output in pixels.
        applier: ``auto``, the default of every entrance: the fastest that is installed, see
            :func:`fastleuk.augment.batch.fastest_applier`. Or ``compiled``, ``fused``,
            ``exact``, ``reference`` (torchvision).
        normalize: If false, the values are levels from 0 to 255.
        mean: For each channel, in units of the range 0-1.
        std: Likewise.
        dtype: ``float32`` or ``float16``.

    Raises:
        ConfigError: an option makes no sense.
    """

    def __init__(
        self,
        policy: AugmentPolicy = PAPER,
        size: int = 224,
        *,
        applier: str = "auto",
        normalize: bool = True,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        dtype: str = "float32",
    ) -> None:
        self.policy, self.size = check_policy(policy), size
        if applier == "auto":
            applier = fastest_applier(policy.interpolation)
        check_applier(applier, policy.interpolation)
        mean, std = checked_moments(mean, std)
        self.options: dict[str, Any] = {
            "applier": applier,
            "normalize": normalize,
            "mean": mean,
            "std": std,
            "dtype": dtype,
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
            image: uint8: a PIL image of 8 bits (gray and the like become RGB, transparent parts
                are laid over black), an array ``(H, W, 3)``, or gray ``(H, W, 1)`` or
                ``(H, W)``, or a tensor ``(3, H, W)``, or gray ``(1, H, W)`` or ``(H, W)``.

        Returns:
            ``(3, size, size)`` float32, or what ``dtype`` names.

        Raises:
            ConfigError: any other image.
        """
        batch = augment_batch([_array(image)], self._draw(1), layout="CHW", **self.options)
        return torch.from_numpy(batch[0])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.policy}, size={self.size})"


class AugmentCollate(Augment):
    """A ``collate_fn`` that augments the whole batch at once, several times as fast.

    A sample of the dataset is a tuple ``(image, label, …)``, a dict, or an image alone, with the
    image as :class:`Augment` takes it. The batch is ``[images (N, 3, size, size), labels, …]``, a
    dict with the same keys, or the images alone. All else is collated as torch does; a column
    with None in it stays a list.

    Reproducibility with ``seed``: over ``Indexed(dataset)`` a sample is augmented as ``(seed,
    epoch, index)`` require, as :func:`fastleuk.augment.draw` draws for them. The batch size, the
    workers, the order, the shards and the point of resumption change nothing. Call
    :meth:`set_epoch` before each epoch, or all have the same augmentations. A sample that a
    sampler takes twice in an epoch is augmented equally both times.

    Without ``seed`` it draws from torch's global generator in the process that collates, as
    torchvision's transforms do: the same ``torch.manual_seed``, batch size, order and number of
    workers give the same augmentations, others give others, and so does a resumption in the
    middle of an epoch.

    Args:
        policy: As in :class:`Augment`, like all that isn't named here.
        size: Likewise.
        seed: Of the run, in [0, 2**64), with a dataset wrapped in :class:`Indexed`.
        image: Where the image is in a sample: a key of dicts (by default ``"image"``) or a
            position in tuples (by default 0).
        options: Of :class:`Augment`.

    Raises:
        ConfigError: an option makes no sense.
    """

    def __init__(
        self,
        policy: AugmentPolicy = PAPER,
        size: int = 224,
        *,
        seed: int | None = None,
        image: str | int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(policy, size, **options)
        if seed is not None:
            draw(policy, seed=seed, epoch=0, indices=[0], size=size)  # refuse it now
        if isinstance(image, bool) or not isinstance(image, (str, int, type(None))):
            raise ConfigError(f"image: {image!r}. Name a key of dicts or a position in tuples.")
        self.seed, self.image = seed, image
        # In shared memory, so that set_epoch reaches workers that are there already.
        self._epoch = torch.zeros((), dtype=torch.int64)
        if seed is not None:
            self._epoch.share_memory_()

    @property
    def epoch(self) -> int:
        """Epoch of the augmentations, see :meth:`set_epoch`."""
        return int(self._epoch)

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self.set_epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch in every process: in persistent workers, too.

        Call it before the epoch's iterator is made; batches that workers make at that moment may
        have either epoch.

        Args:
            epoch: In [0, 2**63).

        Raises:
            ConfigError: there is no ``seed``, so nothing depends on an epoch.
        """
        if self.seed is None:
            raise ConfigError(
                "set_epoch: without a seed nothing depends on the epoch. Use "
                "AugmentCollate(seed=7) over Indexed(dataset)."
            )
        draw(self.policy, seed=self.seed, epoch=epoch, indices=[0], size=self.size)
        self._epoch.fill_(int(epoch))

    def __call__(self, samples: Sequence[Any]) -> Any:
        """Augment and collate the samples of a batch."""
        samples, indices = self._unwrap(samples)
        arrays = [_array(self._image_of(sample, i), i) for i, sample in enumerate(samples)]
        if indices is None:
            params = self._draw(len(arrays))
        else:
            params = draw(
                self.policy,
                seed=self.seed or 0,
                epoch=self.epoch,
                indices=indices,
                size=self.size,
            )
        images = torch.from_numpy(augment_batch(arrays, params, layout="CHW", **self.options))
        return self._collate(samples, images)

    def _unwrap(self, samples: Sequence[Any]) -> tuple[list[Any], list[int] | None]:
        """Take the indices off the samples.

        Raises:
            ConfigError: a seed without indices, indices without a seed, or an empty batch.
        """
        samples = list(samples)
        if not samples:
            raise ConfigError("AugmentCollate: an empty batch. Give it at least one sample.")
        indexed = [isinstance(sample, IndexedSample) for sample in samples]
        if self.seed is None and any(indexed):
            raise ConfigError(
                "seed: missing, but the samples carry their indices. Use AugmentCollate(seed=7), "
                "or the dataset without Indexed."
            )
        if self.seed is None:
            return samples, None
        if not all(indexed):
            raise ConfigError(
                f"seed: {self.seed}, but the samples don't carry their indices. Use "
                "DataLoader(Indexed(dataset), …), or no seed to draw from torch's generator."
            )
        return [sample.sample for sample in samples], [sample.index for sample in samples]

    def _image_of(self, sample: Any, i: int) -> Any:
        """Find the image of sample ``i`` of a batch."""
        if isinstance(sample, Mapping):
            key = "image" if self.image is None else self.image
            if key not in sample:
                raise ConfigError(
                    f"image: sample {i} has no {key!r}, but {', '.join(map(repr, sample))}. Use "
                    f'AugmentCollate(image="{next(iter(sample), "pixel_values")}").'
                )
            return sample[key]
        if isinstance(self.image, str):
            raise ConfigError(
                f"image: {self.image!r}, but sample {i} is a {type(sample).__name__}, not a dict. "
                "Leave image out, or name a position."
            )
        if not isinstance(sample, (tuple, list)):
            return sample
        place = self.image or 0
        if not -len(sample) <= place < len(sample):
            raise ConfigError(f"image: {place}, but sample {i} has {len(sample)} values.")
        return sample[place]

    def _collate(self, samples: list[Any], images: torch.Tensor) -> Any:
        """Collate all but the images as torch does."""
        first = samples[0]
        if isinstance(first, Mapping):
            key = "image" if self.image is None else self.image
            return {
                name: images if name == key else _column(name, [sample[name] for sample in samples])
                for name in first
            }
        if not isinstance(first, (tuple, list)):
            return images
        place = (self.image or 0) % len(first)
        columns = zip(*samples, strict=True)
        batch = [
            images if k == place else _column(k, list(values)) for k, values in enumerate(columns)
        ]
        named = hasattr(first, "_fields")
        return type(first)(*batch) if named else batch if len(batch) > 1 else images


def _column(name: Any, values: list[Any]) -> Any:
    """Collate one column as torch does; None, which torch refuses, stays in a list."""
    if any(value is None for value in values):
        return values
    try:
        return default_collate(values)
    except (TypeError, RuntimeError) as error:
        raise ConfigError(
            f"{name!r}: the samples' values can't be collated ({error}). Leave them out, or "
            "convert them to tensors of one shape."
        ) from error


def _array(image: Any, i: int = 0) -> np.ndarray:
    """``(H, W, 3)`` of an image of any kind; gray is repeated.

    Raises:
        ConfigError: it is no image, or one of another form.
    """
    if isinstance(image, torch.Tensor):
        planes = image.detach().cpu()
        planes = planes[None] if planes.ndim == 2 else planes
        if planes.ndim != 3 or planes.shape[0] not in (1, 3):
            last = image.ndim == 3 and image.shape[-1] in (1, 3)
            hint = ". Channels come first: image.permute(2, 0, 1)" if last else ""
            raise ConfigError(
                f"image {i}: a tensor must be (3, H, W) or (1, H, W), got "
                f"{tuple(image.shape)}{hint}"
            )
        return planes.expand(3, -1, -1).permute(1, 2, 0).numpy()
    if hasattr(image, "convert"):  # PIL
        try:
            return np.asarray(opaque_rgb(image))
        except RefusedImage as refused:
            raise ConfigError(
                f"image {i}: an image of the mode {image.mode}: {refused}"
            ) from refused
    if isinstance(image, (str, Path)):
        raise ConfigError(
            f"image {i}: the path {str(image)!r}. Open it in the dataset: PIL.Image.open(path)."
        )
    if not hasattr(image, "__array__") and not hasattr(image, "__array_interface__"):
        raise ConfigError(
            f"image {i}: a {type(image).__name__}. A sample is (image, label, …), a dict or an "
            "image: a PIL image, an array (H, W, 3) or a tensor (3, H, W) of uint8."
        )
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim == 3 and array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    return array
