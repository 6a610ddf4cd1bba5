"""``fastleuk export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastleuk.cli.app import app


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    format: Annotated[
        str, typer.Option(help="onnx, torch-export, or safetensors: a folder for timm.")
    ] = "onnx",
    preprocessing: Annotated[
        bool,
        typer.Option("--preprocessing", help="Resize and normalise inside: uint8 images in."),
    ] = False,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="An int8 ONNX file, too, and what it costs on validation."),
    ] = False,
    data: Annotated[
        str, typer.Option(help="Where the run's data lie now, if they moved; for --int8.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; else RUN/export.", show_default=False)
    ] = None,
) -> None:
    """Write a run as a file that runs without fastleuk, checked against PyTorch.

    Classes, preprocessing, temperature, threshold, hashes and the licence of the starting weights
    stand in its metadata. Research use, not for diagnosis.
    """
    from fastleuk.export.run import export_run

    export_run(
        run, format=format, preprocessing=preprocessing, int8=int8, data=data or None, out=out
    )
