"""Average the weights of a run's best checkpoints, and give the result fitting statistics.

A uniform soup (Wortsman et al., 2022) of ``best-1 … best-K.safetensors``. Batch normalisation's
running statistics belong to the activations of one set of weights; neither those of the best
checkpoint nor their mean describe the averaged network's. So they are computed anew, from
un-augmented training images (as in stochastic weight averaging, Izmailov et al., 2018).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch.nn.modules.batchnorm import _BatchNorm

import fastleuk
from fastleuk.errors import CheckpointError, ConfigError
from fastleuk.models.weights import METADATA_KEY, read_weights
from fastleuk.run_folder.names import BEST as BEST
from fastleuk.run_folder.state import read_state

if TYPE_CHECKING:
    from fastleuk.loading.batch import Loader
    from fastleuk.models.device import Precision

NEEDED = ("backbone", "classes", "size", "mean", "std")
"""Metadata without which weights can't be used, and in which averaged ones must agree."""

STATISTICS_IMAGES = 1000
"""Training images, at most, that batch normalisation's statistics are computed from."""


@dataclass(frozen=True, eq=False, slots=True)
class Soup:
    """Averaged weights.

    Attributes:
        files: The checkpoints, the best first.
        epochs: Theirs, from 1; None where a file doesn't say.
        metadata: What all of them say of :data:`NEEDED`.
        state: The averaged tensors; integers are the best checkpoint's.
        stale: Modules (by name) whose running statistics the average can't know. Where all
            checkpoints have the same ones, training had frozen them, and they stay.
    """

    files: tuple[Path, ...]
    epochs: tuple[int | None, ...]
    metadata: dict[str, Any]
    state: dict[str, torch.Tensor]
    stale: tuple[str, ...]


def read_metadata(path: Path) -> dict[str, Any]:
    """Return what a weights file of a run says about itself.

    Raises:
        CheckpointError: missing, damaged, or not made by fastleuk.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: {_why_missing(path.parent)}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}.") from error
    missing = set(NEEDED) - metadata.keys()
    if missing:
        raise CheckpointError(
            f"{path} lacks {', '.join(sorted(missing))}: it was not made by fastleuk, or by "
            f"another version; this one is {fastleuk.__version__}."
        )
    return metadata


def _why_missing(run_dir: Path) -> str:
    epochs = read_state(run_dir).epochs
    if not epochs:
        return "no epoch of this run has ended yet."
    return (
        f"{epochs} epochs of this run have ended, so somebody has removed it. Copy it back from "
        "where the run was made, or train again."
    )


def average_best(run_dir: Path, count: int) -> Soup:
    """Average ``best-1.safetensors`` to ``best-<count>.safetensors`` in float64.

    Args:
        run_dir: The run folder.
        count: How many, at least 1.

    Raises:
        ConfigError: fewer than one.
        CheckpointError: fewer files than ``count``, a damaged one, or files of different models.
    """
    files = _best_files(run_dir, count)
    said = [read_metadata(file) for file in files]
    metadata = said[0]
    for file, theirs in zip(files[1:], said[1:], strict=True):
        _same_model(metadata, theirs, files[0], file)
    first = read_weights(files[0])
    sums = {name: value.double() for name, value in first.items() if value.is_floating_point()}
    shapes = {name: value.shape for name, value in first.items()}
    frozen = set(sums)
    for file in files[1:]:
        state = read_weights(file)
        if {name: value.shape for name, value in state.items()} != shapes:
            raise CheckpointError(
                f"{file} has other tensors than {files[0].name}: only checkpoints of one and the "
                "same model can be averaged."
            )
        frozen = {name for name in frozen if torch.equal(state[name], first[name])}
        for name in sums:
            sums[name] += state[name].double()
    averaged = {name: (total / count).to(first[name].dtype) for name, total in sums.items()}
    suffixes = (".running_mean", ".running_var")
    stale = {name.rpartition(".")[0] for name in sums if name.endswith(suffixes)}
    stale -= {name for name in stale if {f"{name}{s}" for s in suffixes} <= frozen}
    epochs = tuple(each.get("epoch") for each in said)
    return Soup(tuple(files), epochs, metadata, {**first, **averaged}, tuple(sorted(stale)))


def _best_files(run_dir: Path, count: int) -> list[Path]:
    if count < 1:
        raise ConfigError(f"--average is {count}, but must be 1 or more.")
    files = [run_dir / f"best-{rank}.safetensors" for rank in range(1, count + 1)]
    there = next((n for n, file in enumerate(files) if not file.is_file()), count)
    if there < count:
        have = f"{there} of them" if there else "none"
        raise CheckpointError(
            f"--average {count} needs best-1.safetensors to best-{count}.safetensors; {run_dir} "
            f"has {have}. Train with --keep-best {count}"
            f"{f', or use --average {there}' if there else ''}."
        )
    return files


def _same_model(ours: dict[str, Any], theirs: dict[str, Any], first: Path, file: Path) -> None:
    wrong = [
        f"{name} is {theirs[name]} there, {ours[name]} in {first.name}"
        for name in NEEDED
        if theirs[name] != ours[name]
    ]
    if wrong:
        raise CheckpointError(f"{file} can't be averaged with {first.name}: {'; '.join(wrong)}.")


def statistics_rows(rows: np.ndarray, *, batch_size: int) -> np.ndarray:
    """Choose the training images for the statistics, shuffled but always the same ones.

    Shuffled, since rows stand class by class, and the variance within batches of one class is
    smaller than that of the data. A partial batch at the end would weigh too much and is left
    out.

    Args:
        rows: int64 ``(K,)``, the training images.
        batch_size: Images a batch.
    """
    rng = np.random.Generator(np.random.Philox(key=np.array([0, 2], dtype=np.uint64)))
    chosen = rng.permutation(rows)[:STATISTICS_IMAGES]
    whole = len(chosen) // batch_size * batch_size
    return chosen[:whole] if whole else chosen


@torch.no_grad()
def refresh_statistics(
    model: torch.nn.Module, stale: Iterable[str], loader: Loader, precision: Precision
) -> None:
    """Compute batch normalisation's running statistics anew, for the modules named.

    Each is the plain mean over all batches of the batch's mean and unbiased variance. Everything
    else in the network (dropout, other normalisations) stays in evaluation mode, and the model is
    left in it.

    Args:
        model: The network, on the device of ``precision``.
        stale: Names of modules.
        loader: Un-augmented training images.
        precision: Device and autocast dtype.
    """
    model.eval()
    wanted = set(stale)
    layers = [
        module
        for name, module in model.named_modules()
        if name in wanted and isinstance(module, _BatchNorm)
    ]
    before = [(layer.momentum, _counter(layer)) for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # PyTorch's cumulative mean
        layer.training = True  # the layer alone: timm's carry dropout and activation inside
    for batch in loader.epoch():
        with precision.autocast():
            model(batch.images.to(precision.device, non_blocking=True))
    for layer, (momentum, counter) in zip(layers, before, strict=True):
        layer.momentum = momentum
        if counter is not None and layer.num_batches_tracked is not None:
            layer.num_batches_tracked.copy_(counter)
        layer.training = False


def _counter(layer: _BatchNorm) -> torch.Tensor | None:
    return None if layer.num_batches_tracked is None else layer.num_batches_tracked.clone()
