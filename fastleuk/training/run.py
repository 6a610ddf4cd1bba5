"""A run from configuration to pictures: everything that ``fastleuk train`` does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fastleuk.augment import AugmentPolicy
from fastleuk.config import Config, read_config
from fastleuk.data.load import DataSet
from fastleuk.data.open import open_dataset
from fastleuk.data.split import check_split, make_split, read_split
from fastleuk.errors import CheckpointError, listed
from fastleuk.loading import load_policy, resolve_applier
from fastleuk.models.backbone import create_model
from fastleuk.run_log import logged, open_log
from fastleuk.training.checkpoint import LAST, load_checkpoint, version_note, versions
from fastleuk.training.ranks import ALONE, Ranks
from fastleuk.training.resolve import POLICY, resolve
from fastleuk.training.setup import Setup
from fastleuk.training.summary import (
    report_data,
)

Report = Callable[[str], None]


@logged
def train(config: Config, *, report: Report = print, ranks: Ranks | None = None) -> Path:
    """Train from the beginning and return the run folder.

    Args:
        config: What to train, on what, and how.
        report: Takes what is printed.
        ranks: The processes that train together, see
            :func:`fastleuk.training.distributed.joined`; None for this one alone.

    Raises:
        FastleukError: any of its family, before training starts wherever that can be known.
    """
    ranks = ranks or ALONE
    report = report if ranks.first else _silent
    policy = load_policy(config.augment.augment)
    config, precision = resolve(config, report, ranks=ranks)
    applier = resolve_applier(config.augment.applier, policy, precision.device)
    if config.loader.loader == "dali":  # kept, so that a resumed run doesn't choose another
        augment = dataclasses.replace(config.augment, applier=applier)
        config = dataclasses.replace(config, augment=augment)
    dataset = _open(config, ranks, report)
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
        size=config.loader.size,
    )
    if ranks.rank:  # equal weights, but dropout of its own
        torch.manual_seed(config.run.seed + (ranks.rank << 32))
    setup = Setup(config, policy, dataset, split, precision, report, ranks)
    trainer = setup.trainer(model)
    if ranks.first:
        setup.write_folder()
    return setup.finish(trainer)


@logged
def resume(
    run_dir: Path,
    *,
    device: str | None = None,
    report: Report = print,
    ranks: Ranks | None = None,
) -> Path:
    """Continue the run in ``run_dir`` from its last checkpoint; returns the run folder.

    Raises:
        CheckpointError: no checkpoint, a damaged one, or one of other data, of another model or of
            another number of processes.
    """
    ranks = ranks or ALONE
    report = report if ranks.first else _silent
    if not (run_dir / "config.toml").is_file():
        raise CheckpointError(f"{run_dir} is no run folder: it has no config.toml.")
    open_log(report, run_dir)
    state = load_checkpoint(run_dir / LAST)
    config = read_config(run_dir / "config.toml")
    out = dataclasses.replace(config.run, out=str(run_dir), device=device or config.run.device)
    config, precision = resolve(
        dataclasses.replace(config, run=out), report, resuming=True, ranks=ranks
    )
    policy = AugmentPolicy.from_toml(run_dir / POLICY)
    dataset = _open(config, ranks, report)
    split = read_split(run_dir / "split.csv", dataset.manifest, dataset.groups, dataset.sha256)
    check_split(split, dataset.manifest, dataset.groups)
    setup = Setup(config, policy, dataset, split, precision, report, ranks)
    _same_identity(state.get("identity"), setup.identity, run_dir)
    note = version_note(state.get("versions", {}), versions())
    if note:
        report(note)
    model = create_model(
        config.model.backbone,
        num_classes=len(dataset.manifest.class_names),
        weights="none",
        size=config.loader.size,
    )
    trainer = setup.trainer(model, resuming=True)
    trainer.restore(state)
    if ranks.first:
        for leftover in run_dir.glob(".*.tmp"):  # of a process that was killed while it wrote
            leftover.unlink(missing_ok=True)
    report(f"Resuming {run_dir} in epoch {trainer.progress.epoch + 1}")
    return setup.finish(trainer)


def _open(config: Config, ranks: Ranks, report: Report) -> DataSet:
    hidden = not ranks.first
    return ranks.in_turns(lambda: open_dataset(config.data, report=report, hidden=hidden))


def _silent(text: str) -> None:
    """Print nothing: the first process does."""


def _same_identity(saved: Any, now: dict[str, str], run_dir: Path) -> None:
    saved = saved if isinstance(saved, dict) else {}
    wrong = [
        f"{key}: {saved.get(key)} then, {now[key]} now" for key in now if saved.get(key) != now[key]
    ]
    if wrong:
        raise CheckpointError(
            f"The checkpoint in {run_dir} belongs to another run:\n{listed(wrong)}\n"
            "Restore what it was trained on, or start a new run."
        )
