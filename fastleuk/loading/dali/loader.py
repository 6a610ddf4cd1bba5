"""The DALI loader: read, decode, augment and normalise on the CPU or the GPU.

One graph for both devices. Order and parameters come from NumPy (:mod:`.stream`,
:mod:`fastleuk.augment.draw`) through ``external_source``; DALI keeps no random state.
Decoded images are handed over as views of the memory-mapped cache: nothing copies them
before the first augmentation reads them. Without a cache, images are resized to the output's size
before anything else, so that pixels are those of the cache; on a CPU with numba, uncompressed BMPs
are read and resized without DALI's decoder, to the same pixels.

Memory: ``prefetch + 1`` batches of float32 images and of what the operators need in between,
about ``(prefetch + 1) * batch_size * size**2 * 50`` bytes; the encoded and decoded files of as
many batches on top where there is no cache. A pipeline is built when its first epoch begins and
serves the epochs after it. Every epoch has a pipeline of its own while it lasts: one that begins
before another has ended builds a second one, and one that is left midway frees its own.

On a GPU a batch may be used until the next one is asked for: what was queued on torch's current
stream by then still finds it whole (:mod:`.hold`). Clone what is to be kept longer.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from nvidia.dali import Pipeline, types

from fastleuk.augment import AugmentPolicy
from fastleuk.augment.appliers.compiled.on_arrays import has_kernel
from fastleuk.augment.dali.fork import shield_from_fork
from fastleuk.augment.hold import Hold
from fastleuk.data.manifest import Manifest
from fastleuk.errors import ConfigError, DataError, FastleukError, listed
from fastleuk.loading.batch import Batch, Loader
from fastleuk.loading.dali.feed import Feed, UncompressedBmps
from fastleuk.loading.dali.graph import batches_graph
from fastleuk.loading.dali.running import Running
from fastleuk.loading.decode.dali import explain
from fastleuk.loading.prepare import Pixels
from fastleuk.loading.stream import BatchPlan, Stream
from fastleuk.memory import keep_freed_memory


class DaliLoader(Loader):
    """Batches made by a DALI pipeline.

    Args:
        manifest: The images.
        stream: The order of samples.
        policy: What augmented samples get; None builds the plain graph without augmentation.
        applier: ``exact`` or ``fused``.
        size: Side of the images in pixels.
        workers: Threads of the pipeline.
        seed: Of the augmentation.
        mean: Channel means in 0–1 units.
        std: Channel standard deviations in 0–1 units.
        device: Where decoding ends and everything after it runs.
        pixels: The decoded cache of the manifest; None to read and decode the files.
        prefetch: Batches that DALI works ahead.
        half: The images will be rounded to float16 before anything is computed of them:
            ``compiled-host`` then uploads them as such, half the bytes. Batches stay float32.
    """

    def __init__(
        self,
        *,
        manifest: Manifest,
        stream: Stream,
        policy: AugmentPolicy | None,
        applier: str = "exact",
        size: int,
        workers: int,
        seed: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
        pixels: Pixels | None = None,
        prefetch: int = 2,
        half: bool = False,
    ) -> None:
        if device.type == "cpu":
            keep_freed_memory()
        self._manifest, self._stream, self._policy = manifest, stream, policy
        self._applier, self._size, self._seed = applier, size, seed
        self._workers, self._prefetch, self._device = workers, prefetch, device
        self._mean, self._std, self._pixels = mean, std, pixels
        self._resized = pixels is not None and pixels.cache.size == size
        reads_bmp = pixels is None and device.type == "cpu" and has_kernel()
        self._plain = UncompressedBmps(manifest) if reads_bmp else None
        self._dtype = types.FLOAT16 if half and applier == "compiled-host" else types.FLOAT
        if applier == "compiled-host" and pixels is not None and pixels.resident is not None:
            raise ConfigError(
                "--applier compiled-host augments on the CPU, and --cache gpu keeps the pixels on "
                "the GPU: use --cache auto, or --applier fused."
            )
        self._spare: Running | None = None
        self._running: weakref.WeakSet[Running] = weakref.WeakSet()

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self._stream)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of ``epoch`` from batch ``start`` on.

        Several epochs at once don't disturb each other.

        Raises:
            DataError: a file can't be read or decoded any more; it is named.
            FastleukError: the loader was closed in the middle of the epoch, or DALI failed.
        """
        running = self._start()
        try:
            running.feed.begin(self._plans(running, epoch, start))
            while (found := self._run(running)) is not None:
                yield self._batch(running, *found)
                running.take_back()
            if running.rewind() and self._spare is None:
                self._spare = running
        finally:
            self._running.discard(running)
            if running is not self._spare:
                running.close()

    def _plans(self, running: Running, epoch: int, start: int) -> Iterator[BatchPlan]:
        del running
        return self._stream.batches(epoch, start)

    def close(self) -> None:
        """Free threads and memory, also of epochs left midway; a later epoch builds them anew."""
        spare, self._spare = self._spare, None
        for running in (spare, *self._running):
            if running is not None:
                running.close()
        self._running.clear()

    def _start(self) -> Running:
        """Take the pipeline of the epoch before, if it is to be had, or build one."""
        running, self._spare = self._spare, None
        if running is None or running.pid != os.getpid():
            feed = self._feed()
            pipeline = self.build(feed)
            pipeline.build()
            hold = None
            if self._device.type == "cuda":
                hold = Hold(self._prefetch + 2, device=self._device)
            running = Running(shield_from_fork(pipeline), feed, hold)
        self._running.add(running)
        return running

    def _run(self, running: Running) -> tuple[tuple[Any, ...], BatchPlan] | None:
        """The pipeline's next outputs and what they are of; None at the end."""
        on_gpu = self._device.type == "cuda"
        # DALI then makes this stream wait for the batch, not the host.
        stream = torch.cuda.current_stream(self._device) if on_gpu else None
        pipeline = running.pipeline
        if pipeline is None or running.pid != os.getpid():
            raise FastleukError(
                "The loader was closed in the middle of an epoch, or this process was forked "
                "from the one where the epoch began: begin it anew."
            )
        try:
            outputs = pipeline.run(stream)
        except StopIteration:
            return None
        except RuntimeError as error:
            rows = np.unique(np.concatenate([plan.indices for plan in running.feed.in_flight]))
            changed = self._plain.changed(rows) if self._plain is not None else []
            if changed:
                raise DataError(
                    "Files were plain BMPs when the run started and are not any more:\n"
                    f"{listed([str(file) for file in changed])}\nRestore them and resume the run."
                ) from error
            raise explain(error, self._manifest, rows) from error
        return outputs, running.feed.in_flight.popleft()

    def _batch(self, running: Running, outputs: tuple[Any, ...], plan: BatchPlan) -> Batch:
        """What the consumer gets; the running epoch holds whatever of it is DALI's memory."""
        del plan
        images, labels, indices = (torch.from_dlpack(output.as_tensor()) for output in outputs)
        running.lend((images, labels, indices))
        return Batch(images.float().permute(0, 3, 1, 2), labels, indices)

    def _feed(self) -> Feed:
        return Feed(
            manifest=self._manifest,
            pixels=self._pixels,
            policy=self._policy,
            applier=self._applier,
            size=self._size,
            seed=self._seed,
            uncompressed=self._plain,
        )

    def build(self, feed: Feed | None = None) -> Pipeline:
        """Return the unbuilt pipeline: images and parameters in; images, labels, indices out.

        Args:
            feed: Where it gets them from; None for a feed of its own.
        """
        feed = feed or self._feed()
        with self._pipeline() as pipeline:
            pipeline.set_outputs(
                *batches_graph(
                    feed,
                    mean=self._mean,
                    std=self._std,
                    resized=self._resized,
                    dtype=self._dtype,
                    device="gpu" if self._device.type == "cuda" else "cpu",
                )
            )
        return pipeline

    def _pipeline(self) -> Pipeline:
        return Pipeline(
            batch_size=self._stream.batch_size,
            num_threads=self._workers,
            device_id=(self._device.index or 0) if self._device.type == "cuda" else None,
            prefetch_queue_depth=self._prefetch,
        )
