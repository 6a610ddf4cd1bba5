"""``fastleuk serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastleuk.cli.app import app


@app.command()
def serve(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders.", show_default=False)
    ],
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any that is free.")] = 8000,
    token: Annotated[
        str,
        typer.Option(
            envvar="FASTLEUK_TOKEN",
            help="What clients must show; other users of the machine don't see the variable.",
            show_default=False,
        ),
    ] = "",
    allowed_hosts: Annotated[
        str,
        typer.Option(
            help="Other names it is called by, of a proxy in front: NAME,*.NAME.",
            show_default=False,
        ),
    ] = "",
    root_path: Annotated[
        str, typer.Option(help="Path that a proxy puts in front: /cells.", show_default=False)
    ] = "",
    queue: Annotated[
        int, typer.Option(help="Images let in at once, those being scored included; 0: one batch.")
    ] = 0,
    max_images: Annotated[int, typer.Option(help="Images of a request.")] = 100,
    max_image_mb: Annotated[float, typer.Option(help="Megabytes of an image file.")] = 20,
    max_request_mb: Annotated[float, typer.Option(help="Megabytes of a request.")] = 64,
    max_megapixels: Annotated[float, typer.Option(help="Of a decoded image.")] = 4,
    tta: Annotated[
        str,
        typer.Option(help="Average the probabilities of views: none, flips (4), d4 (8), 8rot (8)."),
    ] = "none",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; else the run's.")] = "",
    batch_size: Annotated[int, typer.Option(help="Images at once; 0: the run's.", min=0)] = 0,
    workers: Annotated[int, typer.Option(help="Threads; 0: as for the run.", min=0)] = 0,
) -> None:
    """Serve a page and a JSON endpoint that predict cells; several runs are an ensemble.

    Images of several requests are shown to the network together. No file is written. Research use,
    not for diagnosis.
    """
    from fastleuk.serve.limits import Limits
    from fastleuk.serve.run import serve_runs

    limits = Limits(max_images, max_image_mb, max_request_mb, max_megapixels)
    serve_runs(
        runs,
        host=host,
        port=port,
        token=token,
        allowed_hosts=[name.strip() for name in allowed_hosts.split(",") if name.strip()],
        root_path=root_path,
        queue=queue,
        limits=limits,
        device=device or None,
        tta=tta,
        batch_size=batch_size,
        workers=workers,
    )
