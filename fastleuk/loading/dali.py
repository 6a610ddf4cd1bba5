"""The DALI loader: read, decode, augment and normalise on the CPU or the GPU.

One graph for both devices. Order and parameters come from NumPy (:mod:`.stream`,
:mod:`fastleuk.augment.draw`) through ``external_source``; DALI keeps no random state.
Decoded images are handed over as views of the memory-mapped cache: nothing copies them
before the first augmentation reads them. Without a cache, ``compiled`` reads uncompressed BMPs
by itself, and like ``fused`` samples an image's own pixels: augmented images then differ by a
little from those of the cache, which were resized before. ``exact`` resizes first in any case.

Memory: ``prefetch + 1`` batches of float32 images and of what the operators need in between,
about ``(prefetch + 1) * batch_size * size**2 * 50`` bytes; the encoded and decoded files of as
many batches on top where there is no cache. A pipeline is built when its first epoch begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from nvidia.dali import Pipeline, fn, types
from nvidia.dali.data_node import DataNode

from fastleuk.augment import AugmentPolicy, apply_graph, draw, param_arrays, param_names
from fastleuk.augment.dali import resize
from fastleuk.augment.dali_compiled import is_plain_bmp
from fastleuk.augment.dali_graph import apply_graph_to_files
from fastleuk.data.bmp import HEADER
from fastleuk.data.manifest import Manifest
from fastleuk.data.shards import read_header
from fastleuk.errors import DataError
from fastleuk.loading.batch import Batch
from fastleuk.loading.dali_decode import (
    count_inputs,
    decode_bytes,
    decode_graph,
    explain,
    file_inputs,
)
from fastleuk.loading.prepare import Pixels
from fastleuk.loading.stream import BatchPlan, Stream
from fastleuk.memory import keep_freed_memory


class DaliLoader:
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
    ) -> None:
        if device.type == "cpu":
            keep_freed_memory()
        self._manifest, self._stream, self._policy = manifest, stream, policy
        self._applier, self._size, self._seed = applier, size, seed
        self._workers, self._prefetch, self._device = workers, prefetch, device
        self._mean, self._std, self._pixels = mean, std, pixels
        self._plans: Iterator[BatchPlan] = iter(())
        self._in_flight: deque[BatchPlan] = deque()
        self._waiting: dict[str, deque[BatchPlan]] = {}
        self._pipeline: Pipeline | None = None
        self._at_start = True
        self._resized = pixels is not None and pixels.cache.size == size
        self._reads_bmp = pixels is None and policy is not None and applier == "compiled"
        self._plain: dict[int, bool] = {}

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self._stream)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of ``epoch`` from batch ``start`` on.

        Raises:
            DataError: a file can't be read or decoded any more; it is named.
        """
        pipeline = self._fresh_pipeline()
        self._plans = self._stream.batches(epoch, start)
        self._in_flight.clear()
        self._waiting = {"images": deque(), "rest": deque()}
        self._at_start = False
        while True:
            try:
                images, labels, indices = pipeline.run()
            except StopIteration:
                break
            except RuntimeError as error:
                self.close()
                rows = np.unique(np.concatenate([plan.indices for plan in self._in_flight]))
                raise explain(error, self._manifest, rows) from error
            plan = self._in_flight.popleft()
            pixels = torch.from_dlpack(images.as_tensor())
            if self._reads_bmp and torch.isnan(pixels[:, 0, 0, 0]).any():
                self.close()
                raise explain(RuntimeError("a BMP has changed"), self._manifest, plan.indices)
            yield Batch(
                pixels.permute(0, 3, 1, 2),
                torch.from_dlpack(labels.as_tensor()),
                torch.from_dlpack(indices.as_tensor()),
            )
        pipeline.reset()
        self._at_start = True

    def close(self) -> None:
        """Free the pipeline's threads and memory; a later epoch builds it anew."""
        self._pipeline = None
        self._at_start = True

    def _fresh_pipeline(self) -> Pipeline:
        """Return a pipeline with nothing prefetched: a new one if an epoch was left midway."""
        if self._pipeline is None or not self._at_start:
            self._pipeline = self.build()
            self._pipeline.build()
        return self._pipeline

    def build(self) -> Pipeline:
        """Return the unbuilt pipeline: images and parameters in; images, labels, indices out."""
        device = "gpu" if self._device.type == "cuda" else "cpu"
        pipeline = Pipeline(
            batch_size=self._stream.batch_size,
            num_threads=self._workers,
            device_id=(self._device.index or 0) if device == "gpu" else None,
            prefetch_queue_depth=self._prefetch,
        )
        with pipeline:
            names = [] if self._policy is None else param_names(self._applier)
            labels, indices, *params = fn.external_source(
                source=self._next_rest, num_outputs=2 + len(names), batch=True
            )
            images = (
                self._from_files(params)
                if self._reads_bmp
                else self._finish(self._images(device), params, device)
            )
            if device == "gpu":  # torch refuses the pinned memory a CPU output would be in
                labels, indices = labels.gpu(), indices.gpu()
            pipeline.set_outputs(images, labels, indices)
        return pipeline

    def _images(self, device: str) -> DataNode:
        """Decoded uint8 images: from GPU memory, from the mapped cache, or from the files."""
        if self._pixels is None:
            nodes = fn.external_source(
                source=self._next_files, num_outputs=count_inputs(self._manifest), batch=True
            )
            return decode_graph(self._manifest, list(nodes), device)
        if self._pixels.resident is not None:
            return fn.external_source(
                source=self._next_resident, batch=True, device=device, layout="HWC"
            )
        images = fn.external_source(
            source=self._next_mapped,
            batch=True,
            layout="HWC",
            # The views outlive the batch, for the cache is held here. A GPU graph copies them
            # into pinned memory, from which the upload is asynchronous.
            no_copy=device == "cpu",
        )
        return images.gpu() if device == "gpu" else images

    def _from_files(self, params: list[DataNode]) -> DataNode:
        """From the files to normalised images; plain BMPs that are augmented are not decoded."""
        source, *crops, plain = fn.external_source(
            source=self._next_files, num_outputs=1 + count_inputs(self._manifest), batch=True
        )
        return apply_graph_to_files(
            source if self._manifest.packed else fn.io.file.read(source),
            plain,
            params,
            decode=partial(decode_bytes, device="cpu"),
            decode_nodes=crops,
            size=self._size,
            mean=self._mean,
            std=self._std,
        )

    def _finish(self, images: DataNode, params: list[DataNode], device: str) -> DataNode:
        """Resize, augment and normalise to float32 HWC."""
        if self._policy is None:
            if not self._resized:
                images = resize(images, self._size)
            return fn.crop_mirror_normalize(
                images,
                mean=[255 * value for value in self._mean],
                std=[255 * value for value in self._std],
                output_layout="HWC",
                dtype=types.FLOAT,
            )
        return apply_graph(
            images,
            params,
            size=self._size,
            applier=self._applier,
            interpolation=self._policy.interpolation,
            mean=self._mean,
            std=self._std,
            device=device,
            resized=self._resized,
        )

    def _next_plan(self, reader: str) -> BatchPlan:
        """Give each of the two sources every plan once, whichever of them DALI asks first."""
        if not self._waiting[reader]:
            plan = next(self._plans)  # StopIteration ends the epoch
            self._in_flight.append(plan)
            for waiting in self._waiting.values():
                waiting.append(plan)
        return self._waiting[reader].popleft()

    def _next_files(self) -> tuple:
        rows = self._next_plan("images").indices
        inputs = file_inputs(self._manifest, rows)
        if self._reads_bmp:
            inputs.append(np.array([self._is_plain(int(row)) for row in rows]))
        return tuple(inputs)

    def _is_plain(self, row: int) -> bool:
        """Whether an image's file is a BMP that needs no decoding, by its header."""
        if row not in self._plain:
            file = self._manifest.file(row)
            try:
                header = read_header(file, HEADER)
            except (OSError, DataError):
                header = b""  # DALI says what is wrong with it
            whole = self._manifest.crops[row] == 0
            self._plain[row] = bool(whole) and is_plain_bmp(header, self._size)
        return self._plain[row]

    def _next_mapped(self) -> list[np.ndarray]:
        assert self._pixels is not None
        return self._pixels.cache.images(self._next_plan("images").indices)

    def _next_resident(self) -> torch.Tensor:
        assert self._pixels is not None
        resident = self._pixels.resident
        assert resident is not None
        rows = torch.from_numpy(self._next_plan("images").indices)
        return resident.index_select(0, rows.to(resident.device, non_blocking=True))

    def _next_rest(self) -> tuple:
        """Labels, indices and, if anything is augmented, its parameters."""
        plan = self._next_plan("rest")
        rows = plan.indices
        inputs = (self._manifest.labels[rows], rows)
        if self._policy is None:
            return inputs
        params = draw(
            self._policy,
            seed=self._seed,
            epoch=plan.draw_epoch,
            indices=plan.draws,
            size=self._size,
            augmented=plan.augmented,
        )
        return (*inputs, *param_arrays(params, self._applier))
