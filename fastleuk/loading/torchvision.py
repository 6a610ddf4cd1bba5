"""The plain PyTorch loader: PIL, the torchvision reference chain, worker processes.

Slower than :mod:`fastleuk.loading.dali.loader` and equal to it: the same samples in the same order
with the same drawn parameters. It is the default where DALI can't be installed.

Where an image is reduced, the outermost pixels of the result differ from DALI's: the filter is as
wide as the reduction and reaches beyond the border: DALI repeats the last pixel there, torchvision
leaves out what isn't there.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import re
import shutil
import sys
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from multiprocessing.queues import Queue
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from fastleuk.augment import AugmentPolicy
from fastleuk.augment.appliers.reference import apply
from fastleuk.data.manifest import Manifest
from fastleuk.errors import ConfigError, DataError, FastleukError
from fastleuk.loading.batch import Batch, Loader
from fastleuk.loading.decode.pil import decode
from fastleuk.loading.prepare import Pixels
from fastleuk.loading.stream import BatchPlan, Stream, draw_plan
from fastleuk.loading.watch import children_ignore_signals, end_with, leave_signals_to_the_run

Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

SHARED_MEMORY = "/dev/shm"
MORE = "give the container more (docker run --shm-size 4g, or --ipc=host)"
PATIENCE = 600
"""Seconds without a batch after which the workers are said to be stuck."""


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

    def __getitem__(self, plan: BatchPlan) -> Tensors | FastleukError:
        """The batch, or an error for the user: raised here, it would come with a traceback."""
        try:
            return _in_shared_memory(self._batch(plan))
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

    def _batch(self, plan: BatchPlan) -> Tensors:
        params = draw_plan(self.policy, plan, seed=self.seed, size=self.size)
        images = np.empty((len(plan), self.size, self.size, 3), np.float32)
        for position, row in enumerate(plan.indices):
            images[position] = apply(self._decoded(int(row)), params, position)
        images = (images / np.float32(255) - self.mean) / self.std
        labels = self.manifest.labels[plan.indices]
        return torch.from_numpy(images), torch.from_numpy(labels), torch.from_numpy(plan.indices)


def _in_shared_memory(batch: Tensors) -> Tensors:
    """Move a worker's batch to where the run reads it.

    The queue would do it in a thread, whose error is printed and not raised: the run would wait for
    that batch for ever.

    Raises:
        FastleukError: /dev/shm is full.
    """
    if get_worker_info() is None:
        return batch
    try:
        for tensor in batch:
            tensor.share_memory_()
    except (OSError, RuntimeError) as error:
        free = shared_memory_free()
        raise FastleukError(
            f"{SHARED_MEMORY}: full ({_mb(free or 0)} MB are free), and a batch of "
            f"{_mb(sum(tensor.nbytes for tensor in batch))} MB is due ({_first_line(error)}). "
            f"Use --workers 0, or {MORE}."
        ) from None
    return batch


def shared_memory_free() -> int | None:
    """Return the bytes that are free in /dev/shm; None where there is no such folder."""
    try:
        return shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return None


def check_shared_memory(
    *, size: int, batch_size: int, batches: int, workers: int, prefetch: int
) -> None:
    """Refuse workers whose batches don't fit into /dev/shm.

    Args:
        size: Side of the images in pixels.
        batch_size: Images in a batch.
        batches: Batches in an epoch.
        workers: Processes.
        prefetch: Batches that each of them makes ahead.

    Raises:
        ConfigError: they don't fit.
    """
    free = shared_memory_free() if workers else None
    # The images in float32, int64 labels and rows; the batch in use is there, too.
    batch = batch_size * (12 * size * size + 16)
    held = min(workers * prefetch + 1, batches)
    if free is None or free >= batch * held:
        return
    fitting = max(free // batch - 1, 0) // prefetch
    fewer = f"--workers {fitting}" if fitting else "--workers 0 (slower)"
    count = f"{held} batches" if held > 1 else "1 batch"
    raise ConfigError(
        f"--workers {workers}: {count} of {_mb(batch)} MB at a time go through {SHARED_MEMORY}, of "
        f"which {_mb(free)} MB are free. Use {fewer}, a lower --batch-size or --prefetch, "
        f"or {MORE}."
    )


def _mb(count: float) -> str:
    return f"{count / 1e6:.3g}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


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

    Raises:
        ConfigError: the workers' batches don't fit into /dev/shm.
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
        check_shared_memory(
            size=size,
            batch_size=stream.batch_size,
            batches=len(stream),
            workers=workers,
            prefetch=prefetch,
        )
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
            FastleukError: the loader was closed in the middle of the epoch, or a worker process
                ended or does not answer.
        """
        loader = DataLoader(
            self._samples,
            sampler=list(self._stream.batches(epoch, start)),
            batch_size=None,
            num_workers=self._workers,
            prefetch_factor=self._prefetch if self._workers else None,
            pin_memory=self._device.type == "cuda",
            multiprocessing_context=_workers_context() if self._workers else None,
            timeout=PATIENCE if self._workers else 0,
            worker_init_fn=partial(_start_worker, os.getpid()),
            # Of its own, for it would draw the workers' seed from the global state, which is
            # dropout's: a resumed epoch would go on with other draws.
            generator=torch.Generator(),
        )
        running = _Running(self._started(loader))
        self._running.add(running)
        try:
            while (item := running.next()) is not None:
                if isinstance(item, FastleukError):
                    raise item
                pixels, targets, rows = (x.to(self._device, non_blocking=True) for x in item)
                yield Batch(pixels.permute(0, 3, 1, 2), targets, rows)
        finally:
            running.batches = None

    def _started(self, loader: DataLoader) -> Iterator[Any]:
        """Start the workers.

        Raises:
            FastleukError: there is no room for their queues.
        """
        try:
            return iter(loader)
        except OSError as error:
            if self._workers and error.errno == errno.ENOSPC and not error.filename:
                raise FastleukError(
                    f"{SHARED_MEMORY}: no room for the queues of {self._workers} worker processes. "
                    f"Use --workers 0, or {MORE}."
                ) from error
            raise

    def close(self) -> None:
        """End the workers of epochs left midway; those of whole epochs have ended with them."""
        for running in list(self._running):
            running.batches = None


@dataclass(eq=False)
class _Running:
    """An epoch's workers: they end when nobody refers to the iterator any more."""

    batches: Iterator[Any] | None = field(repr=False)

    def next(self) -> Any:
        """Return what the workers made; None at the end.

        Raises:
            FastleukError: a worker ended or does not answer, or the loader was closed.
        """
        if self.batches is None:
            raise FastleukError(
                "The loader was closed in the middle of an epoch: begin the epoch anew."
            )
        try:
            return next(self.batches, None)
        except RuntimeError as error:
            refusal = _of_workers(str(error))
            if refusal is None:
                raise
            raise FastleukError(refusal) from error


def _of_workers(text: str) -> str | None:
    """Return the error to show for PyTorch's about worker processes; None for others."""
    if "DataLoader timed out" in text:
        return (
            f"The worker processes have sent no batch for {PATIENCE // 60} minutes: the storage "
            "does not answer, or they are stuck. Resume the run, with --workers 0 if it happens "
            "again."
        )
    if not re.search(r"DataLoader worker .*(exited unexpectedly|killed by signal)", text):
        return None
    if "Bus error" in text or "shared memory" in text:
        return (
            f"{SHARED_MEMORY}: full: a worker process ended for want of room. Use --workers 0, or "
            f"{MORE}."
        )
    if "Killed" in text:
        return (
            "A worker process was killed, probably for want of memory: lower --workers, --prefetch "
            "or --batch-size, and resume the run."
        )
    return (
        f"A worker process ended unexpectedly ({text.splitlines()[0]}). Resume the run; with "
        "--workers 0, errors appear in the run itself."
    )


def _start_worker(run: int, worker: int) -> None:
    del worker
    leave_signals_to_the_run()
    end_with(run)
    Queue._on_queue_feeder_error = staticmethod(_end_worker)  # type: ignore[attr-defined]


def _end_worker(error: BaseException, item: object) -> None:
    """End a worker whose batch can't be sent, for the run would wait for it for ever."""
    del item
    print(f"A worker process can't send a batch: {error}", file=sys.stderr, flush=True)
    os._exit(1)


def _workers_context() -> BaseContext:
    """Return how workers start: forked off a server that has imported this module, or anew.

    Not off this process, whose thread pools they would inherit in an unknown state.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with children_ignore_signals():
        forkserver.ensure_running()
    return context
