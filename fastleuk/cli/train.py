"""``fastleuk train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastleuk import config as cfg
from fastleuk.cli.app import app
from fastleuk.errors import ConfigError

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
        str, typer.Option(help="Samples a class and epoch: a number (paper: 10000), auto, off.")
    ] = AUGMENT.per_class,
    originals: Annotated[
        float, typer.Option(help="Un-augmented share of an epoch with --per-class off.")
    ] = AUGMENT.originals,
    frozen_augmentation: Annotated[
        bool, typer.Option("--frozen-augmentation", help="Same augmentations in every epoch.")
    ] = AUGMENT.frozen_augmentation,
    applier: Annotated[
        str, typer.Option(help="fused, exact or auto: how DALI augments.")
    ] = AUGMENT.applier,
    loader: Annotated[str, typer.Option(help="dali, torchvision or auto.")] = LOADER.loader,
    size: Annotated[int, typer.Option(help="Input side in pixels.")] = LOADER.size,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = LOADER.batch_size,
    workers: Annotated[
        int, typer.Option(help="Loading threads or processes; 0: one a core.")
    ] = LOADER.workers,
    prefetch: Annotated[int, typer.Option(help="Batches made ahead.")] = LOADER.prefetch,
    cache: Annotated[
        str, typer.Option(help="Decoded images: auto, gpu, off, or a folder.")
    ] = LOADER.cache,
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
            augment=augment,
            per_class=per_class,
            originals=originals,
            frozen_augmentation=frozen_augmentation,
            applier=applier,
        ),
        loader=cfg.LoaderConfig(
            loader=loader,
            size=size,
            batch_size=batch_size,
            workers=workers,
            prefetch=prefetch,
            cache=cache,
        ),
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
