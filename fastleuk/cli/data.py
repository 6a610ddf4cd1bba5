"""``fastleuk data``, ``demo-data`` and ``gallery``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastleuk.cli.app import app
from fastleuk.config import LARGEST, DataConfig


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

    config = DataConfig(data=str(folder), subject_regex=subject_regex, skip_bad=skip_bad)
    dataset = open_dataset(config)
    typer.echo(describe(dataset))
    if manifest:
        dataset.manifest.write_csv(Path(manifest))
        typer.echo(f"Manifest: {manifest}")
        if Path(manifest).resolve().parent != dataset.manifest.root:
            typer.echo(
                f"Its paths are relative to {dataset.manifest.root}: move it there to use it."
            )
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


@app.command()
def gallery(
    out: Annotated[str, typer.Option(help="PNG to write; a sheet of 64 cells goes beside it.")],
    data: Annotated[str, typer.Option(help="Folder or manifest CSV; else the demo set.")] = "",
    policy: Annotated[
        str, typer.Option(help="paper, flips-rotations, stain, none, or a policy's TOML file.")
    ] = "paper",
    size: Annotated[
        int, typer.Option(help="Side of the images in pixels.", min=16, max=LARGEST)
    ] = 224,
    seed: Annotated[int, typer.Option(help="Another seed, other cells and draws.", min=0)] = 7,
) -> None:
    """Draw every augmentation step by torchvision, exact and fused, and their differences."""
    from fastleuk.augment.gallery import write_gallery
    from fastleuk.data.open import open_dataset
    from fastleuk.data.showcase import showcase
    from fastleuk.loading import load_policy
    from fastleuk.loading.decode import decode

    chosen = load_policy(policy)
    manifest = open_dataset(DataConfig(data=data)).manifest
    rows = showcase(manifest, 64, seed=seed)
    images = [decode(manifest.file(row), int(manifest.crops[row])) for row in rows]
    for picture in write_gallery(images, out, policy=chosen, size=size, seed=seed):
        typer.echo(f"Picture: {picture}")
