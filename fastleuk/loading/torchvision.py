"""The plain PyTorch loader: PIL, the torchvision reference chain, worker processes.

Slower than :mod:`fastleuk.loading.dali.loader` and equal to it: the same samples in the same order
with the same drawn parameters. It is the default where DALI can't be installed.

Where an image is reduced, the outermost pixels of the result differ from DALI's: the filter is as
wide as the reduction and reaches beyond the border: DALI repeats the last pixel there, torchvision
leaves out what isn't there.
"""

from __future__ import annotations

import multiprocessing
import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from fastleuk.augment import AugmentPolicy
from fastleuk.augment.appliers.reference import apply
from fastleuk.data.manifest import Manifest
from fastleuk.errors import DataError, FastleukError
from fastleuk.loading.batch import Batch, Loader
from fastleuk.loading.decode.pil import decode
from fastleuk.loading.prepare import Pixels
from fastleuk.loading.stream import BatchPlan, Stream, draw_plan
from fastleuk.loading.watch import end_with


@dataclass(frozen=True, eq=False)
class _Samples(Dataset):
    """Maps a whole :class:`BatchPlan` to a batch, so that parameters are drawn at once."""

    manifest: Manifest
    policy: AugmentPolicy
    size: int
    seed: int
    mean: np.ndarray
    std: np.ndarray
    pixels: Pixels | None

    def _decoded(self, row: int) -> np.ndarray:
        if self.pixels is not None:
            return self.pixels.cache.image(row)
        return decode(self.manifest.file(row), int(self.manifest.crops[row]))

    def __getitem__(
        self, plan: BatchPlan
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | FastleukError:
        """The batch, or what a user can mend: raised here, it would come with a traceback."""
        try:
            return self._batch(plan)
        except DataError as error:
            return DataError(
                f"Files that were readable when the run started are not any more:\n  {error}\n"
                "Restore them and resume the run."
            )
        except FastleukError as error:
            return error
        except (OSError, ValueError) as error:
            if self.pixels is None:
                raise
            return DataError(
                f"{self.pixels.cache.folder}: the decoded cache, which was there when the run "
                f"started, can't be read any more ({error}). Resume the run: it builds the cache "
                "anew."
            )

    def _batch(self, plan: BatchPlan) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        params = draw_plan(self.policy, plan, seed=self.seed, size=self.size)
        images = np.empty((len(plan), self.size, self.size, 3), np.float32)
        for position, row in enumerate(plan.indices):
            images[position] = apply(self._decoded(int(row)), params, position)
        images = (images / np.float32(255) - self.mean) / self.std
        labels = self.manifest.labels[plan.indices]
        return torch.from_numpy(images), torch.from_numpy(labels), torch.from_numpy(plan.indices)


class TorchvisionLoader(Loader):
    """Batches made by torchvision in worker processes.

    Args:
        manifest: The images.
        stream: The order of samples.
        policy: What augmented samples get.
        size: Side of the images in pixels.
        workers: Processes; 0 loads in this one.
        seed: Of the augmentation.
        mean: Channel means in 0–1 units.
        std: Channel standard deviations in 0–1 units.
        device: Where the batches go.
        pixels: The decoded cache of the manifest; None to read and decode the files.
        prefetch: Batches that each worker makes ahead.
    """

    def __init__(
        self,
        *,
        manifest: Manifest,
        stream: Stream,
        policy: AugmentPolicy,
        size: int,
        workers: int,
        seed: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
        pixels: Pixels | None = None,
        prefetch: int = 2,
    ) -> None:
        scale = (np.asarray(mean, np.float32), np.asarray(std, np.float32))
        pixels = Pixels(pixels.cache) if pixels else None
        self._samples = _Samples(manifest, policy, size, seed, *scale, pixels)
        self._stream, self._workers, self._device = stream, workers, device
        self._prefetch = prefetch
        self._running: weakref.WeakSet[_Running] = weakref.WeakSet()

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self._stream)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of ``epoch`` from batch ``start`` on.

        Several epochs at once don't disturb each other; each has workers of its own.

        Raises:
            DataError: a file, or the cache, can't be read any more; it is named.
            FastleukError: the loader was closed in the middle of the epoch.
        """
        loader = DataLoader(
            self._samples,
            sampler=list(self._stream.batches(epoch, start)),
            batch_size=None,
            num_workers=self._workers,
            prefetch_factor=self._prefetch if self._workers else None,
            pin_memory=self._device.type == "cuda",
            multiprocessing_context=_workers_context() if self._workers else None,
            worker_init_fn=partial(_start_worker, os.getpid()),
            # Of its own, for it would draw the workers' seed from the global state, which is
            # dropout's: a resumed epoch would go on with other draws.
            generator=torch.Generator(),
        )
        running = _Running(iter(loader))
        self._running.add(running)
        try:
            while (item := running.next()) is not None:
                if isinstance(item, FastleukError):
                    raise item
                pixels, targets, rows = (x.to(self._device, non_blocking=True) for x in item)
                yield Batch(pixels.permute(0, 3, 1, 2), targets, rows)
        finally:
            running.batches = None

    def close(self) -> None:
        """End the workers of epochs left midway; those of whole epochs have ended with them."""
        for running in list(self._running):
            running.batches = None


@dataclass(eq=False)
class _Running:
    """An epoch's workers: they end when nobody refers to the iterator any more."""

    batches: Iterator[Any] | None = field(repr=False)

    def next(self) -> Any:
        """What the workers made; None at the end."""
        if self.batches is None:
            raise FastleukError(
                "The loader was closed in the middle of an epoch: begin the epoch anew."
            )
        return next(self.batches, None)


def _start_worker(run: int, worker: int) -> None:
    del worker
    end_with(run)


def _workers_context() -> BaseContext:
    """Return how workers start: forked off a server that has imported this module, or anew.

    Not off this process, whose thread pools they would inherit in an unknown state.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context
