"""A configuration made definite: checked, and with everything chosen that was left open."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

from fastleuk.augment import NONE
from fastleuk.config import Config
from fastleuk.data.balance import parse_per_class
from fastleuk.data.split.make import parse_mode
from fastleuk.loading import resolve_applier, resolve_loader
from fastleuk.memory import keep_freed_memory
from fastleuk.models.backbone import check_backbone, check_weights
from fastleuk.models.backbone_name import FOLDER, source_of
from fastleuk.models.device import Precision, choose_precision, describe_device
from fastleuk.models.kept import kept_backbone
from fastleuk.run_folder.names import POLICY
from fastleuk.run_folder.start import plain_name
from fastleuk.tracking.writers import check_writers
from fastleuk.training.distributed.join import rank_device
from fastleuk.training.distributed.ranks import ALONE, Ranks
from fastleuk.training.resolve.checks import (
    check_combinations,
    check_model,
    check_start,
    check_sync_bn,
)
from fastleuk.training.resolve.idle_options import idle_options

Report = Callable[[str], None]


def resolve_config(
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
    check_backbone(_buildable(config, resuming).model.backbone)
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
    check_model(_buildable(config, resuming))
    if not resuming:
        check_start(config)
    check_sync_bn(_buildable(config, resuming), device, ranks)
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
    for note in idle_options(_buildable(config, resuming), ranks):
        report(f"note: {note}")
    return config, precision


def _buildable(config: Config, resuming: bool) -> Config:
    """Name the backbone by what the run kept of it, which needs no model hub."""
    if not resuming:
        return config
    backbone = kept_backbone(Path(config.run.out), config.model.backbone)
    return _replace(config, "model", backbone=backbone)


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
