"""The way of files that a GPU decodes: DALI reads and decodes, the kernels do the rest.

Inside DALI the kernels can't stand: what calls Python or numba there launches once a sample or
waits for the stream. They take the pipeline's output by DLPack, after it, on torch's stream.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from nvidia.dali import Pipeline

from fastleuk.augment.gpu.kernels import Kernels
from fastleuk.augment.gpu.packing import on_device
from fastleuk.augment.gpu.streams import streams_of
from fastleuk.augment.gpu.upload import UploadRing
from fastleuk.loading.batch import Batch
from fastleuk.loading.dali.feed import Feed
from fastleuk.loading.dali.graph import decoded_graph
from fastleuk.loading.dali.loader import DaliLoader
from fastleuk.loading.dali.running import Running
from fastleuk.loading.gpu.draws import with_rows
from fastleuk.loading.stream import BatchPlan


class DaliKernelLoader(DaliLoader):
    """Batches that DALI decodes and the applier ``compiled`` augments, on a GPU.

    Args:
        dtype: Of the images: ``float32``, ``float16`` or ``bfloat16``.
        options: Of :class:`fastleuk.loading.dali.loader.DaliLoader`, but for the applier.
    """

    def __init__(self, *, dtype: str = "float32", **options: Any) -> None:
        super().__init__(**options, applier="exact")  # whose parameters nobody asks for
        self._kernels = Kernels(
            self._size, mean=self._mean, std=self._std, layout="HWC", dtype=dtype
        )
        self._labels = np.asarray(self._manifest.labels, np.int64)
        self._ring = UploadRing(streams_of(self._device), slots=4)

    def _feed(self) -> Feed:
        return dataclasses.replace(super()._feed(), readers=("images",), uncompressed=None)

    def build(self, feed: Feed | None = None) -> Pipeline:
        """Return the unbuilt pipeline: files in, decoded images out.

        Args:
            feed: Where it gets them from; None for a feed of its own.
        """
        feed = feed or self._feed()
        with self._pipeline() as pipeline:
            images = decoded_graph(feed, "gpu" if self._device.type == "cuda" else "cpu")
            pipeline.set_outputs(images)
        return pipeline

    def _plans(self, running: Running, epoch: int, start: int) -> Iterator[BatchPlan]:
        """The plans, as DALI asks for them ahead; their parameters are drawn then."""
        running.drawn.clear()
        plans = self._stream.batches(epoch, start)
        for plan, rows in with_rows(plans, self._kernels, self._policy, self._seed):
            running.drawn.append(rows)
            yield plan

    def _batch(self, running: Running, outputs: tuple[Any, ...], plan: BatchPlan) -> Batch:
        """Put the kernels on torch's stream; DALI's memory is held until they have read it."""
        (decoded,) = outputs
        tensors = [torch.from_dlpack(decoded[i]) for i in range(len(decoded))]
        running.lend((outputs, tensors))
        indices = np.asarray(plan.indices, np.int64)
        rows = running.drawn.popleft()
        packed = self._kernels.pack(on_device(tensors), rows, [self._labels[indices], indices])
        layout = packed.layout
        slot = self._ring.upload(
            lambda buffer: packed.uploads(buffer.data_ptr()),
            layout.images_up.stop,
            room=layout.room.stop,
        )
        with self._ring.reading(slot) as buffer:
            images = self._kernels.launch(buffer, layout)
            numbers = buffer[layout.extra].view(torch.int64).clone()
        labels, there = numbers.split(layout.images)
        return Batch(images.permute(0, 3, 1, 2), labels, there)
