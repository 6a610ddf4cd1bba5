"""``fastleuk cv`` and ``fastleuk paper``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fastleuk.cli.app import app
from fastleuk.cli.options import GroupedCommand, config_options, given_tables
from fastleuk.config import Config, assemble
from fastleuk.errors import ConfigError
from fastleuk.run_folder.start import plain_name
from fastleuk.run_log import say
from fastleuk.training.distributed.launch import find_launch

ConfigOption = Annotated[
    str, typer.Option("--config", help="TOML file of options, such as a run's config.toml.")
]
SeedsOption = Annotated[int, typer.Option(help="Repetitions, with seeds from --seed on.")]


@app.command(cls=GroupedCommand)
@config_options
def cv(
    context: typer.Context,
    folds: Annotated[
        str, typer.Option(help="official, or the number of folds to draw by subject.")
    ] = "official",
    seeds: SeedsOption = 1,
    job: Annotated[
        str,
        typer.Option(help="I/N: only every N-th run from I on (0 to N - 1), for an array of jobs."),
    ] = "",
    merge: Annotated[
        bool, typer.Option("--merge", help="Train nothing: report on the runs of all jobs.")
    ] = False,
    config_file: ConfigOption = "",
) -> None:
    """Cross-validate: train on every fold, and report mean, deviation and ensemble.

    Takes the options of train; --out is the folder of all runs (runs/cv-BACKBONE). The test folds
    are the same for every seed: a seed changes the validation part and the training. The same
    command again goes on: finished runs are kept. In an array of jobs on one file system
    each trains its share (--job I/N), and --merge reports on all.
    """
    chosen = _assemble(context, config_file, split="the folds are the split: see --folds")
    out = Path(chosen.run.out or f"runs/cv-{plain_name(chosen.model.backbone)}")
    if job and merge:
        raise ConfigError("--job trains and --merge reports: give one of them.")
    from fastleuk.protocols.cv.run import cross_validate, cross_validate_share
    from fastleuk.protocols.jobs import Share

    if job:
        share = Share.parse(job)
        cross_validate_share(chosen, folds=folds, seeds=seeds, out=out, share=share, report=say)
        return
    cross_validate(chosen, folds=folds, seeds=seeds, out=out, report=say, merge=merge)


@app.command(cls=GroupedCommand)
@config_options
def paper(
    context: typer.Context,
    backbones: Annotated[
        str, typer.Option(help="timm names with commas; else the paper's five.")
    ] = "",
    seeds: SeedsOption = 1,
    quick: Annotated[
        bool, typer.Option("--quick", help="In miniature: minutes on two cores, no download.")
    ] = False,
    config_file: ConfigOption = "",
) -> None:
    """Run the paper's table under its split by image and under one by subject.

    Takes the options of train; --out is the folder of all runs (runs/paper), --weights may be a
    folder with BACKBONE.safetensors for each. A seed changes split and training. The same command
    again goes on: finished runs are kept.
    """
    from fastleuk.protocols.paper.run import PRESET, QUICK, run_paper

    chosen = _assemble(
        context,
        config_file,
        preset=QUICK if quick else PRESET,
        split="both splits are run",
        backbone="name them with --backbones",
    )
    names = [name.strip() for name in backbones.split(",") if name.strip()]
    out = Path(chosen.run.out or ("runs/paper-quick" if quick else "runs/paper"))
    run_paper(chosen, out=out, backbones=names, seeds=seeds, quick=quick, report=say)


def _assemble(
    context: typer.Context,
    config_file: str,
    preset: dict[str, dict[str, Any]] | None = None,
    **refused: str,
) -> Config:
    """Return the configuration of the runs; options named in ``refused`` must not be given."""
    if find_launch().world_size > 1:
        raise ConfigError(
            f"fastleuk {context.command.name} runs in one process: start it without torchrun, and "
            "in SLURM as one task."
        )
    given = given_tables(context)
    for values in given.values():
        for name, why in refused.items():
            if name in values:
                raise ConfigError(f"Leave out --{name}: {why}.")
    return assemble(given, file=Path(config_file) if config_file else None, preset=preset)
