"""``fastleuk evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from fastleuk.cli.app import app
from fastleuk.cli.data_options import (
    ClassesOption,
    ClassLevelOption,
    LayoutOption,
    RootOption,
    SubjectLevelOption,
)
from fastleuk.errors import ConfigError
from fastleuk.shell import quoted


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    part: Annotated[str, typer.Option(help="Of the run's own data: test, val or train.")] = "test",
    on: Annotated[
        str, typer.Option(help="Other labelled data: folder, manifest CSV or tar shards.")
    ] = "",
    classes: ClassesOption = "",
    subject_regex: Annotated[
        str, typer.Option(help="Of --on: group = subject; searched in the path or file name.")
    ] = "",
    layout: LayoutOption = "auto",
    class_level: ClassLevelOption = 0,
    subject_level: SubjectLevelOption = 0,
    root: RootOption = "",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Of --on: leave unusable files out.")
    ] = False,
    allow_overlap: Annotated[
        bool,
        typer.Option(
            "--allow-overlap",
            help="Of --on: score images that the run has learned from, too, and say so.",
        ),
    ] = False,
    skip_overlap: Annotated[
        bool,
        typer.Option(
            "--skip-overlap",
            help="Of --on: leave images out that the run has learned from, and list them.",
        ),
    ] = False,
    data: Annotated[
        str, typer.Option(help="Where the run's own data lie now, if they moved.")
    ] = "",
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
        str,
        typer.Option(
            help="Folder for the figures, if not the run folder (read-only ones), or RUN/on-NAME."
        ),
    ] = "",
    positive: Annotated[
        str, typer.Option(help="Positive class, if it is to be another than the run's.")
    ] = "",
) -> None:
    """Repeat the figures of a run's best weights on its own split, or have them on other data.

    With --tta or --average they go to files of their own, such as test_metrics.tta-d4.json; with
    --on to RUN/on-NAME, by the threshold that the run keeps.
    """
    given = {
        "--classes": classes, "--subject-regex": subject_regex, "--root": root,
        "--layout": layout if layout != "auto" else "", "--class-level": class_level,
        "--subject-level": subject_level, "--skip-bad": skip_bad,
        "--allow-overlap": allow_overlap, "--skip-overlap": skip_overlap,
    }  # fmt: skip
    if on:
        _refuse(
            {"--part": part if part != "test" else ""}, "of the run's own data; --on names others"
        )
        _refuse(
            {"--threshold": threshold, "--calibrate": calibrate is not None},
            "chosen on the run's own validation part: first fastleuk evaluate "
            f"{quoted(run)}, then --on",
        )
        from fastleuk.evaluation.elsewhere.evaluate import OtherData, evaluate_on

        evaluate_on(
            run,
            OtherData(
                on=on,
                classes=classes,
                subject_regex=subject_regex,
                layout=layout,
                class_level=class_level,
                subject_level=subject_level,
                root=root,
                skip_bad=skip_bad,
                allow_overlap=allow_overlap,
                skip_overlap=skip_overlap,
            ),
            data=data or None,
            device=device or None,
            tta=tta,
            average=average,
            out=Path(out) if out else None,
            positive=positive or None,
        )
        return
    _refuse(given, "of other data, which --on names")
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


def _refuse(options: Mapping[str, object], why: str) -> None:
    """Refuse options that make no sense together."""
    given = [name for name, value in options.items() if value]
    if given:
        raise ConfigError(f"{' and '.join(given)}: {why}.")
