"""A run from configuration to pictures: everything that ``fastleuk train`` does."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fastleuk.augment import NONE, AugmentPolicy
from fastleuk.config import Config, read_config
from fastleuk.data.balance import parse_per_class
from fastleuk.data.load import DataSet
from fastleuk.data.open import open_dataset
from fastleuk.data.split import Split, check_split, make_split, parse_mode, read_split, write_split
from fastleuk.errors import CheckpointError, DataError, listed
from fastleuk.evaluation.evaluate import evaluate_run
from fastleuk.evaluation.plots import plot_learning_curves
from fastleuk.files import write_rows, write_text
from fastleuk.loading import load_policy, make_loader, resolve_loader
from fastleuk.loading.prepare import open_pixels
from fastleuk.loading.stream import EvalStream, TrainStream
from fastleuk.memory import keep_freed_memory
from fastleuk.models.backbone import check_backbone, check_weights, create_model, normalisation
from fastleuk.models.device import (
    Precision,
    choose_device,
    choose_precision,
    describe_device,
)
from fastleuk.training.checkpoint import LAST, load_checkpoint
from fastleuk.training.loop import Trainer
from fastleuk.training.summary import report_balance, report_data

POLICY = "policy.toml"
# What may change between a run and its resumption: places and machines. The policy itself is
# compared by content.
_FREE = (
    ("run", "out"),
    ("run", "device"),
    ("loader", "workers"),
    ("loader", "prefetch"),
    ("loader", "cache"),
    ("data", "data"),
    ("augment", "augment"),
)
Report = Callable[[str], None]


def train(config: Config, *, report: Report = print) -> Path:
    """Train from the beginning and return the run folder.

    Raises:
        FastleukError: any of its family, before training starts wherever that can be known.
    """
    config, precision = _resolve(config, report)
    policy = load_policy(config.augment.augment)
    dataset = open_dataset(config.data, report=report)
    split = make_split(
        dataset.manifest,
        dataset.groups,
        mode=config.data.split,
        val_fraction=config.data.val_fraction,
        test_fraction=config.data.test_fraction,
        seed=config.run.seed,
    )
    check_split(split, dataset.manifest, dataset.groups)
    report_data(dataset, split, report)
    torch.manual_seed(config.run.seed)
    model = create_model(
        config.model.backbone,
        num_classes=len(dataset.manifest.class_names),
        weights=config.model.weights,
    )
    setup = _Setup(config, policy, dataset, split, precision, report)
    trainer = setup.trainer(model)
    setup.write_folder()
    return setup.finish(trainer)


def resume(run_dir: Path, *, device: str | None = None, report: Report = print) -> Path:
    """Continue the run in ``run_dir`` from its last checkpoint; returns the run folder.

    Raises:
        CheckpointError: no checkpoint, a damaged one, or one of other data or another model.
    """
    if not (run_dir / "config.toml").is_file():
        raise CheckpointError(f"{run_dir} is no run folder: it has no config.toml.")
    state = load_checkpoint(run_dir / LAST)
    config = read_config(run_dir / "config.toml")
    out = dataclasses.replace(config.run, out=str(run_dir), device=device or config.run.device)
    config, precision = _resolve(dataclasses.replace(config, run=out), report)
    policy = AugmentPolicy.from_toml(run_dir / POLICY)
    dataset = open_dataset(config.data, report=report)
    split = read_split(run_dir / "split.csv", dataset.manifest, dataset.groups, dataset.sha256)
    check_split(split, dataset.manifest, dataset.groups)
    setup = _Setup(config, policy, dataset, split, precision, report)
    _same_identity(state["identity"], setup.identity, run_dir)
    model = create_model(
        config.model.backbone, num_classes=len(dataset.manifest.class_names), weights="none"
    )
    trainer = setup.trainer(model)
    trainer.restore(state)
    report(f"Resuming {run_dir} in epoch {trainer.progress.epoch + 1}")
    return setup.finish(trainer)


def _resolve(config: Config, report: Report) -> tuple[Config, Precision]:
    """Check everything that needs no data, and fill in what was left to be chosen."""
    check_backbone(config.model.backbone)
    check_weights(config.model.backbone, config.model.weights)
    parse_mode(config.data.split)
    parse_per_class(config.augment.per_class)
    device = choose_device(config.run.device)
    keep_freed_memory()
    precision = choose_precision(device, config.optim.amp)
    loader = resolve_loader(config.loader)
    run = config.run
    if not run.out:
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{config.model.backbone}"
        run = dataclasses.replace(run, out=str(Path("runs") / name))
    run = dataclasses.replace(run, device=str(device))
    data = config.data
    if data.data:
        data = dataclasses.replace(data, data=str(Path(data.data).resolve()))
    dtype = str(precision.dtype).removeprefix("torch.")
    report(f"Device: {describe_device(device)}, {dtype}, loader {loader.loader}")
    if precision.notice:
        report(precision.notice)
    return dataclasses.replace(config, run=run, data=data, loader=loader), precision


@dataclass
class _Setup:
    """What a new and a resumed run have in common."""

    config: Config
    policy: AugmentPolicy
    dataset: DataSet
    split: Split
    precision: Precision
    report: Report

    @property
    def run_dir(self) -> Path:
        return Path(self.config.run.out)

    @property
    def identity(self) -> dict[str, str]:
        """What a checkpoint must agree with to be resumed here."""
        config = self.config
        parts = self.split.parts.astype(np.int8).tobytes()
        same = dataclasses.asdict(config)
        for section, key in _FREE:
            del same[section][key]
        return {
            "data": self.dataset.content_hash,
            "split": hashlib.sha256(parts).hexdigest(),
            "classes": "/".join(self.dataset.manifest.class_names),
            "backbone": config.model.backbone,
            "policy": self.policy.to_toml(),
            "precision": str(self.precision.dtype),
            "config": json.dumps(same, sort_keys=True),
        }

    def trainer(self, model: nn.Module) -> Trainer:
        """Build the loaders and everything else that trains ``model``."""
        config, manifest = self.config, self.dataset.manifest
        model = model.to(self.precision.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        stats = normalisation(model)
        rows = self.split.indices("train")
        stream = TrainStream(
            manifest.labels[rows],
            rows,
            per_class=config.augment.per_class,
            originals=config.augment.originals,
            frozen=config.augment.frozen_augmentation,
            seed=config.run.seed,
            batch_size=config.loader.batch_size,
        )
        report_balance(stream, manifest, self.report)
        validation = EvalStream(self.split.indices("val"), batch_size=config.loader.batch_size)
        common: dict[str, Any] = {
            "manifest": manifest,
            "config": config.loader,
            "mean": stats.mean,
            "std": stats.std,
            "device": self.precision.device,
            "pixels": open_pixels(
                self.dataset, config.loader, self.precision.device, report=self.report
            ),
        }
        metadata = {
            "backbone": config.model.backbone,
            "classes": manifest.class_names,
            "size": config.loader.size,
            "mean": stats.mean,
            "std": stats.std,
            "synthetic": manifest.synthetic,
        }
        return Trainer(
            model=model,
            train_loader=make_loader(
                stream=stream,
                policy=self.policy,
                seed=config.run.seed,
                applier=config.augment.applier,
                **common,
            ),
            val_loader=make_loader(stream=validation, policy=NONE, **common),
            precision=self.precision,
            config=config.optim,
            class_names=manifest.class_names,
            run_dir=self.run_dir,
            identity=self.identity,
            metadata=metadata,
            report=self.report,
        )

    def write_folder(self) -> None:
        """Make the run folder with what defines the run.

        Raises:
            DataError: the folder exists and holds something, or can't be made.
        """
        run_dir = self.run_dir
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            if any(run_dir.iterdir()):
                raise DataError(
                    f"--out {run_dir} is not empty. Choose a new folder, or go on with the run in "
                    f"it: fastleuk train --resume {run_dir}"
                )
            write_text(run_dir / "config.toml", self.config.to_toml())
            write_text(run_dir / POLICY, self.policy.to_toml())
            write_split(
                self.split, self.dataset.manifest, run_dir / "split.csv", self.dataset.sha256
            )
            if self.dataset.bad:
                rows = [{"path": path, "reason": reason} for path, reason in self.dataset.bad]
                write_rows(run_dir / "skipped.csv", rows)
        except OSError as error:
            raise DataError(
                f"Can't write the run folder {run_dir}: {error}. Choose --out."
            ) from error

    def finish(self, trainer: Trainer) -> Path:
        """Train, then test the best weights and draw the pictures."""
        config, run_dir = self.config, self.run_dir
        try:
            trainer.fit()
        finally:
            trainer.train_loader.close()
            trainer.val_loader.close()
        synthetic = self.dataset.manifest.synthetic
        curves = run_dir / "learning_curves.png"
        where = "synthetic demo cells" if synthetic else self.dataset.manifest.root.name
        title = f"{config.model.backbone} on {where}, split {self.split.mode!r}"
        plot_learning_curves(trainer.progress.history, curves, title=title, synthetic=synthetic)
        evaluate_run(run_dir, device=config.run.device, dataset=self.dataset, report=self.report)
        pictures = [curves, run_dir / "confusion_matrix.png"]
        self.report(f"Run folder: {run_dir}\nPictures:\n{listed([str(p) for p in pictures])}")
        return run_dir


def _same_identity(saved: dict[str, str], now: dict[str, str], run_dir: Path) -> None:
    wrong = [
        f"{key}: {saved.get(key)} then, {now[key]} now" for key in now if saved.get(key) != now[key]
    ]
    if wrong:
        raise CheckpointError(
            f"The checkpoint in {run_dir} belongs to another run:\n{listed(wrong)}\n"
            "Restore what it was trained on, or start a new run."
        )
