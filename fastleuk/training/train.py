"""A run from configuration to pictures: everything that ``fastleuk train`` does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from fastleuk.augment import AugmentPolicy
from fastleuk.config import Config, read_config
from fastleuk.data.dataset import DataSet
from fastleuk.data.from_config import open_dataset
from fastleuk.data.split.file import read_split
from fastleuk.data.split.make import check_split, make_split
from fastleuk.errors import CheckpointError, DataError, listed
from fastleuk.evaluation.evaluate import evaluate_run
from fastleuk.evaluation.plots import plot_learning_curves
from fastleuk.files import write_text
from fastleuk.loading import load_policy
from fastleuk.models.backbone import create_model
from fastleuk.models.kept import kept_backbone
from fastleuk.run_folder.identity import read_identity
from fastleuk.run_folder.names import CONFIG, LAST, POLICY, SPLIT
from fastleuk.run_folder.start import check_vacant, claim, clear_beginning, hold, reserved
from fastleuk.run_folder.state import BEGUN, ENDED, clear_temporaries, is_new, set_mark
from fastleuk.run_log import logged, open_log
from fastleuk.shell import quoted
from fastleuk.tracking.writers import Writers, open_writers
from fastleuk.training.applier import with_applier
from fastleuk.training.assemble import assemble_trainer
from fastleuk.training.checkpoint.agreement import (
    changed,
    check_agreement,
    check_epochs,
    departures,
)
from fastleuk.training.checkpoint.file import load_checkpoint, version_note, versions
from fastleuk.training.distributed.ranks import ALONE, Ranks
from fastleuk.training.loop import Trainer
from fastleuk.training.plan import RunPlan
from fastleuk.training.reports.data_summary import report_data
from fastleuk.training.resolve.config import resolve_config
from fastleuk.training.starting_weights import check_starting_weights, load_start

Report = Callable[[str], None]


@logged
def train(config: Config, *, report: Report = print, ranks: Ranks | None = None) -> Path:
    """Train from the beginning and return the run folder.

    Args:
        config: What to train, on what, and how.
        report: Takes what is printed.
        ranks: The processes that train together, see
            :func:`fastleuk.training.distributed.join.joined`; None for this one alone.

    Raises:
        FastleukError: any of its family, before training starts wherever that can be known.
    """
    ranks = ranks or ALONE
    policy = load_policy(config.augment.augment)
    with ExitStack() as stack:
        if ranks.first:  # the others are told
            out = stack.enter_context(reserved(config.run.out, config.model.backbone))
            run = dataclasses.replace(config.run, out=out)
            config = dataclasses.replace(config, run=run)
        return _train(config, policy, report if ranks.first else _silent, ranks)


def _train(
    config: Config, policy: AugmentPolicy, report: Report, ranks: Ranks, *, held: bool = False
) -> Path:
    """Train in ``config.run.out``, whose lock this process has where ``held``."""
    asked = config.loader.loader
    config, precision = resolve_config(config, report, ranks=ranks)
    config = with_applier(config, policy, precision.device, asked=asked, ranks=ranks, report=report)
    run_dir = Path(config.run.out)
    if ranks.first and not held:
        tables = dataclasses.asdict(config)
        if check_vacant(run_dir, tables, policy.to_dict()):
            report(f"{run_dir} was stopped before its first checkpoint: it starts over")
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
    start = check_starting_weights(config, dataset, split, report)
    torch.manual_seed(config.run.seed)
    model = create_model(
        config.model.backbone,
        num_classes=len(dataset.manifest.class_names),
        weights=config.model.weights,
        size=config.loader.size,
        report=report,
    )
    if ranks.rank:  # equal weights, but dropout of its own
        torch.manual_seed(config.run.seed + (ranks.rank << 32))
    plan = RunPlan(config, policy, dataset, split, precision, report, ranks, start)
    trainer = assemble_trainer(plan, model)
    with ExitStack() as stack:
        if ranks.first:
            if held:
                clear_beginning(run_dir)
            else:
                stack.enter_context(claim(run_dir))
            plan.write()
        return _train_and_test(plan, trainer)


@logged
def resume(
    run_dir: Path,
    *,
    device: str | None = None,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    report: Report = print,
    ranks: Ranks | None = None,
) -> Path:
    """Continue the run in ``run_dir`` from its last checkpoint; returns the run folder.

    A run that was stopped before its first checkpoint starts over.

    Args:
        run_dir: The run folder.
        device: Where to go on; the run's own by default.
        changes: Values by section and field that are to be others from now on, such as
            ``{"data": {"data": "/new/place"}}``; any of
            :data:`fastleuk.training.checkpoint.agreement.CHANGEABLE`. They are kept in its
            ``config.toml``.
        report: Takes what is printed.
        ranks: The processes that go on together. There may be more or fewer than before, if
            their batches together have the same size.

    Raises:
        CheckpointError: another process trains it; no checkpoint, a damaged one, or one of other
            data, of another model or of batches of another size.
        ConfigError: ``changes`` that can't be made.
    """
    ranks = ranks or ALONE
    report = report if ranks.first else _silent
    if not (run_dir / CONFIG).is_file():
        raise CheckpointError(f"{run_dir} is no run folder: it has no {CONFIG}.")
    with ExitStack() as stack:
        if ranks.first:
            stack.enter_context(hold(run_dir))
            clear_temporaries(run_dir)
            open_log(report, run_dir)
        config = changed(read_config(run_dir / CONFIG), changes or {})
        out = dataclasses.replace(config.run, out=str(run_dir), device=device or config.run.device)
        mine = dataclasses.replace(config, run=out)
        policy = AugmentPolicy.from_toml(run_dir / POLICY)
        if ranks.shared(is_new(run_dir)):
            report(f"{run_dir} was stopped before its first checkpoint: it starts over")
            return _train(mine, policy, report, ranks, held=True)
        plan, trainer = _restored(run_dir, mine, policy, report, ranks)
        if changes and ranks.first:
            if not trainer.finished:
                set_mark(run_dir, BEGUN)
            write_text(run_dir / CONFIG, config.to_toml())
        return _train_and_test(plan, trainer)


def _restored(
    run_dir: Path, config: Config, policy: AugmentPolicy, report: Report, ranks: Ranks
) -> tuple[RunPlan, Trainer]:
    """Build everything anew and put the checkpoint into it."""
    state = load_checkpoint(run_dir / LAST)
    config, precision = resolve_config(config, report, resuming=True, ranks=ranks)
    try:
        dataset = _open(config, ranks, report)
    except DataError as error:
        if not config.data.data or Path(config.data.data).exists():
            raise
        raise CheckpointError(
            f"{error}\nIf the data have moved: fastleuk train --resume {quoted(run_dir)} --data DIR"
        ) from error
    split = read_split(run_dir / SPLIT, dataset.manifest, dataset.groups, dataset.sha256)
    check_split(split, dataset.manifest, dataset.groups)
    plan = RunPlan(config, policy, dataset, split, precision, report, ranks, load_start(run_dir))
    for note in split.looks:
        report(f"note: {note}")
    for note in check_agreement(read_identity(state.get("identity")), plan.identity, run_dir):
        report(note)
    note = version_note(state.get("versions", {}), versions())
    if note:
        report(note)
    model = create_model(
        kept_backbone(run_dir, config.model.backbone),
        num_classes=len(dataset.manifest.class_names),
        weights="none",
        size=config.loader.size,
    )
    trainer = assemble_trainer(plan, model, resuming=True)
    trainer.restore(state)
    check_epochs(config, state["progress"], run_dir)
    lr = max(group["lr"] for group in state["optimizer"]["param_groups"])
    for note in departures(config.optim, trainer.progress, lr_then=lr, lr_now=trainer.state.lr):
        report(note)
    where = f"in epoch {trainer.progress.epoch + 1}"
    report(f"Resuming {run_dir} {'after its last epoch' if trainer.finished else where}")
    return plan, trainer


def _train_and_test(plan: RunPlan, trainer: Trainer) -> Path:
    """Train, then test the best weights and draw the pictures: the first process does that."""
    run_dir = plan.run_dir
    plan.require_same_everywhere()
    if plan.ranks.first and not trainer.finished:
        set_mark(run_dir, BEGUN)
    try:
        with _writers(plan) as trainer.writer:
            trainer.fit()
    finally:
        trainer.data.close()
    plan.ranks.disband()
    if not plan.ranks.first:
        return run_dir
    if plan.config.loader.cache == "off":
        plan.dataset.require_unchanged()
    set_mark(run_dir, ENDED)
    curves = _draw_curves(plan, trainer)
    device, report = plan.config.run.device, plan.report
    evaluate_run(run_dir, device=device, dataset=plan.dataset, report=report)
    pictures = [curves, run_dir / "confusion_matrix.png", run_dir / "calibration.png"]
    report(f"Run folder: {run_dir}\nPictures:\n{listed([str(p) for p in pictures])}")
    return run_dir


def _writers(plan: RunPlan) -> Writers:
    """Open TensorBoard and Weights & Biases where they were asked for."""
    if not plan.ranks.first:
        return Writers()
    run = plan.config.run
    return open_writers(plan.run_dir, plan.config, tensorboard=run.tensorboard, wandb=run.wandb)


def _draw_curves(plan: RunPlan, trainer: Trainer) -> Path:
    synthetic = plan.dataset.manifest.synthetic
    where = "synthetic demo cells" if synthetic else plan.dataset.manifest.root.name
    title = f"{plan.config.model.backbone} on {where}, split {plan.split.mode!r}"
    file = plan.run_dir / "learning_curves.png"
    plot_learning_curves(trainer.progress.history, file, title=title, synthetic=synthetic)
    return file


def _open(config: Config, ranks: Ranks, report: Report) -> DataSet:
    hidden = not ranks.first
    return ranks.in_turns(lambda: open_dataset(config.data, report=report, hidden=hidden))


def _silent(text: str) -> None:
    """Print nothing: the first process does."""
