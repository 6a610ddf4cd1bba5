"""Configurations that can't be trained, refused before the data are read."""

from __future__ import annotations

import os

import torch

from fastleuk.config import Config, LoaderConfig
from fastleuk.errors import ConfigError
from fastleuk.models.backbone import create_model
from fastleuk.models.backbone_size import size_arguments
from fastleuk.models.device import check_compiler
from fastleuk.training.distributed.ranks import Ranks
from fastleuk.training.optimizer import has_batch_norm, head_of


def check_combinations(config: Config, device: torch.device) -> None:
    """Refuse options that contradict each other or the device.

    Raises:
        ConfigError: names both sides and a way out.
    """
    optim, loader = config.optim, config.loader
    if loader.cache == "gpu" and device.type != "cuda":
        raise ConfigError(
            f"--cache gpu needs an NVIDIA GPU, and this run is on the {device.type}. Use --cache "
            "auto."
        )
    if optim.warmup_epochs > optim.epochs:
        raise ConfigError(
            f"--warmup-epochs {optim.warmup_epochs:g} is more than --epochs {optim.epochs}."
        )
    if optim.scheduler == "cosine" and optim.min_lr > optim.lr:
        raise ConfigError(
            f"--min-lr {optim.min_lr:g} is above --lr {optim.lr:g}, but the cosine falls."
        )
    if optim.mixup and loader.batch_size % 2:
        raise ConfigError(
            f"--mixup mixes a batch with its reverse, so --batch-size {loader.batch_size} must be "
            "even."
        )
    if config.run.compile:
        check_compiler(device)
    check_batch(loader, device)


def check_batch(loader: LoaderConfig, device: torch.device) -> None:
    """Refuse a batch whose images alone are larger than the memory.

    Raises:
        ConfigError: with the batch that would fit.
    """
    image = 3 * 4 * loader.size**2
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
    else:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if image * loader.batch_size > memory:
        raise ConfigError(
            f"--batch-size {loader.batch_size}: so many images of {loader.size} pixels take "
            f"{image * loader.batch_size / 1e9:.0f} GB, and the {device.type} has "
            f"{memory / 1e9:.0f} GB. Training needs many times the images' memory: start with 32."
        )


def check_model(config: Config) -> None:
    """Refuse what the backbone can't do; it is built without memory for its weights.

    Raises:
        ConfigError: it does not take images of ``--size`` or can't be trained by single images;
            no gradient checkpointing, or no head that could be trained alone.
    """
    size_arguments(
        config.model.backbone, config.loader.size, images=min(config.loader.batch_size, 2)
    )
    if not config.run.grad_checkpointing and not config.optim.freeze_epochs:
        return
    with torch.device("meta"):
        model = create_model(config.model.backbone, num_classes=2, weights="none")
    if config.optim.freeze_epochs:
        head_of(model)
    if config.run.grad_checkpointing:
        try:
            model.set_grad_checkpointing(True)  # type: ignore[operator]
        except (AssertionError, AttributeError, NotImplementedError) as error:
            raise ConfigError(
                f"--grad-checkpointing: timm's {config.model.backbone} does not support it. Leave "
                "it out, or lower --batch-size and use --accumulate."
            ) from error


def check_start(config: Config) -> None:
    """Load the weights that training starts with, and forget them; the hub's are then at hand.

    Raises:
        WeightsError: they can't be had, are no plain tensors, or don't fit the backbone.
    """
    if config.model.weights not in ("none", "bundled"):
        with torch.random.fork_rng(devices=[]):
            create_model(
                config.model.backbone,
                num_classes=2,
                weights=config.model.weights,
                size=config.loader.size,
            )


def check_sync_bn(config: Config, device: torch.device, ranks: Ranks) -> None:
    """Refuse ``--sync-bn`` where torch has no such batch normalisation.

    Raises:
        ConfigError: several processes on a CPU, and the backbone has batch normalisation.
    """
    if not config.optim.sync_bn or not ranks.several or device.type == "cuda":
        return
    if backbone_has_batch_norm(config):
        raise ConfigError(
            f"--sync-bn: torch synchronises batch normalisation on GPUs only, and this run is on "
            f"the {device.type}. Leave it out, or take a backbone without batch normalisation."
        )


def backbone_has_batch_norm(config: Config) -> bool:
    """Say whether the backbone has batch normalisation; it is built without memory."""
    with torch.device("meta"):
        return has_batch_norm(create_model(config.model.backbone, num_classes=2, weights="none"))
