"""Which applier a run takes, and what its images are made in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from fastleuk.augment import AugmentPolicy
from fastleuk.config import Config
from fastleuk.errors import FastleukError
from fastleuk.loading import resolve_applier
from fastleuk.models.device import Precision
from fastleuk.training.distributed.ranks import Ranks


def with_applier(
    config: Config,
    policy: AugmentPolicy,
    device: torch.device,
    *,
    asked: str,
    ranks: Ranks,
    report: Callable[[str], None],
) -> Config:
    """Turn ``--applier auto`` into the one that is taken, so that a resumed run takes it, too.

    The torchvision loader has one of its own. Only where it was not asked for, but DALI isn't
    installed, do a GPU's kernels take its place.

    Args:
        config: Resolved but for the applier.
        policy: What it is for.
        device: Of the first process, which chooses for all.
        asked: The loader before it was resolved.
        ranks: The processes.
        report: Is told of what is passed over.

    Raises:
        FastleukError: an applier by name can't be had, or fails its self-test on the GPU.
    """
    applier, loader = config.augment.applier, config.loader.loader
    if loader == "torchvision" and applier != "compiled":
        if asked == loader or device.type == "cpu" or applier != "auto":
            return config
    elif loader == "torchvision" and device.type == "cpu":
        return config
    chosen = _choose(applier, loader, policy, device, report) if ranks.first else None
    augment = dataclasses.replace(config.augment, applier=ranks.shared(chosen))
    return dataclasses.replace(config, augment=augment)


def _choose(
    applier: str,
    loader: str,
    policy: AugmentPolicy,
    device: torch.device,
    report: Callable[[str], None],
) -> str:
    if loader == "dali" or applier == "compiled":
        return resolve_applier(applier, policy, device, report=report)
    from fastleuk.augment.gpu.verdicts import first_sound

    if policy.interpolation != "bilinear":
        return applier
    try:
        return first_sound(device, order=("compiled",), report=report)
    except FastleukError:  # which the report has said; torchvision's own is left
        return applier


def image_dtype(applier: str, precision: Precision) -> str:
    """What a run's augmented images are made in: with a GPU's kernels, what the network reads."""
    if applier == "compiled" and precision.device.type == "cuda":
        return str(precision.dtype).removeprefix("torch.")
    return "float32"
