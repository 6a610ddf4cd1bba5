"""The command line. Only this module imports typer; every command imports what it needs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

import fastleuk
from fastleuk import config as cfg
from fastleuk.errors import ConfigError, FastleukError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Train, evaluate and feed classifiers of leukemia cells at the speed of the GPU."""
    if debug:
        os.environ["FASTLEUK_DEBUG"] = "1"
    if version:
        typer.echo(f"fastleuk {fastleuk.__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


DATA, AUGMENT, LOADER = cfg.DataConfig(), cfg.AugmentConfig(), cfg.LoaderConfig()
MODEL, OPTIM, RUN = cfg.ModelConfig(), cfg.OptimConfig(), cfg.RunConfig()


@app.command()
def train(
    context: typer.Context,
    data: Annotated[
        str, typer.Option(help="Folder or manifest CSV; without it, a synthetic demo set.")
    ] = DATA.data,
    out: Annotated[str, typer.Option(help="Run folder (runs/DATE-BACKBONE).")] = RUN.out,
    backbone: Annotated[str, typer.Option(help="Any timm model.")] = MODEL.backbone,
    weights: Annotated[
        str, typer.Option(help="hub, bundled, none, or a weights file.")
    ] = MODEL.weights,
    split: Annotated[str, typer.Option(help="subject, fold:K or image (leaks).")] = DATA.split,
    val_fraction: Annotated[float, typer.Option(help="For early stopping.")] = DATA.val_fraction,
    test_fraction: Annotated[float, typer.Option(help="Held out.")] = DATA.test_fraction,
    subject_regex: Annotated[
        str, typer.Option(help="Group = subject, for class folders.")
    ] = DATA.subject_regex,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Train without unusable files.")
    ] = DATA.skip_bad,
    augment: Annotated[
        str, typer.Option(help="paper, flips-rotations, none, or a policy's TOML file.")
    ] = AUGMENT.augment,
    per_class: Annotated[
        str, typer.Option(help="Samples a class and epoch: a number (paper: 10000), auto or off.")
    ] = AUGMENT.per_class,
    frozen_augmentation: Annotated[
        bool, typer.Option("--frozen-augmentation", help="Same augmentations in every epoch.")
    ] = AUGMENT.frozen_augmentation,
    loader: Annotated[str, typer.Option(help="dali, torchvision or auto.")] = LOADER.loader,
    size: Annotated[int, typer.Option(help="Input side in pixels.")] = LOADER.size,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = LOADER.batch_size,
    workers: Annotated[
        int, typer.Option(help="Loading threads or processes; 0: one a core.")
    ] = LOADER.workers,
    epochs: Annotated[int, typer.Option(help="At most.")] = OPTIM.epochs,
    patience: Annotated[
        int, typer.Option(help="Epochs without better validation macro-F1.")
    ] = OPTIM.patience,
    lr: Annotated[float, typer.Option(help="Learning rate of Adam.")] = OPTIM.lr,
    amp: Annotated[bool, typer.Option("--amp", help="Mixed precision.")] = OPTIM.amp,
    seed: Annotated[int, typer.Option(help="Of split, order, augmentation, model.")] = RUN.seed,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = RUN.device,
    resume: Annotated[
        str, typer.Option(help="Go on with this run folder; takes its configuration.")
    ] = "",
) -> None:
    """Train a classifier, keep the best weights by validation macro-F1, and test them."""
    if resume:
        _only_with_resume(context)
        from fastleuk.training.run import resume as run_resume

        run_resume(Path(resume), device=device if _given(context, "device") else None)
        return
    config = cfg.Config(
        data=cfg.DataConfig(
            data=data,
            subject_regex=subject_regex,
            split=split,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            skip_bad=skip_bad,
        ),
        augment=cfg.AugmentConfig(
            augment=augment, per_class=per_class, frozen_augmentation=frozen_augmentation
        ),
        loader=cfg.LoaderConfig(loader=loader, size=size, batch_size=batch_size, workers=workers),
        model=cfg.ModelConfig(backbone=backbone, weights=weights),
        optim=cfg.OptimConfig(epochs=epochs, patience=patience, lr=lr, amp=amp),
        run=cfg.RunConfig(out=out, seed=seed, device=device),
    )
    from fastleuk.training.run import train as run_train

    run_train(config)


def _given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")


def _only_with_resume(context: typer.Context) -> None:
    others = [name for name in context.params if name not in ("resume", "device")]
    given = [f"--{name.replace('_', '-')}" for name in others if _given(context, name)]
    if given:
        raise ConfigError(
            f"--resume takes the run's own configuration; leave out {', '.join(given)}, or start "
            "a new run."
        )


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    part: Annotated[str, typer.Option(help="test, val or train.")] = "test",
    data: Annotated[str, typer.Option(help="Where the data lie now, if they moved.")] = "",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "",
) -> None:
    """Repeat the figures of a run's best weights on its own split."""
    from fastleuk.evaluation.evaluate import evaluate_run

    evaluate_run(run, part=part, data=data or None, device=device or None)


@app.command()
def data(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder or manifest CSV.")],
    subject_regex: Annotated[str, typer.Option(help="Group = subject, for class folders.")] = "",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Report unusable files and go on.")
    ] = False,
    manifest: Annotated[str, typer.Option(help="Write the manifest to this CSV.")] = "",
    contact_sheet: Annotated[
        str, typer.Option(help="Write a PNG of cells of every class to this file.")
    ] = "",
) -> None:
    """Say what a data set holds: sources, classes, folds, subjects, copies, leftovers."""
    from fastleuk.data.open import open_dataset
    from fastleuk.data.report import describe

    config = cfg.DataConfig(data=str(folder), subject_regex=subject_regex, skip_bad=skip_bad)
    dataset = open_dataset(config)
    typer.echo(describe(dataset))
    if manifest:
        dataset.manifest.write_csv(Path(manifest))
        typer.echo(f"Manifest: {manifest}")
    if contact_sheet:
        from fastleuk.evaluation.plots import class_contact_sheet

        class_contact_sheet(dataset.manifest, Path(contact_sheet))
        typer.echo(f"Contact sheet: {contact_sheet}")


@app.command()
def demo_data(
    out: Annotated[Path, typer.Argument(help="New folder.")],
    cells: Annotated[int, typer.Option(help="Labelled cells; 0: the demo's own number.")] = 0,
    seed: Annotated[int, typer.Option(help="Another seed, other cells.")] = 0,
) -> None:
    """Write a synthetic data set in the layout of C-NMC 2019."""
    from fastleuk.data.demo import DEFAULT_CELLS, write_demo
    from fastleuk.data.open import progress_bar

    with progress_bar("drawing cells") as progress:
        write_demo(out, cells=cells or DEFAULT_CELLS, seed=seed, progress=progress)
    typer.echo(f"Synthetic cells (not patients) in the C-NMC layout: {out}")


def main() -> None:
    """Run the command line: errors that a user can mend exit with 2 and no traceback."""
    try:
        app()
    except FastleukError as error:
        if os.environ.get("FASTLEUK_DEBUG"):
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
