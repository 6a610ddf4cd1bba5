"""Options that were set and do nothing in a run."""

from __future__ import annotations

from fastleuk.config import Config
from fastleuk.data.balance import parse_per_class
from fastleuk.models.backbone_size import unseen_pixels
from fastleuk.training.distributed.ranks import ALONE, Ranks
from fastleuk.training.resolve.checks import backbone_has_batch_norm


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
    elif optim.sync_bn and not backbone_has_batch_norm(config):
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
