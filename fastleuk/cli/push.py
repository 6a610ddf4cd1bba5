"""``fastleuk push``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fastleuk.cli.app import app
from fastleuk.errors import ConfigError


@app.command()
def push(
    run: Annotated[Path, typer.Argument(help="Run folder, tested.")],
    repo: Annotated[str, typer.Argument(help="OWNER/NAME on the Hugging Face hub.")],
    private: Annotated[
        bool, typer.Option("--private/--public", help="Who can see a new repository.")
    ] = True,
    yes: Annotated[bool, typer.Option("--yes", help="Upload without asking.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the folder, upload nothing; no network.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of --dry-run; else RUN/push.", show_default=False),
    ] = None,
) -> None:
    """Upload a run's weights and model card to the Hugging Face hub, for timm to load.

    Shows the files, their sizes and where they go, and asks before anything is uploaded. You must
    be logged in (hf auth login). The data, the predictions and the subjects stay here.
    """
    if not (yes or dry_run) and not sys.stdin.isatty():
        raise ConfigError(
            "push asks before it uploads, and there is no terminal to ask on. Give --yes to upload "
            "without being asked, or --dry-run to see what would be."
        )
    from fastleuk.export.push import push_run
    from fastleuk.report.run import card_run

    push_run(
        run,
        repo,
        card=lambda: card_run(run),
        confirm=lambda question: yes or typer.confirm(question),
        private=private,
        dry_run=dry_run,
        out=out,
    )
