"""The loader of a GPU by the compiled kernels: the GPU reads, resizes, augments, normalises.

Images come from GPU memory (``--cache gpu``), the mapped cache, or the files (:mod:`.gpu_sources`).
From GPU memory a batch costs a few hundred bytes of upload an image, from the cache its pixels as
uint8, from plain BMPs their bytes: nothing decodes them. A thread draws the parameters and fills
buffers ahead of the step, with others that copy and read; nothing here waits for the GPU.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from fastleuk.augment import AugmentPolicy
from fastleuk.augment.gpu.kernels import Kernels
from fastleuk.augment.gpu.packing import Images, Layout
from fastleuk.augment.gpu.streams import streams_of
from fastleuk.augment.gpu.upload import Slot, UploadRing
from fastleuk.data.manifest import Manifest
from fastleuk.loading.batch import Batch, Loader
from fastleuk.loading.gpu.draws import with_rows
from fastleuk.loading.gpu.sources import Source, each_of
from fastleuk.loading.stream import BatchPlan, Stream


@dataclass(frozen=True, eq=False, slots=True)
class _Prepared:
    """A batch on its way to the device, with what it reads there."""

    slot: Slot
    layout: Layout
    images: Images


class GpuLoader(Loader):
    """Batches augmented on the GPU by the applier ``compiled``.

    Args:
        manifest: The images.
        stream: Their order.
        size: Edge in pixels.
        workers: Threads that copy pixels or read files.
        prefetch: Batches made ahead.
        seed: Of the augmentation.
        mean: Channel means of the normalisation in 0–1 units.
        std: Channel standard deviations in 0–1 units.
        device: ``cuda:N`` (``cpu`` where the kernels run there, in tests).
        source: Where the images are.
        policy: What augmented samples get; None for evaluation.
        dtype: Of the images: ``float32``, ``float16`` or ``bfloat16``.
    """

    def __init__(
        self,
        *,
        manifest: Manifest,
        stream: Stream,
        size: int,
        workers: int,
        prefetch: int,
        seed: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
        source: Source,
        policy: AugmentPolicy | None,
        dtype: str = "float32",
    ) -> None:
        self._stream, self._source, self._device = stream, source, device
        self._workers, self._prefetch, self._seed = workers, prefetch, seed
        self._policy = policy
        self._kernels = Kernels(size, mean=mean, std=std, layout="HWC", dtype=dtype)
        self._labels = np.asarray(manifest.labels, np.int64)
        self._spare: UploadRing | None = None

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self._stream)

    def close(self) -> None:
        """Free the buffers; the threads are those of an epoch."""
        self._spare = None

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of ``epoch`` from batch ``start`` on.

        Several epochs at once don't disturb each other.

        Raises:
            ConfigError: a batch is larger than the GPU's memory.
            DataError: a file can't be read or decoded any more; it is named.
        """
        plans = self._stream.batches(epoch, start)
        batches = with_rows(plans, self._kernels, self._policy, self._seed)
        ring, self._spare = self._spare, None
        if ring is None:  # one slot is being read, the others are filled
            ring = UploadRing(streams_of(self._device), slots=self._prefetch + 2)
        thread = ThreadPoolExecutor(1, thread_name_prefix="fastleuk-upload")
        pool = None
        if self._workers > 1:
            pool = ThreadPoolExecutor(self._workers, thread_name_prefix="fastleuk-read")
        ahead: deque[Future[_Prepared | None]] = deque()
        try:
            for _ in range(self._prefetch + 1):
                ahead.append(thread.submit(self._prepare, batches, ring, pool))
            while (batch := ahead.popleft().result()) is not None:
                ahead.append(thread.submit(self._prepare, batches, ring, pool))
                yield self._take(ring, batch)
            self._spare = ring
        finally:
            thread.shutdown(cancel_futures=True)
            if pool is not None:
                pool.shutdown(cancel_futures=True)

    def _prepare(
        self,
        batches: Iterator[tuple[BatchPlan, np.ndarray]],
        ring: UploadRing,
        pool: ThreadPoolExecutor | None,
    ) -> _Prepared | None:
        """Fill a buffer with the next batch and begin its upload; None at the end."""
        plan, rows = next(batches, (None, None))
        if plan is None or rows is None:
            return None
        each = each_of(pool)
        indices = np.asarray(plan.indices, np.int64)
        images = self._source.images(indices, each)
        packed = self._kernels.pack(images, rows, [self._labels[indices], indices])
        layout = packed.layout
        slot = ring.upload(
            lambda buffer: packed.uploads(buffer.data_ptr()),
            layout.images_up.stop,
            room=layout.room.stop,
            each=each,
        )
        return _Prepared(slot, layout, images)

    def _take(self, ring: UploadRing, batch: _Prepared) -> Batch:
        """Put the kernels on torch's stream; what they read stays until they have read it."""
        layout = batch.layout
        with ring.reading(batch.slot) as buffer:
            images = self._kernels.launch(buffer, layout)
            self._source.used()
            numbers = buffer[layout.extra].view(torch.int64).clone()
        labels, indices = numbers.split(layout.images)
        return Batch(images.permute(0, 3, 1, 2), labels, indices)
