"""The augmentation inside anybody's DALI pipeline, and pipelines of our own for arrays."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastleuk.augment.dali import DataNode, Pipeline, do_not_convert, fn, pipeline_def, types
from fastleuk.augment.dali_fork import shield_from_fork
from fastleuk.augment.dali_graph import apply_graph
from fastleuk.augment.draw import draw
from fastleuk.augment.lowering import Array, param_arrays, param_names
from fastleuk.augment.normalization import IMAGENET_MEAN, IMAGENET_STD
from fastleuk.augment.params import AugmentParams
from fastleuk.augment.policy import PAPER, AugmentPolicy
from fastleuk.errors import ConfigError

_SHARD_STRIDE = 2**48


@do_not_convert
def augment(
    images: DataNode,
    policy: AugmentPolicy = PAPER,
    size: int = 224,
    seed: int = 7,
    *,
    applier: str = "fused",
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    layout: str = "HWC",
    dtype: types.DALIDataType = types.FLOAT,
    normalize: bool = True,
    shard_id: int = 0,
) -> DataNode:
    """Resize, augment and normalise images inside any ``@pipeline_def``; nothing to feed.

    Determinism: sample ``j`` of the batch ``i`` gets the parameters of ``(seed, e, i * B + j)``
    with ``B`` the pipeline's ``batch_size`` and ``e`` the number of times that a user's
    ``external_source`` has ended an epoch with ``StopIteration`` (which sets ``i`` back to 0).
    DALI's readers never do: with them ``e`` stays 0, ``i`` counts on, and every epoch has new
    augmentations. The number of threads, the prefetch depth and the device change nothing, and
    a pipeline restored from a DALI checkpoint goes on where it was. For the same parameters
    whatever the batch size and order, draw by sample index and use ``apply_graph``.

    The pipeline's batches must be full, as those of DALI's readers always are.

    Args:
        images: ``(H, W, 3)`` uint8 RGB of any size, on the CPU or the GPU; that is where the
            result is, too.
        policy: What to draw from.
        size: Edge of the output in pixels.
        seed: Of the run, in [0, 2**64).
        applier: ``fused``, ``exact``, or, for images on the CPU, ``compiled``.
        mean: For each channel, in units of the range 0-1.
        std: Likewise.
        layout: ``HWC`` or ``CHW``.
        dtype: ``types.FLOAT`` or ``types.FLOAT16``.
        normalize: If false, the values are levels from 0 to 255 (float).
        shard_id: Different for pipelines that share a seed, so that they draw differently.

    Returns:
        ``(size, size, 3)`` or ``(3, size, size)``.

    Raises:
        ConfigError: if an argument makes no sense.
    """
    pipeline = Pipeline.current()
    if pipeline is None:
        raise ConfigError("augment() is for use inside a @pipeline_def; for arrays: augment_batch")
    if not isinstance(images, DataNode):
        raise ConfigError(f"images must be a DataNode, got {type(images).__name__}")
    if not isinstance(policy, AugmentPolicy):
        raise ConfigError(f"policy must be an AugmentPolicy, got {policy!r}")
    source = _ParamSource(policy, size, seed, applier, pipeline.max_batch_size, shard_id)
    nodes = fn.external_source(
        source, num_outputs=len(param_names(applier)), batch=True, batch_info=True
    )
    return apply_graph(
        images,
        nodes,
        size=size,
        applier=applier,
        interpolation=policy.interpolation,
        mean=mean,
        std=std,
        layout=layout,
        dtype=dtype,
        device=images.device,
        normalize=normalize,
    )


class _ParamSource:
    """Parameters of a batch as a function of DALI's ``BatchInfo``: so it can be checkpointed."""

    def __init__(
        self,
        policy: AugmentPolicy,
        size: int,
        seed: int,
        applier: str,
        batch_size: int,
        shard_id: int,
    ) -> None:
        if not 0 <= shard_id < 2**14:
            raise ConfigError(f"shard_id must be from 0 to {2**14 - 1}, got {shard_id}")
        self.policy, self.size, self.seed, self.applier = policy, size, seed, applier
        self.indices = np.arange(batch_size) + shard_id * _SHARD_STRIDE
        draw(policy, seed=seed, epoch=0, indices=self.indices, size=size)  # bad arguments: now

    def __call__(self, info: Any) -> tuple[Array, ...]:
        indices = self.indices + info.iteration * len(self.indices)
        params = draw(
            self.policy, seed=self.seed, epoch=info.epoch_idx, indices=indices, size=self.size
        )
        return param_arrays(params, self.applier)


class _Feed:
    """What an array pipeline reads; it knows no pipeline, so that none keeps itself alive."""

    def __init__(self) -> None:
        self.batch: list[Any] = []

    def __call__(self) -> list[Any]:
        return self.batch


class ArrayPipeline:
    """A pipeline that augments batches of arrays, built once and kept.

    It holds none of the images between two calls. One call at a time; others wait.

    Args:
        max_batch_size: Of any later call.
        device: ``cpu`` or ``gpu``.
        device_id: Which GPU.
        options: Of ``apply_graph``.
    """

    def __init__(
        self, max_batch_size: int, device: str, *, device_id: int = 0, **options: Any
    ) -> None:
        self.device_id = device_id if device == "gpu" else None
        self._applier = options["applier"]
        self._feed = feed = _Feed()
        self._lock = threading.Lock()
        count = 1 + len(param_names(self._applier))

        @pipeline_def(
            batch_size=max_batch_size,
            num_threads=_threads(),
            device_id=self.device_id,
            prefetch_queue_depth=1,
        )
        def define() -> DataNode:
            layouts = ["HWC"] + [""] * (count - 1)
            images, *nodes = fn.external_source(feed, num_outputs=count, batch=True, layout=layouts)
            images = images.gpu() if device == "gpu" else images
            return apply_graph(images, nodes, device=device, **options)

        self._pipeline = define()
        self._pipeline.build()
        shield_from_fork(self._pipeline)

    def __call__(self, images: Sequence[np.ndarray], params: AugmentParams) -> Any:
        """A DALI tensor list with the result for each image."""
        with self._lock:
            self._feed.batch = [list(images), *param_arrays(params, self._applier)]
            try:
                return self._pipeline.run(self._stream())[0]
            finally:
                self._feed.batch = []

    def tensor(self, images: Sequence[np.ndarray], params: AugmentParams) -> Any:
        """The result of one call as a torch tensor of its own, on the pipeline's device."""
        import torch

        output = self(images, params)
        copy = torch.from_dlpack(output.as_tensor()).clone()
        if self.device_id is not None:  # DALI takes its buffer back as soon as it is dropped
            torch.cuda.current_stream(self.device_id).synchronize()
        return copy

    def _stream(self) -> Any:
        """On a GPU the stream that reads the result, where torch is there to have one."""
        if self.device_id is None or "torch" not in sys.modules:
            return None
        return sys.modules["torch"].cuda.current_stream(self.device_id)


def current_gpu() -> int:
    """The number of torch's current GPU; 0 where torch has not been imported."""
    return int(sys.modules["torch"].cuda.current_device()) if "torch" in sys.modules else 0


def _threads() -> int:
    """Cores that this process may use, eight at most."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return min(8, len(affinity(0)) if affinity else os.cpu_count() or 1)


@functools.lru_cache(maxsize=8)
def array_pipeline(max_batch_size: int, device: str, **options: Any) -> ArrayPipeline:
    """The pipeline for these options; the eight used last are kept."""
    return ArrayPipeline(max_batch_size, device, **options)


if hasattr(os, "register_at_fork"):
    # After dali_fork's, registered before: a child forgets them without destroying them.
    os.register_at_fork(after_in_child=array_pipeline.cache_clear)
