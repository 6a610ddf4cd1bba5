"""The DALI loader: read, decode, augment and normalise on the CPU or the GPU.

One graph for both devices. Order and parameters come from NumPy (:mod:`.stream`,
:mod:`fastleuk.augment.draw`) through one ``external_source``; DALI keeps no random state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
import torch
from nvidia.dali import Pipeline, fn, types
from nvidia.dali.data_node import DataNode

from fastleuk.augment import AugmentPolicy, draw, param_arrays, param_names
from fastleuk.augment.dali import apply_graph, resize
from fastleuk.data.manifest import Manifest
from fastleuk.errors import DataError, FastleukError, listed
from fastleuk.loading.batch import Batch
from fastleuk.loading.decode import decode
from fastleuk.loading.stream import BatchPlan, Stream

PREFETCH = 2
"""Batches that DALI works ahead."""


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
    ) -> None:
        self._manifest, self._stream, self._policy = manifest, stream, policy
        self._applier, self._size, self._seed = applier, size, seed
        self._workers, self._device = workers, device
        self._mean, self._std = mean, std
        self._plans: Iterator[BatchPlan] = iter(())
        self._in_flight: deque[BatchPlan] = deque()
        self._pipeline: Pipeline | None = None
        self._at_start = True

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
        self._at_start = False
        while True:
            try:
                images, labels, indices = pipeline.run()
            except StopIteration:
                break
            except RuntimeError as error:
                self.close()
                raise self._explain(error) from error
            self._in_flight.popleft()
            yield Batch(
                torch.from_dlpack(images.as_tensor()).permute(0, 3, 1, 2),
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
        """Return the unbuilt pipeline: paths and parameters in, images, labels, indices out."""
        device = "gpu" if self._device.type == "cuda" else "cpu"
        pipeline = Pipeline(
            batch_size=self._stream.batch_size,
            num_threads=self._workers,
            device_id=(self._device.index or 0) if device == "gpu" else None,
            prefetch_queue_depth=PREFETCH,
        )
        count = 3 + self._cropped
        if self._policy is not None:
            count += len(param_names(self._applier))
        with pipeline:
            paths, labels, indices, *rest = fn.external_source(
                source=self._next_inputs,
                num_outputs=count,
                batch=True,
            )
            images = self._decode(paths, rest.pop(0) if self._cropped else None, device)
            images = self._finish(images, rest, device)
            if device == "gpu":  # torch refuses the pinned memory a CPU output would be in
                labels, indices = labels.gpu(), indices.gpu()
            pipeline.set_outputs(images, labels, indices)
        return pipeline

    @property
    def _cropped(self) -> bool:
        return bool(self._manifest.crops.any())

    def _decode(self, paths: DataNode, crops: DataNode | None, device: str) -> DataNode:
        encoded = fn.io.file.read(paths)
        images = fn.decoders.image(
            encoded,
            device="mixed" if device == "gpu" else "cpu",
            output_type=types.RGB,
            jpeg_fancy_upsampling=True,
        )
        if crops is None:
            return images
        sides = fn.peek_image_shape(encoded, dtype=types.INT64)
        whole = fn.cast(crops == 0, dtype=types.INT64)
        height, width = (crops + whole * sides[axis] for axis in (0, 1))
        return fn.crop(
            images,
            crop_h=fn.cast(height, dtype=types.FLOAT),
            crop_w=fn.cast(width, dtype=types.FLOAT),
        )

    def _finish(self, images: DataNode, params: list[DataNode], device: str) -> DataNode:
        """Resize, augment and normalise to float32 HWC."""
        if self._policy is None:
            return fn.crop_mirror_normalize(
                resize(images, self._size),
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
        )

    def _next_inputs(self) -> tuple:
        """Give DALI the next batch's paths, labels, indices and parameters."""
        plan = next(self._plans)  # StopIteration ends the epoch
        self._in_flight.append(plan)
        manifest, rows = self._manifest, plan.indices
        names = [np.frombuffer(str(manifest.file(row)).encode(), np.uint8) for row in rows]
        inputs = [names, manifest.labels[rows], rows]
        if self._cropped:
            inputs.append(manifest.crops[rows])
        if self._policy is None:
            return tuple(inputs)
        params = draw(
            self._policy,
            seed=self._seed,
            epoch=plan.draw_epoch,
            indices=plan.draws,
            size=self._size,
            augmented=plan.augmented,
        )
        return (*inputs, *param_arrays(params, self._applier))

    def _explain(self, error: RuntimeError) -> FastleukError:
        """Name the files in flight that PIL can't read either."""
        bad = []
        for row in sorted({int(row) for plan in self._in_flight for row in plan.indices}):
            try:
                decode(self._manifest.file(row))
            except DataError as reason:
                bad.append(str(reason))
        if bad:
            return DataError(
                f"Files that were readable when the run started are not any more:\n{listed(bad)}\n"
                "Restore them and resume the run."
            )
        return FastleukError(f"DALI failed: {error}")
