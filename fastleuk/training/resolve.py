"""A configuration made definite, and everything refused that can be before the data are read."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

from fastleuk.augment import NONE
from fastleuk.config import Config, LoaderConfig
from fastleuk.data.balance import parse_per_class
from fastleuk.data.split.split import parse_mode
from fastleuk.errors import ConfigError
from fastleuk.loading import resolve_applier, resolve_loader
from fastleuk.memory import keep_freed_memory
from fastleuk.models.backbone import check_backbone, check_weights, create_model
from fastleuk.models.backbone_name import FOLDER, source_of
from fastleuk.models.backbone_size import size_arguments, unseen_pixels
from fastleuk.models.device import (
    Precision,
    check_compiler,
    choose_precision,
    describe_device,
)
from fastleuk.run_folder.names import POLICY
from fastleuk.run_folder.start import plain_name
from fastleuk.tracking.writers import check_writers
from fastleuk.training.distributed.join import rank_device
from fastleuk.training.distributed.ranks import ALONE, Ranks
from fastleuk.training.optimizer import has_batch_norm, head_of

Report = Callable[[str], None]


def resolve(
    config: Config, report: Report, *, resuming: bool = False, ranks: Ranks = ALONE
) -> tuple[Config, Precision]:
    """Check everything that needs no data, and fill in what was left to be chosen.

    Saved, the result repeats the run wherever its files are: paths are absolute, and a policy that
    was read from a file is the run folder's copy of it.

    Args:
        config: What was asked for.
        report: Is told the device, and of options without effect.
        resuming: The run began elsewhere, maybe on another device.
        ranks: The processes; all of them get what the first one has chosen.

    Raises:
        FastleukError: an option that makes no sense here, or options that contradict each other.
    """
    check_backbone(config.model.backbone)
    if not resuming:  # a checkpoint has all the weights that are needed
        check_weights(config.model.backbone, config.model.weights)
    parse_mode(config.data.split)
    parse_per_class(config.augment.per_class)
    device = rank_device(config.run.device, ranks)
    precision = choose_precision(device, config.optim.amp, config.optim.amp_dtype)
    if resuming and config.loader.cache == "gpu" and device.type != "cuda":
        config = _replace(config, "loader", cache="auto")
    check_combinations(config, device)
    if config.augment.applier == "compiled":
        resolve_applier("compiled", NONE, device)
    check_model(config)
    check_sync_bn(config, device, ranks)
    check_writers(tensorboard=config.run.tensorboard, wandb=config.run.wandb)
    keep_freed_memory()
    config = _with_paths(config)
    config = _replace(config, "run", device=device.type if ranks.several else str(device))
    loader = resolve_loader(config.loader, sharing=ranks.sharing)
    config = dataclasses.replace(config, loader=loader)
    if ranks.several:
        config = Config.from_toml(ranks.shared(config.to_toml()))
    dtype = str(precision.dtype).removeprefix("torch.")
    report(f"Device: {describe_device(device)}, {dtype}, loader {config.loader.loader}")
    if precision.notice:
        report(precision.notice)
    for note in idle_options(config, ranks):
        report(f"note: {note}")
    return config, precision


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


def check_sync_bn(config: Config, device: torch.device, ranks: Ranks) -> None:
    """Refuse ``--sync-bn`` where torch has no such batch normalisation.

    Raises:
        ConfigError: several processes on a CPU, and the backbone has batch normalisation.
    """
    if not config.optim.sync_bn or not ranks.several or device.type == "cuda":
        return
    if _has_batch_norm(config):
        raise ConfigError(
            f"--sync-bn: torch synchronises batch normalisation on GPUs only, and this run is on "
            f"the {device.type}. Leave it out, or take a backbone without batch normalisation."
        )


def _has_batch_norm(config: Config) -> bool:
    with torch.device("meta"):
        return has_batch_norm(create_model(config.model.backbone, num_classes=2, weights="none"))


def idle_options(config: Config, ranks: Ranks = ALONE) -> list[str]:
    """Return a line for each option that was set and does nothing in this run."""
    optim, default = config.optim, Config().optim
    notes = []
    if optim.amp_dtype != "auto" and not optim.amp:
        notes.append(f"--amp-dtype {optim.amp_dtype} has no effect without --amp.")
    if optim.momentum != default.momentum and optim.optimizer != "sgd":
        notes.append(f"--momentum has no effect with --optimizer {optim.optimizer}.")
    if optim.min_lr and optim.scheduler == "none":
        notes.append("--min-lr has no effect without --scheduler cosine.")
    if optim.sync_bn and not ranks.several:
        notes.append("--sync-bn has no effect in a single process.")
    elif optim.sync_bn and not _has_batch_norm(config):
        notes.append(f"--sync-bn: {config.model.backbone} has no batch normalisation.")
    backbone, size = config.model.backbone, config.loader.size
    edge, patch = unseen_pixels(backbone, size)
    if edge:
        notes.append(
            f"--size {size}: {backbone} sees patches of {patch} pixels, so the last {edge} at the "
            f"right and below are not seen; {size - edge} or {size - edge + patch} would fit."
        )
    if optim.freeze_epochs >= optim.epochs:
        notes.append(
            f"--freeze-epochs {optim.freeze_epochs} of {optim.epochs}: only the head is trained."
        )
    if config.augment.originals != Config().augment.originals and (
        parse_per_class(config.augment.per_class) != "off"
    ):
        notes.append("--originals has no effect with --per-class: the originals are all there.")
    return notes + _idle_in_loading(config)


def _idle_in_loading(config: Config) -> list[str]:
    augment, default = config.augment, Config()
    notes = []
    if augment.augment == "none":
        for name in ("originals", "frozen_augmentation"):
            if getattr(augment, name) != getattr(default.augment, name):
                notes.append(f"--{name.replace('_', '-')} has no effect with --augment none.")
    elif (
        augment.applier != "auto"
        and config.loader.loader == "torchvision"
        and (augment.applier != "compiled" or config.run.device == "cpu")
    ):
        notes.append("--applier has no effect with --loader torchvision: it is the reference.")
    if config.data.test_fraction != default.data.test_fraction and "fold:" in config.data.split:
        notes.append(f"--test-fraction has no effect with --split {config.data.split}.")
    if config.optim.keep_best > config.optim.epochs:
        notes.append(
            f"--keep-best {config.optim.keep_best}: there are {config.optim.epochs} epochs."
        )
    return notes


def _with_paths(config: Config) -> Config:
    out = config.run.out
    if not out:
        out = str(
            Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{plain_name(config.model.backbone)}"
        )
        config = _replace(config, "run", out=out)
    if config.data.data:
        config = _replace(config, "data", data=str(Path(config.data.data).resolve()))
    if config.data.root:
        root = str(Path(config.data.root).expanduser().resolve())
        config = _replace(config, "data", root=root)
    if config.augment.augment.endswith(".toml"):
        config = _replace(config, "augment", augment=str(Path(out).resolve() / POLICY))
    source, name = source_of(config.model.backbone)
    if source == FOLDER:
        config = _replace(config, "model", backbone=f"{source}{Path(name).resolve()}")
    if config.model.weights not in ("hub", "bundled", "none"):
        config = _replace(config, "model", weights=str(Path(config.model.weights).resolve()))
    return config


def _replace(config: Config, section: str, **changes: object) -> Config:
    changed = dataclasses.replace(getattr(config, section), **changes)
    return dataclasses.replace(config, **{section: changed})
