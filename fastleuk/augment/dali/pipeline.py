"""The augmentation inside anybody's DALI pipeline, and pipelines of our own for arrays."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastleuk.augment.appliers.exact import (
    DataNode,
    Pipeline,
    do_not_convert,
    fn,
    pipeline_def,
    types,
)
from fastleuk.augment.appliers.lowering import Array, fastest_in_graph, param_arrays, param_names
from fastleuk.augment.dali.fork import shield_from_fork
from fastleuk.augment.dali.graph import HOST, apply_graph
from fastleuk.augment.draw import draw
from fastleuk.augment.hold import Hold
from fastleuk.augment.normalization import IMAGENET_MEAN, IMAGENET_STD
from fastleuk.augment.params import AugmentParams
from fastleuk.augment.policy import PAPER, AugmentPolicy
from fastleuk.errors import ConfigError, FastleukError

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
            result is, too. Anything else ends the run with DALI's error, which names
            ``images_must_be_uint8_RGB_in_HWC_layout``; decode grey images as RGB
            (``output_type=types.RGB``).
        policy: What to draw from.
        size: Edge of the output in pixels.
        seed: Of the run, in [0, 2**64).
        applier: ``fused``, ``exact``, or, for images on the CPU, ``compiled``, or
            ``compiled-host``, whose result goes to the GPU. ``auto`` takes the fastest that is
            installed: ``compiled`` for images on the CPU where numba is, else ``fused``;
            ``exact`` where the policy interpolates by ``nearest``.
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
    if applier == "auto":
        applier = fastest_in_graph(policy.interpolation, images.device)
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
        device="gpu" if applier == "compiled-host" else images.device,
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
    """The batch of the next run. The pipeline holds it, and it doesn't know the pipeline."""

    def __init__(self) -> None:
        self.images: Any = None
        self.params: tuple[Array, ...] = ()


class ArrayPipeline:
    """A pipeline that augments batches of arrays, built once and kept.

    Args:
        max_batch_size: Of any later call.
        device: ``cpu`` or ``gpu``: where the result is.
        device_id: Which GPU.
        resident: The images of a call are one tensor on that GPU, ``(N, H, W, 3)``.
        options: Of ``apply_graph``.
    """

    def __init__(
        self,
        max_batch_size: int,
        device: str,
        *,
        device_id: int | None = None,
        resident: bool = False,
        **options: Any,
    ) -> None:
        self._applier = options["applier"]
        self._lock = threading.Lock()
        self._feed = _Feed()
        self._hold = Hold(2, device=device_id) if device == "gpu" else None
        self._device_id = device_id
        self._pipeline = _graph(self._feed, max_batch_size, device, device_id, resident, options)
        self._pipeline.build()
        shield_from_fork(self._pipeline)

    def __call__(self, images: Any, params: AugmentParams) -> Any:
        """A DALI tensor list with the result for each image."""
        with self._lock:
            self._feed.images = images
            self._feed.params = param_arrays(params, self._applier)
            try:
                return self._pipeline.run(self._stream())[0]
            except RuntimeError as error:
                raise FastleukError(f"DALI failed: {error}") from error
            finally:
                self._feed.images, self._feed.params = None, ()  # they are the caller's

    def _stream(self) -> Any:
        """On a GPU the stream that reads the result: DALI makes it wait, not the host."""
        if self._hold is None:
            return None
        import torch

        return torch.cuda.current_stream(self._device_id)

    def to_torch(self, output: Any) -> Any:
        """A copy of a result on the GPU; DALI's memory is held until it has been made."""
        import torch

        copy = torch.from_dlpack(output.as_tensor()).clone()
        if self._hold is not None:
            self._hold.add(output)
        return copy


def _graph(
    feed: _Feed,
    max_batch_size: int,
    device: str,
    device_id: int | None,
    resident: bool,
    options: dict[str, Any],
) -> Pipeline:
    applier = options["applier"]

    @pipeline_def(
        batch_size=max_batch_size,
        num_threads=min(8, _cores()),
        device_id=device_id if device == "gpu" else None,
        prefetch_queue_depth=1,
        exec_dynamic=True,  # each result has memory of its own, which lives as long as it
    )
    def define() -> DataNode:
        images = fn.external_source(
            lambda: feed.images, batch=True, layout="HWC", device="gpu" if resident else "cpu"
        )
        nodes = fn.external_source(
            lambda: feed.params, num_outputs=len(param_names(applier)), batch=True
        )
        if device == "gpu" and not resident and applier not in HOST:
            images = images.gpu()
        return apply_graph(images, nodes, device=device, **options)

    return define()


def _cores() -> int:
    """Cores that this process may use: a container or a batch system gives it some of them."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@functools.lru_cache(maxsize=8)
def array_pipeline(max_batch_size: int, device: str, **options: Any) -> ArrayPipeline:
    """The pipeline for these options; the eight used last are kept."""
    return ArrayPipeline(max_batch_size, device, **options)


if hasattr(os, "register_at_fork"):
    # After dali_fork's, registered before: a child forgets them without destroying them.
    os.register_at_fork(after_in_child=array_pipeline.cache_clear)
