"""``fastleuk predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastleuk.cli.app import app
from fastleuk.cli.data_options import ExcelOption, RootOption


@app.command()
def predict(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN... PATH...",
            help="Run folders, then images: files, folders, patterns, manifest CSVs, tar shards.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Table to write: .csv, or .parquet (needs pyarrow).")
    ] = Path("predictions.csv"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on behind the last row of --out.")
    ] = False,
    tta: Annotated[
        str,
        typer.Option(help="Average the probabilities of views: none, flips (4), d4 (8), 8rot (8)."),
    ] = "none",
    isbi: Annotated[
        bool,
        typer.Option(
            "--isbi", help="Write isbi_valid.predict beside --out: by number, a 0 or 1 a line."
        ),
    ] = False,
    excel: ExcelOption = False,
    root: RootOption = "",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; else the run's.")] = "",
    batch_size: Annotated[int, typer.Option(help="Images at once; 0: the run's.", min=0)] = 0,
    workers: Annotated[int, typer.Option(help="Threads; 0: as for the run.", min=0)] = 0,
) -> None:
    """Predict images: probabilities, calibrated, and the label at the run's threshold.

    Several runs are an ensemble: the mean of their probabilities, with the spread between them. An
    unreadable image becomes a row with its error; where all are, the exit code is 2. Research use,
    not for diagnosis.
    """
    from fastleuk.predict.run import predict_files
    from fastleuk.predict.words import split_words

    runs, paths = split_words(what)
    predict_files(
        runs,
        paths,
        out,
        resume=resume,
        isbi=isbi,
        excel=excel,
        root=root or None,
        device=device or None,
        tta=tta,
        batch_size=batch_size,
        workers=workers,
    )
