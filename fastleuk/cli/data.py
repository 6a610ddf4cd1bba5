"""``fastleuk data``, ``demo-data`` and ``gallery``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from fastleuk.cli.app import app
from fastleuk.cli.data_options import (
    ClassLevelOption,
    ExcelOption,
    LayoutOption,
    RegexOption,
    RootOption,
    SplitOption,
    SubjectLevelOption,
)
from fastleuk.config import LARGEST, DataConfig
from fastleuk.errors import ConfigError, DataError

PICTURES = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".tif", ".tiff", ".webp")
"""Endings that matplotlib writes."""


@app.command()
def data(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder, manifest CSV or tar shards.")
    ],
    root: RootOption = "",
    layout: LayoutOption = "auto",
    class_level: ClassLevelOption = 0,
    subject_level: SubjectLevelOption = 0,
    split: SplitOption = "",
    subject_regex: RegexOption = "",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Report unusable files and go on.")
    ] = False,
    positive: Annotated[
        str, typer.Option(help="Positive class; else the one that isn't named as healthy.")
    ] = "",
    manifest: Annotated[
        str, typer.Option(help="Write a manifest to this CSV, which --data takes where it lies.")
    ] = "",
    excel: ExcelOption = False,
    contact_sheet: Annotated[
        str, typer.Option(help="Write a PNG of cells of every class to this file.")
    ] = "",
    near_duplicates: Annotated[
        bool | None,
        typer.Option(
            "--near-duplicates/--no-near-duplicates",
            help="List pictures of different subjects that look alike (C-NMC: by default).",
        ),
    ] = None,
) -> None:
    """Say what a data set holds: sources, classes, folds, subjects, copies, leftovers."""
    from fastleuk.data.from_config import open_dataset
    from fastleuk.data.report import describe

    config = DataConfig(
        data=str(folder),
        root=root,
        layout=layout,
        class_level=class_level,
        subject_level=subject_level,
        split=split or "subject",
        subject_regex=subject_regex,
        positive=positive,
        skip_bad=skip_bad,
    )
    if excel and not manifest:
        raise ConfigError("--excel is for the CSV of --manifest, and none is written.")
    table = _target(manifest, "--manifest", (".csv",))
    sheet = _target(contact_sheet, "--contact-sheet", PICTURES)
    dataset = open_dataset(config, report=lambda _: None)  # the report says it all
    typer.echo(describe(dataset))
    real_cnmc = dataset.manifest.layout == "cnmc" and not dataset.manifest.synthetic
    if real_cnmc if near_duplicates is None else near_duplicates:
        from fastleuk.data.copies.near import describe_near

        typer.echo(f"{describe_near(dataset.manifest, dataset.near)}\n")
    if table:
        with _writing(table):
            dataset.manifest.write_csv(table, excel=excel)
        typer.echo(f"Manifest: {table}")
    if sheet:
        from fastleuk.evaluation.plots import class_contact_sheet

        with _writing(sheet):
            class_contact_sheet(dataset.manifest, sheet)
        typer.echo(f"Contact sheet: {sheet}")


def _target(name: str, option: str, endings: tuple[str, ...]) -> Path | None:
    """Return the file to be written, None for ``""``.

    Raises:
        ConfigError: it can't be written, as far as can be known now.
    """
    if not name:
        return None
    path = Path(name).expanduser()
    if path.suffix.lower() not in endings:
        raise ConfigError(f"{option} {name!r}: give a name that ends in {' or '.join(endings)}.")
    if not path.parent.is_dir():
        raise ConfigError(f"{option} {name!r}: there is no folder {path.parent}. Make it first.")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigError(f"{option} {name!r}: can't be written. Name another place.")
    return path


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: can't be written: {error.strerror or error}.") from error


@app.command()
def demo_data(
    out: Annotated[Path, typer.Argument(help="New folder.")],
    cells: Annotated[int, typer.Option(help="Labelled cells; 0: the demo's own number.")] = 0,
    seed: Annotated[int, typer.Option(help="Another seed, other cells.")] = 0,
) -> None:
    """Write a synthetic data set in the layout of C-NMC 2019."""
    from fastleuk.data.demo.generate import DEFAULT_CELLS, write_demo
    from fastleuk.progress import progress_bar

    with progress_bar("drawing cells") as progress:
        write_demo(out, cells=cells or DEFAULT_CELLS, seed=seed, progress=progress)
    typer.echo(f"Synthetic cells (not patients) in the C-NMC layout: {out}")


@app.command()
def gallery(
    out: Annotated[str, typer.Option(help="PNG to write; a sheet of 64 cells goes beside it.")],
    data: Annotated[str, typer.Option(help="Folder or manifest CSV; else the demo set.")] = "",
    layout: LayoutOption = "auto",
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
    from fastleuk.data.demo.showcase import showcase
    from fastleuk.data.from_config import open_dataset
    from fastleuk.loading import load_policy
    from fastleuk.loading.decode.pil import decode

    chosen = load_policy(policy)
    manifest = open_dataset(DataConfig(data=data, layout=layout)).manifest
    rows = showcase(manifest, 64, seed=seed)
    images = [decode(manifest.file(row), int(manifest.crops[row])) for row in rows]
    for picture in write_gallery(images, out, policy=chosen, size=size, seed=seed):
        typer.echo(f"Picture: {picture}")
