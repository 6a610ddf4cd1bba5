"""``fastleuk explain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastleuk.cli.app import app
from fastleuk.cli.data_options import ClassesOption, ClassLevelOption, SubjectLevelOption


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    on: Annotated[str, typer.Option(help="Other data: folder, manifest CSV or tar shards.")] = "",
    classes: ClassesOption = "",
    part: Annotated[str, typer.Option(help="Of the run's own data: test, val or train.")] = "test",
    data: Annotated[str, typer.Option(help="Where the run's data lie now, if they moved.")] = "",
    subject_regex: Annotated[
        str, typer.Option(help="Of --on: group = subject; searched in the path or file name.")
    ] = "",
    class_level: ClassLevelOption = 0,
    subject_level: SubjectLevelOption = 0,
    cell: Annotated[
        list[str] | None,
        typer.Option(help="File name of a cell to show, again for more; else hits and misses."),
    ] = None,
    each: Annotated[int, typer.Option(help="Hits and misses shown of each class, at most.")] = 8,
    measure: Annotated[
        int, typer.Option(help="Cells, drawn from all, in which the heat is measured.")
    ] = 200,
    target: Annotated[
        str, typer.Option(help="What is explained: predicted, label, or a class.")
    ] = "predicted",
    layer: Annotated[
        str, typer.Option(help="Layer of the network; else the deepest with 4x4 places or more.")
    ] = "",
    occlusion: Annotated[
        bool, typer.Option(help="A second opinion for the cells shown; slow on large networks.")
    ] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "",
    seed: Annotated[int, typer.Option(help="Of the draw of cells.", min=0)] = 0,
    out: Annotated[str, typer.Option(help="Folder to write; else RUN/explain-PART.")] = "",
) -> None:
    """Show where a run looks: Grad-CAM of hits and misses, and three checks of it.

    How much of the heat lies on the cell, what random weights would show, and what occlusion says.
    """
    from fastleuk.explain.run import ExplainOptions, explain_run

    explain_run(
        run,
        ExplainOptions(
            on=on,
            classes=classes,
            part=part,
            data=data,
            subject_regex=subject_regex,
            class_level=class_level,
            subject_level=subject_level,
            cells=tuple(cell or ()),
            each=each,
            measure=measure,
            target=target,
            layer=layer,
            occlusion=occlusion,
            device=device,
            seed=seed,
            out=out,
        ),
    )
