"""What a run says about its data before it trains."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from fastleuk.config import Config, OptimConfig
from fastleuk.data.dataset import DataSet
from fastleuk.data.labels.positive import no_positive
from fastleuk.data.manifest import Manifest
from fastleuk.data.split.parts import PARTS, Split
from fastleuk.loading.stream import TrainStream
from fastleuk.training.distributed.ranks import Ranks

Report = Callable[[str], None]


def report_data(dataset: DataSet, split: Split, report: Report) -> None:
    """Say what the parts of the split hold, and what the split can't promise."""
    manifest = dataset.manifest
    kind = "synthetic " if manifest.synthetic else ""
    report(f"Data: {manifest.root} ({kind}{manifest.layout} layout), split {split.mode!r}")
    for part in ("train", "val", "test"):
        rows = split.indices(part)
        counts = np.bincount(manifest.labels[rows], minlength=len(manifest.class_names))
        classes = ", ".join(
            f"{count} {name}" for name, count in zip(manifest.class_names, counts, strict=True)
        )
        subjects = len({manifest.subjects[row] for row in rows})
        report(f"  {part:<5} {len(rows):>6} images of {subjects} subjects: {classes}")
    for note in split.notes:
        report(f"  note: {note}")
    between = dataset.near.between(split.parts)
    if between:
        first = between[0]
        named = " and ".join(
            f"{manifest.paths[i]} ({PARTS[split.parts[i]]})" for i in (first.first, first.second)
        )
        report(
            f"  note: {len(between)} pairs of pictures in different parts look alike, such as "
            f"{named}, distance {first.distance:.3f}: where they are copies, the figures flatter"
        )
    if dataset.positive is None and len(manifest.class_names) == 2:
        report(f"  note: {no_positive(manifest.class_names)}")
    if dataset.bad:
        report(f"  skipped {len(dataset.bad)} unusable files (--skip-bad)")


def report_balance(stream: TrainStream, manifest: Manifest, report: Report) -> np.ndarray:
    """Say what an epoch consists of, and warn where augmentation gives the class away.

    Args:
        stream: The batches of this process; those of all processes together are counted.
        manifest: The images.
        report: Takes the lines.

    Returns:
        int64 ``(C,)``: the epoch's samples of each class.
    """
    plans = list(stream.whole.batches(0))
    labels = manifest.labels[np.concatenate([plan.indices for plan in plans])]
    augmented = np.concatenate([plan.augmented for plan in plans])
    shares = [float(augmented[labels == c].mean()) for c in np.unique(labels)]
    classes = ", ".join(
        f"{(labels == c).sum()} {manifest.class_names[c]} ({share:.0%} augmented)"
        for c, share in zip(np.unique(labels), shares, strict=True)
    )
    report(f"  epoch {len(labels):>6} samples: {classes}")
    if max(shares) - min(shares) > 0.5:
        report(
            "  note: augmented samples are nearly all of one class, so a network can learn the "
            "class from the augmentation; --per-class off, or a larger number, avoids that."
        )
    return np.bincount(labels, minlength=len(manifest.class_names))


def report_training(config: OptimConfig, counts: np.ndarray, batches: int, report: Report) -> None:
    """Say which options of training do nothing with these data.

    Args:
        config: The options.
        counts: Samples of each class in an epoch.
        batches: Batches in an epoch.
        report: Takes the lines.
    """
    if config.class_weights == "balanced" and len(set(counts.tolist())) == 1:
        report("  note: --class-weights balanced has no effect: every class is as frequent.")
    if config.accumulate > batches:
        report(
            f"  note: --accumulate {config.accumulate}: an epoch has {batches} batches, and an "
            "update never spans two epochs."
        )


def report_ranks(config: Config, ranks: Ranks, device: torch.device, report: Report) -> None:
    """Say what the processes make together, and that the learning rate is left as it is."""
    if not ranks.several:
        return
    each, optim = config.loader.batch_size, config.optim
    factors = [f"{ranks.world_size} processes", f"--batch-size {each}"]
    if optim.accumulate > 1:
        factors.append(f"--accumulate {optim.accumulate}")
    backend = "nccl" if device.type == "cuda" else "gloo"
    report(
        f"Distributed by {ranks.launcher}, {backend}: {' × '.join(factors)} = "
        f"{ranks.world_size * each * optim.accumulate} images an update; --lr {optim.lr:g} is not "
        "scaled for that"
    )
