"""The augmentation inside anybody's DALI pipeline, and pipelines of our own for arrays."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastleuk.augment.appliers.exact import (
    DataNode,
    Iterations,
    Pipeline,
    define_outside_branches,
    do_not_convert,
    find_readers,
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
from fastleuk.augment.policy import PAPER, AugmentPolicy, check_policy
from fastleuk.errors import ConfigError, FastleukError

_SHARD_STRIDE = 2**48


@do_not_convert
def augment(
    images: DataNode,
    policy: AugmentPolicy = PAPER,
    size: int = 224,
    seed: int = 7,
    *,
    indices: DataNode | None = None,
    epoch: int | DataNode | None = None,
    applier: str = "auto",
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    layout: str = "HWC",
    dtype: types.DALIDataType = types.FLOAT,
    normalize: bool = True,
    shard_id: int | None = None,
) -> DataNode:
    """Resize, augment and normalize images inside any ``@pipeline_def``; nothing to feed.

    Reproducibility with ``indices``: a sample is augmented as ``(seed, epoch, index)`` require,
    as :func:`fastleuk.augment.draw` draws for them. Batch size, short batches, order, shards,
    threads, prefetch depth, device and the point of resumption change nothing.

    Without ``indices``: sample ``j`` of batch ``i`` is augmented as ``(seed, e, i * B + j)``
    require, with ``B`` the pipeline's ``batch_size`` and ``e`` the number of times that an
    ``external_source`` has ended an epoch with ``StopIteration`` (which sets ``i`` back to 0).
    DALI's readers never do: with them ``e`` stays 0, ``i`` counts on, and every epoch has new
    augmentations. Threads, prefetch depth and device change nothing, and a pipeline restored
    from a DALI checkpoint continues with the same augmentations; another batch size, order or
    number of shards gives others.

    Parameters are drawn in Python for the samples that a batch really has, so batches may be
    short, and ``Pipeline.serialize`` can't carry the pipeline; DALI checkpoints can.

    Args:
        images: ``(H, W, 3)`` uint8 RGB of any size, on the CPU or the GPU; that is where the
            result is, too. Anything else ends the run with DALI's error, which names
            ``images_must_be_uint8_RGB_in_HWC_layout``; decode gray images as RGB
            (``output_type=types.RGB``).
        policy: Steps, ranges and probabilities.
        size: Edge of the output in pixels.
        seed: Of the run, in [0, 2**64).
        indices: On the CPU, one whole number in [0, 2**63) for each sample that identifies it in
            the data set: a second output of your source, or the labels of
            ``fn.readers.file(files=files, labels=list(range(len(files))))``.
        epoch: A number, or a node on the CPU with one for each sample. By default ``e`` as above;
            required with ``indices`` that come from a DALI reader, which doesn't report epochs.
        applier: ``auto``, the default of every entrance: for images on the CPU ``compiled`` where
            numba is installed, else ``fused``; for images on the GPU ``fused``; ``exact`` where
            the policy interpolates by ``nearest``. Or ``fused``, ``exact``, and for images on
            the CPU ``compiled`` or ``compiled-host``, whose result goes to the GPU.
        mean: For each channel, in units of the range 0-1.
        std: Likewise.
        layout: ``HWC`` or ``CHW``.
        dtype: ``types.FLOAT`` or ``types.FLOAT16``.
        normalize: If false, the values are levels from 0 to 255 (float).
        shard_id: Without ``indices``: different for pipelines that share a seed, so that they
            draw differently. By default that of the DALI reader that ``images`` come from, or
            0; a source of your own that reads one of several shards needs it.

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
    check_policy(policy)
    if applier == "auto":
        applier = fastest_in_graph(policy.interpolation, images.device)
    if indices is None:
        first = _first_index(images, shard_id)
    else:
        first = 0
        _check_whole_numbers("indices", indices)
        _check_epoch_is_known(indices, epoch)
    if isinstance(epoch, DataNode):
        _check_whole_numbers("epoch", epoch)
    source = _Draw(policy, size, seed, applier, first, epoch)
    if indices is None or epoch is None:
        numbers, epochs = _count_samples(pipeline)
        indices = numbers if indices is None else indices
        epoch = epochs if epoch is None else epoch
    nodes = fn.python_function(
        indices,
        *([epoch] if isinstance(epoch, DataNode) else []),
        function=source,
        num_outputs=len(param_names(applier)),
        batch_processing=True,
        device="cpu",
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


def _check_whole_numbers(name: str, node: Any) -> None:
    if not isinstance(node, DataNode):
        raise ConfigError(
            f"{name}: {type(node).__name__}, which is the same for every batch. Pass a DataNode "
            f"with a whole number for each sample"
            + (", or one number." if name == "epoch" else ".")
        )
    if node.device != "cpu":
        raise ConfigError(f"{name}: on the GPU. Pass the node before its .gpu().")


def _check_epoch_is_known(indices: DataNode, epoch: Any) -> None:
    """Refuse a reader's indices without an epoch: each epoch would repeat the augmentations."""
    if epoch is None and any(True for _ in find_readers(indices)):
        raise ConfigError(
            "epoch: missing, and a DALI reader, where the indices come from, doesn't report it. "
            "Pass a node with the epoch of each sample, or a number, with which every epoch has "
            "the same augmentations."
        )


def _first_index(images: DataNode, shard_id: int | None) -> int:
    """Number the shards' samples apart: by ``shard_id``, or as the reader of ``images`` has it.

    Raises:
        ConfigError: ``shard_id`` is out of range, or the readers have several.
    """
    if shard_id is None:
        shards = {
            int(reader.get("shard_id") or 0)
            for reader in find_readers(images)
            if int(reader.get("num_shards") or 1) > 1
        }
        if len(shards) > 1:
            raise ConfigError(
                f"shard_id: missing, and the images come from readers of the shards "
                f"{sorted(shards)}. Pass one that no other pipeline of this seed has."
            )
        shard_id = shards.pop() if shards else 0
    whole = isinstance(shard_id, (int, np.integer)) and not isinstance(shard_id, bool)
    if not whole or not 0 <= shard_id < 2**14:
        raise ConfigError(f"shard_id must be from 0 to {2**14 - 1}, got {shard_id!r}")
    return int(shard_id) * _SHARD_STRIDE


def _count_samples(pipeline: Any) -> tuple[DataNode, DataNode]:
    """Number the samples of each epoch: two int64 nodes, the number and the epoch."""

    def define() -> tuple[DataNode, ...]:
        batch = fn.constant(idata=[0], shape=[1])  # as long as the batch
        return tuple(
            fn.python_function(
                batch,
                function=_Counter(pipeline),
                num_outputs=2,
                batch_processing=True,
                device="cpu",
            )
        )

    numbers, epochs = define_outside_branches(pipeline, define)
    return numbers, epochs


class _Counter:
    """Numbers of samples and their epoch."""

    def __init__(self, pipeline: Any) -> None:
        self._iterations = Iterations(pipeline)
        self._batch_size = pipeline.max_batch_size

    def __call__(self, samples: Sequence[Any]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        epoch, iteration = self._iterations.next()
        first = iteration * self._batch_size
        numbers = [np.array(first + j) for j in range(len(samples))]
        return numbers, [np.array(epoch)] * len(samples)


class _Draw:
    """Parameters of a batch as a pure function of indices and epochs: so nothing is to save."""

    def __init__(
        self,
        policy: AugmentPolicy,
        size: int,
        seed: int,
        applier: str,
        first_index: int,
        epoch: Any,
    ) -> None:
        self._policy, self._size, self._seed = policy, size, seed
        self._applier, self._first = applier, first_index
        self._epoch = 0 if epoch is None or isinstance(epoch, DataNode) else epoch
        self._draw([first_index], self._epoch)  # refuse bad arguments now
        param_names(applier)

    def __call__(self, indices: Sequence[Any], epochs: Sequence[Any] | None = None) -> Any:
        numbers = _one_each("indices", indices) + self._first
        if epochs is None:
            params = self._draw(numbers, self._epoch)
        else:
            params = self._draw_epochs(numbers, _one_each("epoch", epochs))
        return tuple(
            [np.asarray(row) for row in array] for array in param_arrays(params, self._applier)
        )

    def _draw_epochs(self, numbers: np.ndarray, epochs: np.ndarray) -> AugmentParams:
        found, group = np.unique(epochs, return_inverse=True)
        if len(found) == 1:
            return self._draw(numbers, int(found[0]))
        rows = [np.flatnonzero(group == k) for k in range(len(found))]
        parts = [self._draw(numbers[r], int(e)) for r, e in zip(rows, found, strict=True)]
        return AugmentParams.concatenate(parts).take(np.argsort(np.concatenate(rows)))

    def _draw(self, numbers: ArrayLike, epoch: int) -> AugmentParams:
        return draw(self._policy, seed=self._seed, epoch=epoch, indices=numbers, size=self._size)


def _one_each(name: str, values: Sequence[Any]) -> np.ndarray:
    """``(N,)`` int64 of a batch of single whole numbers.

    Raises:
        ConfigError: a sample has another number of values, or one that is no whole number.
    """
    for value in values:
        if value.size != 1 or value.dtype.kind not in "iu":
            raise ConfigError(
                f"{name}: a sample has values of the shape {value.shape} and the type "
                f"{value.dtype}. Give each sample one whole number."
            )
    return np.array([value.item() for value in values], np.int64)


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
