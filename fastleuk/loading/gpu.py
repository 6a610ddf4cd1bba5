"""The loader of a GPU without DALI: the decoded cache, augmented by the compiled kernels there.

The cache lies in GPU memory (``--cache gpu``) or is mapped from a file. From the former a batch
costs a few hundred bytes of upload an image, from the latter its pixels as uint8. A thread draws
the parameters and fills buffers ahead of the step; nothing here waits for the GPU.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fastleuk.augment import AugmentPolicy, draw, identity
from fastleuk.augment.gpu.images import BLOCK, IMAGE_NUMBERS, Kernels
from fastleuk.augment.gpu.upload import CudaStreams, HostStreams, Slot, UploadRing
from fastleuk.data.manifest import Manifest
from fastleuk.loading.batch import Batch, Loader
from fastleuk.loading.prepare import Pixels
from fastleuk.loading.stream import BatchPlan, Stream


@dataclass(frozen=True, eq=False, slots=True)
class _Prepared:
    """A batch on its way to the device."""

    slot: Slot
    count: int
    length: int


class GpuLoader(Loader):
    """Batches from the decoded cache, augmented on the GPU by the applier ``compiled``.

    Args:
        manifest: The images.
        stream: Their order.
        size: Edge in pixels; that of the cache.
        prefetch: Batches made ahead.
        seed: Of the augmentation.
        mean: Channel means of the normalisation in 0–1 units.
        std: Channel standard deviations in 0–1 units.
        device: ``cuda:N`` (``cpu`` where Triton's interpreter is on).
        pixels: The decoded cache.
        policy: What augmented samples get; None for evaluation.
        block: Pixels a program of the kernels.
    """

    def __init__(
        self,
        *,
        manifest: Manifest,
        stream: Stream,
        size: int,
        prefetch: int,
        seed: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
        pixels: Pixels,
        policy: AugmentPolicy | None,
        block: int = BLOCK,
    ) -> None:
        assert pixels.cache.size == size, "un-augmented images of another size need a resize"
        self._manifest, self._stream, self._size = manifest, stream, size
        self._prefetch, self._seed, self._policy = prefetch, seed, policy
        self._device, self._pixels = device, pixels
        self._kernels = Kernels(size, mean=mean, std=std, layout="HWC", block=block)
        self._labels = np.asarray(manifest.labels, np.int64)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self._stream)

    def close(self) -> None:
        """Free nothing: buffers and thread are those of an epoch."""

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of ``epoch`` from batch ``start`` on."""
        plans = self._stream.batches(epoch, start)
        thread = ThreadPoolExecutor(1, thread_name_prefix="fastleuk-upload")
        ahead: deque[Future[_Prepared]] = deque()
        ring: UploadRing | None = None
        try:
            for plan in plans:
                if ring is None:
                    ring = self._ring(plan)
                ahead.append(thread.submit(self._prepare, ring, plan))
                if len(ahead) > self._prefetch:
                    yield self._take(ring, ahead.popleft().result())
            while ahead and ring is not None:
                yield self._take(ring, ahead.popleft().result())
        finally:
            thread.shutdown(cancel_futures=True)

    def _ring(self, plan: BatchPlan) -> UploadRing:
        """Buffers for batches as large as this one: the first of an epoch is the largest."""
        images = 0 if self._pixels.resident is not None else 3 * self._size**2
        row = self._kernels.packed_rows(self._draw(plan))[0].nbytes
        nbytes = len(plan.indices) * (8 * IMAGE_NUMBERS + row + 16 + images) + 16
        streams = CudaStreams(self._device) if self._device.type == "cuda" else HostStreams()
        return UploadRing(streams, slots=self._prefetch + 2, nbytes=nbytes)

    def _draw(self, plan: BatchPlan) -> Any:
        if self._policy is None:
            return identity(len(plan.indices), self._size)
        return draw(
            self._policy,
            seed=self._seed,
            epoch=plan.draw_epoch,
            indices=plan.draws,
            size=self._size,
            augmented=plan.augmented,
        )

    def _prepare(self, ring: UploadRing, plan: BatchPlan) -> _Prepared:
        """Draw, fill a buffer and begin its upload; in the thread."""
        rows = self._kernels.packed_rows(self._draw(plan))
        # The int64 numbers behind them lie on a multiple of 8 bytes.
        padding = [np.zeros(1, np.float32)] if rows.size % 2 else []
        count, indices = len(plan.indices), np.asarray(plan.indices, np.int64)
        numbers = [rows, *padding, self._labels[indices], indices]
        edge = self._size
        table = np.zeros((count, IMAGE_NUMBERS), np.int64)
        table[:, 1:4] = 3 * edge, edge, edge

        def parts(buffer: torch.Tensor) -> list[np.ndarray]:
            resident, images = self._pixels.resident, []
            if resident is not None:
                table[:, 0] = resident.data_ptr() + indices * resident.stride(0)
            else:
                first = table.nbytes + sum(array.nbytes for array in numbers)
                table[:, 0] = buffer.data_ptr() + first + np.arange(count) * 3 * edge**2
                images = self._pixels.cache.images(indices)
            return [table, *numbers, *images]

        return _Prepared(ring.upload(parts), count, rows.shape[1])

    def _take(self, ring: UploadRing, batch: _Prepared) -> Batch:
        """Put the kernels on torch's stream; what they read stays until they have read it."""
        count = batch.count
        with ring.reading(batch.slot) as buffer:
            images = self._kernels.launch(buffer, count, batch.length)
            first = 8 * IMAGE_NUMBERS * count + (4 * batch.length * count + 7) // 8 * 8
            numbers = buffer[first : first + 16 * count].view(torch.int64).clone()
            labels, indices = numbers.split(count)
        return Batch(images.permute(0, 3, 1, 2), labels, indices)
