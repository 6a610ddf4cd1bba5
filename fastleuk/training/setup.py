"""What a new and a resumed run have in common: loaders, trainer, folder, and the end."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fastleuk.augment import NONE, AugmentPolicy
from fastleuk.config import Config
from fastleuk.data.load import DataSet
from fastleuk.data.split.split import Split, write_split
from fastleuk.errors import ConfigError, DataError, listed
from fastleuk.evaluation.evaluate import evaluate_run
from fastleuk.evaluation.plots import plot_learning_curves
from fastleuk.files import write_rows, write_text
from fastleuk.loading import make_loader
from fastleuk.loading.prepare import Pixels, open_pixels
from fastleuk.loading.stream import EvalStream, TrainStream
from fastleuk.models.backbone import normalisation
from fastleuk.models.device import Precision
from fastleuk.run_folder.identity import flat
from fastleuk.run_folder.names import CONFIG, POLICY, SKIPPED, SPLIT
from fastleuk.run_folder.state import BEGUN, ENDED, set_mark
from fastleuk.run_log import open_log
from fastleuk.tracking.writers import Writers, open_writers
from fastleuk.training.applier import image_dtype
from fastleuk.training.checkpoint.agreement import SAME_PROCESSES
from fastleuk.training.data_summary import (
    report_balance,
    report_ranks,
    report_training,
)
from fastleuk.training.distributed.ranks import Ranks
from fastleuk.training.loop import Trainer
from fastleuk.training.optimizer import synchronise_norms

Report = Callable[[str], None]


@dataclass
class Setup:
    """A run about to begin or to go on.

    Attributes:
        config: Resolved.
        policy: The augmentation.
        dataset: The images.
        split: Their parts.
        precision: Device and autocast dtype.
        report: Takes what is printed.
        ranks: This process among those of the run.
    """

    config: Config
    policy: AugmentPolicy
    dataset: DataSet
    split: Split
    precision: Precision
    report: Report
    ranks: Ranks

    @property
    def run_dir(self) -> Path:
        """The run folder."""
        return Path(self.config.run.out)

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree with to be resumed here, by flat keys."""
        parts = self.split.parts.astype(np.int8).tobytes()
        return {
            "data": self.dataset.content_hash,
            "split": hashlib.sha256(parts).hexdigest(),
            "classes": "/".join(self.dataset.manifest.class_names),
            "processes": self.ranks.world_size,
            "precision": str(self.precision.dtype),
            **flat(dataclasses.asdict(self.config)),
            **flat({"policy": self.policy.to_dict()}),
        }

    def _open_pixels(self, resuming: bool) -> Pixels | None:
        """Open the decoded cache, or settle for the files; a resumed run takes what it had.

        Raises:
            DataError: the run was trained from a cache that can't be had any more.
        """
        config = self.config.loader
        pixels = self.ranks.in_turns(
            lambda: open_pixels(self.dataset, config, self.precision.device, report=self.report)
        )
        if not self.ranks.everywhere(pixels is not None):
            pixels = None
        if pixels is None and config.cache != "off":
            if resuming:
                raise DataError(
                    f"{self.run_dir} was trained from a decoded cache, whose augmented images "
                    "differ by a little from the files'. Make room for it, or build it with "
                    "fastleuk prepare, and resume then."
                )
            off = dataclasses.replace(config, cache="off")
            self.config = dataclasses.replace(self.config, loader=off)
        return pixels

    def trainer(self, model: nn.Module, *, resuming: bool = False) -> Trainer:
        """Build the loaders and everything else that trains ``model``."""
        config, manifest = self.config, self.dataset.manifest
        if config.run.grad_checkpointing:
            model.set_grad_checkpointing(True)  # type: ignore[operator]
        model = model.to(self.precision.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.optim.sync_bn and self.ranks.several:
            model = synchronise_norms(model)
        stats = normalisation(model)
        rows = self.split.indices("train")
        batch_size, ranks = config.loader.batch_size, self.ranks
        stream = TrainStream(
            manifest.labels[rows],
            rows,
            per_class=config.augment.per_class,
            originals=config.augment.originals,
            frozen=config.augment.frozen_augmentation,
            seed=config.run.seed,
            batch_size=batch_size,
            rank=ranks.rank,
            world_size=ranks.world_size,
        )
        counts = report_balance(stream, manifest, self.report)
        report_training(config.optim, counts, len(stream), self.report)
        report_ranks(config, ranks, self.precision.device, self.report)
        validated = self.split.indices("val")
        if len(validated) < ranks.world_size:
            raise ConfigError(
                f"{len(validated)} validation images can't be shared by {ranks.world_size} "
                "processes. Raise --val-fraction, or start fewer."
            )
        validation = EvalStream(
            validated, batch_size=batch_size, rank=ranks.rank, world_size=ranks.world_size
        )
        common: dict[str, Any] = {
            "manifest": manifest,
            "config": config.loader,
            "mean": stats.mean,
            "std": stats.std,
            "device": self.precision.device,
            "pixels": self._open_pixels(resuming),
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
                dtype=image_dtype(config.augment.applier, self.precision),
                **common,
            ),
            val_loader=make_loader(stream=validation, policy=NONE, **common),
            precision=self.precision,
            config=config.optim,
            run=config.run,
            class_names=manifest.class_names,
            class_counts=counts,
            files=manifest.paths,
            run_dir=self.run_dir,
            identity=self.identity,
            metadata=metadata,
            report=self.report,
            ranks=ranks,
        )

    def write_folder(self) -> None:
        """Write what defines the run into its folder, the configuration last.

        Raises:
            DataError: it can't be written.
        """
        run_dir = self.run_dir
        try:
            open_log(self.report, run_dir)
            write_text(run_dir / POLICY, self.policy.to_toml())
            write_split(self.split, self.dataset.manifest, run_dir / SPLIT, self.dataset.sha256)
            if self.dataset.bad:
                rows = [{"path": path, "reason": reason} for path, reason in self.dataset.bad]
                write_rows(run_dir / SKIPPED, rows)
            set_mark(run_dir, BEGUN)
            write_text(run_dir / CONFIG, self.config.to_toml())
        except OSError as error:
            raise DataError(
                f"Can't write the run folder {run_dir}: {error}. Choose --out."
            ) from error

    def writers(self) -> Writers:
        """Open TensorBoard and Weights & Biases where they were asked for."""
        if not self.ranks.first:
            return Writers()
        run = self.config.run
        return open_writers(self.run_dir, self.config, tensorboard=run.tensorboard, wandb=run.wandb)

    def finish(self, trainer: Trainer) -> Path:
        """Train, then test the best weights and draw the pictures: the first process does that."""
        config, run_dir = self.config, self.run_dir
        same = {**self.identity, "device": self.precision.device.type}
        self.ranks.require_same({k: str(v) for k, v in same.items() if k not in SAME_PROCESSES})
        if self.ranks.first and not trainer.finished:
            set_mark(run_dir, BEGUN)
        try:
            with self.writers() as trainer.writer:
                trainer.fit()
        finally:
            trainer.train_loader.close()
            trainer.val_loader.close()
        self.ranks.disband()
        if not self.ranks.first:
            return run_dir
        if self.config.loader.cache == "off":
            self.dataset.require_unchanged()
        set_mark(run_dir, ENDED)
        synthetic = self.dataset.manifest.synthetic
        curves = run_dir / "learning_curves.png"
        where = "synthetic demo cells" if synthetic else self.dataset.manifest.root.name
        title = f"{config.model.backbone} on {where}, split {self.split.mode!r}"
        plot_learning_curves(trainer.progress.history, curves, title=title, synthetic=synthetic)
        evaluate_run(run_dir, device=config.run.device, dataset=self.dataset, report=self.report)
        pictures = [curves, run_dir / "confusion_matrix.png"]
        self.report(f"Run folder: {run_dir}\nPictures:\n{listed([str(p) for p in pictures])}")
        return run_dir
