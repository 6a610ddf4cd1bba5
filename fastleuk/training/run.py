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
from fastleuk.data.load import DataSet
from fastleuk.data.open import open_dataset
from fastleuk.data.split.split import check_split, make_split, read_split
from fastleuk.errors import CheckpointError, DataError
from fastleuk.files import write_text
from fastleuk.loading import load_policy
from fastleuk.models.backbone import create_model
from fastleuk.run_folder.identity import read_identity
from fastleuk.run_folder.names import CONFIG, LAST, POLICY, SPLIT
from fastleuk.run_folder.start import check_vacant, claim, clear_beginning, hold, reserved
from fastleuk.run_folder.state import BEGUN, clear_temporaries, is_new, set_mark
from fastleuk.run_log import logged, open_log
from fastleuk.training.applier import with_applier
from fastleuk.training.checkpoint.agreement import (
    changed,
    check_agreement,
    check_epochs,
    departures,
)
from fastleuk.training.checkpoint.file import load_checkpoint, version_note, versions
from fastleuk.training.data_summary import (
    report_data,
)
from fastleuk.training.distributed.ranks import ALONE, Ranks
from fastleuk.training.loop import Trainer
from fastleuk.training.resolve import resolve
from fastleuk.training.setup import Setup

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
    config, precision = resolve(config, report, ranks=ranks)
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
    with ExitStack() as stack:
        if ranks.first:
            if held:
                clear_beginning(run_dir)
            else:
                stack.enter_context(claim(run_dir))
            setup.write_folder()
        return setup.finish(trainer)


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
        setup, trainer = _restored(run_dir, mine, policy, report, ranks)
        if changes and ranks.first:
            if not trainer.finished:
                set_mark(run_dir, BEGUN)
            write_text(run_dir / CONFIG, config.to_toml())
        return setup.finish(trainer)


def _restored(
    run_dir: Path, config: Config, policy: AugmentPolicy, report: Report, ranks: Ranks
) -> tuple[Setup, Trainer]:
    """Build everything anew and put the checkpoint into it."""
    state = load_checkpoint(run_dir / LAST)
    config, precision = resolve(config, report, resuming=True, ranks=ranks)
    try:
        dataset = _open(config, ranks, report)
    except DataError as error:
        if not config.data.data or Path(config.data.data).exists():
            raise
        raise CheckpointError(
            f"{error}\nIf the data have moved: fastleuk train --resume {run_dir} --data DIR"
        ) from error
    split = read_split(run_dir / SPLIT, dataset.manifest, dataset.groups, dataset.sha256)
    check_split(split, dataset.manifest, dataset.groups)
    setup = Setup(config, policy, dataset, split, precision, report, ranks)
    for note in check_agreement(read_identity(state.get("identity")), setup.identity, run_dir):
        report(note)
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
    check_epochs(config, state["progress"], run_dir)
    lr = max(group["lr"] for group in state["optimizer"]["param_groups"])
    for note in departures(config.optim, trainer.progress, lr_then=lr, lr_now=trainer.lr):
        report(note)
    where = f"in epoch {trainer.progress.epoch + 1}"
    report(f"Resuming {run_dir} {'after its last epoch' if trainer.finished else where}")
    return setup, trainer


def _open(config: Config, ranks: Ranks, report: Report) -> DataSet:
    hidden = not ranks.first
    return ranks.in_turns(lambda: open_dataset(config.data, report=report, hidden=hidden))


def _silent(text: str) -> None:
    """Print nothing: the first process does."""
