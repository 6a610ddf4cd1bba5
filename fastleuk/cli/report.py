"""``fastleuk report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastleuk.cli.app import app


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run, of cv or of paper.")],
    out: Annotated[str, typer.Option(help="Folder to write, if not the run's.")] = "",
    data: Annotated[str, typer.Option(help="Where the data lie now, if they moved.")] = "",
    images: Annotated[bool, typer.Option(help="Show cells, heat and augmentation.")] = True,
    methods: Annotated[
        bool, typer.Option("--methods", help="Print a paper's methods paragraphs instead.")
    ] = False,
) -> None:
    """Write one page (HTML, for any browser, no network) about a run, and its model card.

    Figures with intervals, curves, cells with their heat, the split and what its parts share,
    training, limits, and the checklists CLAIM, STARD-AI and TRIPOD+AI filled from the run.
    """
    from fastleuk.errors import ConfigError
    from fastleuk.report.run import methods_run, report_run

    if Path(out).suffix.lower() in (".html", ".htm", ".md", ".pdf"):
        raise ConfigError(f"--out {out}: name a folder; report.html and MODEL_CARD.md go there.")
    if methods:
        typer.echo(methods_run(run))
        return
    report_run(run, out=Path(out) if out else None, data=data, images=images)
