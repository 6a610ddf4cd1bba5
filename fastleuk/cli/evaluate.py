"""``fastleuk evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastleuk.cli.app import app


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    part: Annotated[str, typer.Option(help="test, val or train.")] = "test",
    data: Annotated[str, typer.Option(help="Where the data lie now, if they moved.")] = "",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "",
    tta: Annotated[
        str,
        typer.Option(help="Average the probabilities of views: none, flips (4), d4 (8), 8rot (8)."),
    ] = "none",
    average: Annotated[
        int,
        typer.Option(help="Average the weights of that many best checkpoints (--keep-best)."),
    ] = 0,
    threshold: Annotated[
        str,
        typer.Option(
            help="How the threshold is chosen on validation, and kept: argmax, 0.5, youden, "
            "sensitivity:0.95, cost:5 (a missed positive is 5 times as bad as a false alarm)."
        ),
    ] = "",
    calibrate: Annotated[
        bool | None,
        typer.Option(
            help="Fit a temperature on validation, and keep it. By default where the validation "
            "part has 5 subjects of each class."
        ),
    ] = None,
    out: Annotated[
        str, typer.Option(help="Folder for the figures, if not the run folder (read-only ones).")
    ] = "",
    positive: Annotated[
        str, typer.Option(help="Positive class, if it is to be another than the run's.")
    ] = "",
) -> None:
    """Repeat the figures of a run's best weights on its own split.

    With --tta or --average they go to files of their own, such as test_metrics.tta-d4.json.
    """
    from fastleuk.evaluation.evaluate import evaluate_run

    evaluate_run(
        run,
        part=part,
        data=data or None,
        device=device or None,
        tta=tta,
        average=average,
        out=Path(out) if out else None,
        positive=positive or None,
        threshold=threshold or None,
        calibrate=calibrate,
    )
