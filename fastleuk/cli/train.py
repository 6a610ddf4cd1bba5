"""``fastleuk train``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastleuk.cli.app import app, tell
from fastleuk.cli.options import GroupedCommand, config_options, given_tables, is_given
from fastleuk.config import assemble
from fastleuk.config.option import flag
from fastleuk.errors import ConfigError
from fastleuk.run_folder.identity import CHANGEABLE, flat
from fastleuk.run_folder.names import CONFIG
from fastleuk.run_log import quiet
from fastleuk.training.distributed.launch import by_hand, find_launch

if TYPE_CHECKING:
    from fastleuk.training.distributed.ranks import Ranks


@app.command(cls=GroupedCommand)
@config_options
def train(
    context: typer.Context,
    config: Annotated[
        str, typer.Option(help="TOML file of options, such as a run's config.toml.")
    ] = "",
    resume: Annotated[
        str,
        typer.Option(
            help="Go on with this run folder; takes its configuration, but for places and machines "
            "(--data, --workers, --device ...), --epochs and --patience."
        ),
    ] = "",
) -> None:
    """Train a classifier, keep the best weights by validation macro-F1, and test them.

    Options override --config, which overrides --recipe, which overrides the defaults shown.
    --out DIR of a run with the same options that was stopped goes on with it.
    On several GPUs: torchrun --nproc-per-node N -m fastleuk train ..., or srun in SLURM; then
    --batch-size is that of each process, and --lr is not scaled.
    """
    launch = find_launch()
    if launch.world_size == 1:
        if by_hand() and not quiet():
            typer.echo("note: started by hand in a shell of SLURM: this process trains alone.")
        _train(context, config, resume)
        return
    # torch warns of what is meant to be so, once in each process; it reads this when imported.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from fastleuk.training.distributed.join import joined

    with joined(launch, tell) as ranks:
        _train(context, config, resume, ranks)


def _train(context: typer.Context, config: str, resume: str, ranks: Ranks | None = None) -> None:
    if resume:
        changes = _only_with_resume(context, resume)
        from fastleuk.training.train import resume as run_resume

        device = context.params["device"] if is_given(context, "device") else None
        run_resume(Path(resume), device=device, changes=changes, ranks=ranks)
        return
    chosen = assemble(given_tables(context), file=Path(config) if config else None)
    from fastleuk.training.go_on import changes_for, unfinished
    from fastleuk.training.train import resume as run_resume
    from fastleuk.training.train import train as run_train

    there = unfinished(chosen) if ranks is None or ranks.first else None
    there = ranks.shared(there and str(there)) if ranks else there
    if there:
        run_resume(Path(there), device=chosen.run.device, changes=changes_for(chosen), ranks=ranks)
        return
    run_train(chosen, ranks=ranks)


def _only_with_resume(context: typer.Context, run: str) -> dict[str, dict[str, Any]]:
    """Return what was given beside --resume, by section and field; --device is left out."""
    tables = given_tables(context)
    tables.get("run", {}).pop("device", None)
    refused = [key.partition(".")[2] for key in flat(tables) if key not in CHANGEABLE]
    refused += ["config"] if is_given(context, "config") else []
    if refused:
        options = ", ".join(flag(name) for name in refused)
        raise ConfigError(
            f"--resume takes the run's own configuration; leave out {options}, or start a new run "
            f"with it: --config {run}/{CONFIG} --out NEW"
        )
    return {section: values for section, values in tables.items() if values}
