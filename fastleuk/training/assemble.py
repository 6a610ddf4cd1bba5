"""Builds what a new and a resumed run train with: model on its device, loaders, optimiser."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fastleuk.augment import NONE
from fastleuk.config import OptimConfig
from fastleuk.errors import ConfigError
from fastleuk.loading import make_loader
from fastleuk.loading.stream import EvalStream, TrainStream
from fastleuk.models.backbone import Normalisation, normalisation
from fastleuk.models.device import Precision
from fastleuk.models.seen_images import KEY as SEEN
from fastleuk.training.applier import image_dtype
from fastleuk.training.checkpoint.keeper import Keeper
from fastleuk.training.loop import Trainer, TrainingData
from fastleuk.training.objective import Objective
from fastleuk.training.optimizer import (
    build_average,
    build_optimizer,
    build_schedule,
    synchronise_norms,
)
from fastleuk.training.plan import RunPlan
from fastleuk.training.reports.data_summary import report_balance, report_ranks, report_training
from fastleuk.training.reports.profile import StepProfile
from fastleuk.training.starting_weights import seen_by_run
from fastleuk.training.state import TrainingState


def assemble_trainer(plan: RunPlan, model: nn.Module, *, resuming: bool = False) -> Trainer:
    """Build everything that trains ``model`` as planned.

    Args:
        plan: Its configuration is changed where there is no room for a decoded cache.
        model: As it was created, on the CPU.
        resuming: Insist on the decoded cache that the run began with.

    Raises:
        ConfigError: fewer validation images than processes.
        DataError: the run was trained from a cache that can't be had any more.
    """
    config, ranks, device = plan.config, plan.ranks, plan.precision.device
    if config.run.grad_checkpointing:
        model.set_grad_checkpointing(True)  # type: ignore[operator]
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config.optim.sync_bn and ranks.several:
        model = synchronise_norms(model)
    stats = normalisation(model)
    stream = _train_stream(plan)
    counts = report_balance(stream, plan.dataset.manifest, plan.report)
    report_training(config.optim, counts, len(stream), plan.report)
    report_ranks(config, ranks, device, plan.report)
    data = _training_data(plan, stream, stats, resuming=resuming)
    config = plan.config
    objective = Objective(
        config.optim, counts=counts, seed=config.run.seed, device=device, rank=ranks.rank
    )
    keeper = Keeper(
        plan.run_dir,
        device,
        seed=config.run.seed,
        identity=plan.identity,
        metadata=_metadata(plan, stats),
        keep_best=config.optim.keep_best,
        every=60 * config.run.checkpoint_every,
        ranks=ranks,
    )
    profile = StepProfile(
        config.run.profile if ranks.first else 0,
        run_dir=plan.run_dir,
        device=device,
        report=plan.report,
    )
    return Trainer(
        state=initial_state(model, config.optim, plan.precision, batches=len(data.train)),
        objective=objective,
        data=data,
        precision=plan.precision,
        config=config.optim,
        run=config.run,
        keeper=keeper,
        ranks=ranks,
        profile=profile,
        report=plan.report,
    )


def initial_state(
    model: nn.Module, config: OptimConfig, precision: Precision, *, batches: int
) -> TrainingState:
    """Return the state before the first update.

    Args:
        model: On the device, channels_last.
        config: Optimiser, schedule and moving average.
        precision: Device and autocast dtype.
        batches: Of an epoch.
    """
    optimizer = build_optimizer(model, config, precision.device)
    updates = -(-batches // config.accumulate)
    schedule = build_schedule(optimizer, config, updates_per_epoch=updates)
    return TrainingState(
        model, optimizer, schedule, precision.scaler(), build_average(model, config.ema)
    )


def _train_stream(plan: RunPlan) -> TrainStream:
    config, rows = plan.config, plan.split.indices("train")
    return TrainStream(
        plan.dataset.manifest.labels[rows],
        rows,
        per_class=config.augment.per_class,
        originals=config.augment.originals,
        frozen=config.augment.frozen_augmentation,
        seed=config.run.seed,
        batch_size=config.loader.batch_size,
        rank=plan.ranks.rank,
        world_size=plan.ranks.world_size,
    )


def _training_data(
    plan: RunPlan, stream: TrainStream, stats: Normalisation, *, resuming: bool
) -> TrainingData:
    manifest, ranks = plan.dataset.manifest, plan.ranks
    validated = plan.split.indices("val")
    if len(validated) < ranks.world_size:
        raise ConfigError(
            f"{len(validated)} validation images can't be shared by {ranks.world_size} "
            "processes. Raise --val-fraction, or start fewer."
        )
    validation = EvalStream(
        validated,
        batch_size=plan.config.loader.batch_size,
        rank=ranks.rank,
        world_size=ranks.world_size,
    )
    common: dict[str, Any] = {
        "manifest": manifest,
        "config": plan.config.loader,
        "mean": stats.mean,
        "std": stats.std,
        "device": plan.precision.device,
        "pixels": plan.open_pixels(resuming=resuming),
    }
    train = make_loader(
        stream=stream,
        policy=plan.policy,
        seed=plan.config.run.seed,
        applier=plan.config.augment.applier,
        dtype=image_dtype(plan.config.augment.applier, plan.precision),
        # Mixup would mix what has been rounded, and be rounded again.
        half=plan.precision.dtype is torch.float16 and not plan.config.optim.mixup,
        **common,
    )
    return TrainingData(
        train=train,
        val=make_loader(stream=validation, policy=NONE, **common),
        class_names=manifest.class_names,
        files=manifest.paths,
    )


def _metadata(plan: RunPlan, stats: Normalisation) -> dict[str, Any]:
    """Return what every weights file of the run says of itself."""
    return {
        "backbone": plan.config.model.backbone,
        "classes": plan.dataset.manifest.class_names,
        "size": plan.config.loader.size,
        "mean": stats.mean,
        "std": stats.std,
        "synthetic": plan.dataset.manifest.synthetic,
        SEEN: seen_by_run(plan.start, plan.config, plan.dataset, plan.split).as_json(),
    }
