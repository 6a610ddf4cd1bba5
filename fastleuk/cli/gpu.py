"""``fastleuk gpu-check``: whether a GPU augments as the CPU does, and how fast."""

from __future__ import annotations

from typing import Annotated

import typer

from fastleuk.cli.app import app
from fastleuk.errors import FastleukError


@app.command("gpu-check")
def gpu_check(
    device: Annotated[str, typer.Option(help="cuda or cuda:N.")] = "cuda",
) -> None:
    """Run every applier on a GPU beside the same one on the CPU; say how far apart, how fast."""
    from fastleuk.augment.gpu_check import check, host_rate, table
    from fastleuk.models.device import choose_device

    chosen = choose_device(device)
    found = check(chosen)
    typer.echo(table(found, chosen, host_rate()))
    verdicts = [row.verdict for row in found]
    failed = [v.applier for v in verdicts if not v.passed and not v.missing]
    if failed:
        raise FastleukError(
            f"{', '.join(failed)}: not as on the CPU. Train with another --applier, and report "
            "this output."
        )
