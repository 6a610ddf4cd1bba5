"""``fastleuk doctor``: whether this installation and this machine can train."""

from __future__ import annotations

from typing import Annotated

import typer

from fastleuk.cli.app import app


@app.command()
def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="For a bug report; personal paths are left out.")
    ] = False,
    network: Annotated[
        bool, typer.Option("--network", help="Ask whether the model hub can be reached.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out decoding and the appliers' self-tests.")
    ] = False,
) -> None:
    """Look at versions, GPU, memory, disk and limits; say what is wrong and how to mend it.

    Exits with 1 if fastleuk train can't run here.
    """
    from fastleuk.doctor.examine import examine
    from fastleuk.doctor.finding import ready
    from fastleuk.doctor.report import as_json as to_json
    from fastleuk.doctor.report import line, summary

    findings = []
    for finding in examine(network_too=network, quick=quick):
        findings.append(finding)
        if not as_json:
            typer.echo(line(finding))
    typer.echo(to_json(findings) if as_json else "\n" + summary(findings))
    if not ready(findings):
        raise typer.Exit(1)
