"""``fastleuk runs`` and ``fastleuk compare``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from fastleuk.cli.app import app
from fastleuk.errors import ConfigError


@app.command()
def runs(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder with runs, at any depth.")
    ] = Path("runs"),
    sort: Annotated[
        str,
        typer.Option(
            help="date, name, backbone, data, split, state, epochs, val-f1, f1, auc, accuracy."
        ),
    ] = "date",
    reverse: Annotated[bool, typer.Option("--reverse", help="The other way round.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead.")] = False,
) -> None:
    """List runs with their figures: F1 is macro-F1, val the best epoch's."""
    import json as document

    from fastleuk.tracking.listing import format_runs, sort_runs
    from fastleuk.tracking.runs import find_runs

    found = sort_runs(find_runs(folder), sort, reverse=reverse)
    if json:
        listed = [run.to_dict() for run in found]
        typer.echo(document.dumps(listed, indent=2, ensure_ascii=False))
    elif found:
        # A pipe has no width: it gets the table, whatever its lines are long.
        typer.echo(format_runs(found, width=shutil.get_terminal_size((1_000_000, 24)).columns))
    else:
        typer.echo(f"No runs in {folder}.")


@app.command()
def compare(
    run: Annotated[list[Path], typer.Argument(help="Run folders; the first is the reference.")],
    out: Annotated[
        str, typer.Option(help="PNG to write; without it compare.png, unless another's is there.")
    ] = "",
    on: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Compare on other data that every run was evaluated on (RUN/on-NAME), in place of "
            "the test parts.",
        ),
    ] = "",
    seed: Annotated[int, typer.Option(help="Of the bootstrap and of random swaps.", min=0)] = 0,
) -> None:
    """Show how runs differ: settings, curves, test figures, and whether chance could do that.

    Every run is compared with the first on the same test images: the difference of every figure
    with a 95 % interval over subjects, the same resamples for all runs, and a test of macro-F1 that
    swaps the two runs subject by subject, with Holm's correction where there are several. The
    numbers go into a JSON file beside the picture. This is about the trained models: two seeds of
    one method can differ as much.
    """
    from fastleuk.tracking.compare import compare_runs

    picture = Path(out) if out else _unasked(Path("compare.png"))
    compare_runs(run, out=picture, on=on or None, seed=seed)


def _unasked(picture: Path) -> Path:
    """Return where a picture that nobody asked for goes; it replaces no file but its like."""
    from fastleuk.evaluation.plots import is_ours

    if picture.exists() and not is_ours(picture):
        raise ConfigError(
            f"There is a {picture} here that fastleuk has not made, so it is left alone. Name "
            "another file with --out."
        )
    return picture
