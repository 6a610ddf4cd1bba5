"""``fastleuk train``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastleuk.cli.app import app, tell
from fastleuk.cli.options import GroupedCommand, config_options, given_tables, is_given
from fastleuk.config import assemble
from fastleuk.config.option import flag
from fastleuk.errors import ConfigError
from fastleuk.run_log import quiet
from fastleuk.training.launch import by_hand, find_launch

if TYPE_CHECKING:
    from fastleuk.training.ranks import Ranks


@app.command(cls=GroupedCommand)
@config_options
def train(
    context: typer.Context,
    config: Annotated[
        str, typer.Option(help="TOML file of options, such as a run's config.toml.")
    ] = "",
    resume: Annotated[
        str, typer.Option(help="Go on with this run folder; takes its configuration.")
    ] = "",
) -> None:
    """Train a classifier, keep the best weights by validation macro-F1, and test them.

    Options override --config, which overrides --recipe, which overrides the defaults shown.
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
    from fastleuk.training.distributed import joined

    with joined(launch, tell) as ranks:
        _train(context, config, resume, ranks)


def _train(context: typer.Context, config: str, resume: str, ranks: Ranks | None = None) -> None:
    if resume:
        _only_with_resume(context)
        from fastleuk.training.run import resume as run_resume

        device = context.params["device"] if is_given(context, "device") else None
        run_resume(Path(resume), device=device, ranks=ranks)
        return
    chosen = assemble(given_tables(context), file=Path(config) if config else None)
    from fastleuk.training.run import train as run_train

    run_train(chosen, ranks=ranks)


def _only_with_resume(context: typer.Context) -> None:
    others = [name for name in context.params if name not in ("resume", "device")]
    given = [flag(name) for name in others if is_given(context, name)]
    if given:
        raise ConfigError(
            f"--resume takes the run's own configuration; leave out {', '.join(given)}, or start "
            "a new run."
        )
