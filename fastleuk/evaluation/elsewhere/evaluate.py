"""Score the weights of a run on data that are not its own."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastleuk.config import DataConfig
from fastleuk.data.dataset import DataSet
from fastleuk.data.from_config import open_dataset
from fastleuk.data.labels.positive import positive_class
from fastleuk.data.split.file import read_split
from fastleuk.errors import CheckpointError, ConfigError, DataError
from fastleuk.evaluation.baselines.measure import measure
from fastleuk.evaluation.decision import Decision, decision_file, file_hash, read_decision
from fastleuk.evaluation.elsewhere.classes import (
    Matched,
    asked_positive,
    match_classes,
    parse_classes,
)
from fastleuk.evaluation.elsewhere.overlap import find_overlap
from fastleuk.evaluation.elsewhere.place import results_place, set_name
from fastleuk.evaluation.elsewhere.seen import Seen, read_seen
from fastleuk.evaluation.elsewhere.shift import format_shift, shift
from fastleuk.evaluation.outcome import baselines, outcome, variant
from fastleuk.evaluation.predict import Predictions
from fastleuk.evaluation.scored import Scored, apply_decision
from fastleuk.evaluation.scorer import Scorer
from fastleuk.progress import progress_bar
from fastleuk.run_folder.names import BEST, CONFIG, SPLIT
from fastleuk.run_folder.state import not_ended
from fastleuk.run_log import logged, open_log, result
from fastleuk.shell import quoted

Report = Callable[[str], None]
EXTERNAL = "external"
"""What stands in the figures in place of a part of the run's own split."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherData:
    """Which data a run is scored on.

    Attributes:
        on: Folder, manifest CSV or tar shards.
        classes: The run's names of their classes, see :func:`.classes.parse_classes`; what isn't
            named there is matched by name.
        subject_regex: As for training, like the five that follow.
        layout: Of a folder.
        class_level: Level of its folders that are the classes.
        subject_level: Level of its folders that are the subjects.
        root: Of a manifest.
        skip_bad: Leave unusable files out.
        allow_overlap: Score images that the run has learned from, too.
        skip_overlap: Leave these images out, and score the others.
    """

    on: str
    classes: str = ""
    subject_regex: str = ""
    layout: str = "auto"
    class_level: int = 0
    subject_level: int = 0
    root: str = ""
    skip_bad: bool = False
    allow_overlap: bool = False
    skip_overlap: bool = False


@logged
def evaluate_on(
    run_dir: Path,
    other: OtherData,
    *,
    data: str | None = None,
    device: str | None = None,
    tta: str = "none",
    average: int = 0,
    positive: str | None = None,
    out: Path | None = None,
    report: Report = print,
) -> dict[str, Any]:
    """Evaluate the best weights on other data, by the decision that the run keeps.

    Writes ``metrics.json``, ``predictions.csv``, ``subjects.csv`` and pictures into
    ``RUN/on-<name of the data>`` or ``out``. The figures are those of
    :func:`fastleuk.evaluation.evaluate.evaluate_run`; with them stand ``on`` (which data, how they
    were read, which class counts as which), ``overlap`` (:class:`.overlap.Overlap`), ``shift``
    (:func:`.shift.shift`), ``warnings`` and ``notes``.

    Images of the run's training and validation part, and what looks like one of these, are refused.
    Predictions are saved while they are made: the same call resumes one that was stopped.
    Where the run's own data have gone, only files can be compared, by their hashes; unless they
    were there at an earlier call: what is needed of them is kept in the run folder.

    Args:
        run_dir: A folder that ``fastleuk train`` made.
        other: The data.
        data: Where the run's own data lie now, if they have moved.
        device: ``auto``, ``cpu`` or ``cuda[:N]``; the run's own by default.
        tta: Views whose probabilities are averaged: ``none``, ``flips``, ``d4`` or ``8rot``.
        average: Average the weights of that many best checkpoints; 0 for ``best.safetensors``.
        positive: The positive class, by the run's or the data's name, if it is to be another than
            the run's.
        out: Where to write.
        report: Takes what is printed.

    Raises:
        ConfigError: classes that can't be matched, an unknown ``tta`` or positive class, or ``out``
            holds other figures.
        CheckpointError: no run, or not the weights in it that were asked for.
        DataError: the data can't be used, have labels that the run doesn't know, or images that it
            has seen.
    """
    if not (run_dir / CONFIG).is_file():
        raise CheckpointError(f"{run_dir} is no run folder: it has no {CONFIG}.")
    if not other.on:
        raise ConfigError("--on names no data: give a folder, a manifest CSV or tar shards.")
    if other.allow_overlap and other.skip_overlap:
        raise ConfigError("--allow-overlap and --skip-overlap contradict each other. Give one.")
    asked = parse_classes(other.classes)
    unfinished = not_ended(run_dir)
    if unfinished:
        report(f"note: {unfinished}. These are not its final figures, and it can still go on.")
    scorer = Scorer(run_dir, device=device, tta=tta, average=average, report=report)
    names = tuple(scorer.metadata["classes"])
    found = open_dataset(_reading(other), report=report, least_classes=1)
    matched = match_classes(found, names, asked)
    for note in matched.notes:
        report(f"note: {note}.")
    decision, chosen = _decision(run_dir, scorer, matched, names, positive, report)
    workers = scorer.config.loader.workers
    training = _opener(scorer.config.data, data)
    seen = read_seen(
        run_dir, names, training, workers=workers, metadata=scorer.metadata, report=report
    )
    overlap, rows = find_overlap(matched.dataset, matched.rows, seen), matched.rows
    if other.skip_overlap:
        rows, overlap = overlap.skip(rows, other.on)
    if overlap.scored and not other.allow_overlap:
        raise overlap.refusal(other.on)
    name = set_name(other.on)
    place = results_place(run_dir, name, found.content_hash, out, report)
    open_log(report, place)
    for line in overlap.skipped_lines():
        report(line)
    dataset = dataclasses.replace(matched.dataset, positive=chosen)
    predictions = _predict(run_dir, scorer, dataset, rows, training, place)
    scored = apply_decision(predictions, dataset, decision, chosen)
    figures, told = _compared(scored, seen, workers)
    notes = [*matched.notes, *overlap.notes(), *told, *([unfinished] if unfinished else [])]
    outcome_ = outcome(
        scored,
        {
            "part": EXTERNAL,
            "on": {
                "data": other.on,
                "name": name,
                "content": found.content_hash,
                "classes": matched.renamed,
                "subject_regex": other.subject_regex,
                "weights": file_hash(run_dir / BEST),
            },
            "backbone": scorer.metadata["backbone"],
            "data": dataset.content_hash,
            "synthetic": dataset.manifest.synthetic,
            **scorer.method,
        },
        {
            **figures,
            "overlap": overlap.as_json(),
            "warnings": [overlap.warning] if overlap.scored else [],
            "notes": notes,
        },
        marks={match.row: match.seen or match.how for match in overlap.scored},
    )
    outcome_.write(place, tables="", pictures="", title=f"{scorer.metadata['backbone']} on {name}")
    partial_file(place, scorer.method).unlink(missing_ok=True)
    outcome_.tell(report, f"on {name}")
    if "shift" in figures:
        result(report, "\n".join(["", format_shift(figures["shift"]), *outcome_.warnings]))
    for note in (*overlap.notes(), *told):
        result(report, f"note: {note}.")
    result(report, f"Written: {place}")
    return outcome_.figures


def partial_file(place: Path, method: Mapping[str, Any]) -> Path:
    """Name the file with the predictions of an evaluation that was stopped."""
    return place / f".partial-predictions{variant(method)}.npz"


def _reading(other: OtherData) -> DataConfig:
    return DataConfig(
        data=other.on,
        root=other.root,
        layout=other.layout,
        class_level=other.class_level,
        subject_level=other.subject_level,
        subject_regex=other.subject_regex,
        skip_bad=other.skip_bad,
    )


def _opener(config: DataConfig, data: str | None) -> Callable[[], DataSet]:
    """Return what opens the run's own data, once."""

    def quiet(_text: str) -> None:
        """Training has told how they are read."""

    config = dataclasses.replace(config, data=data or config.data)
    return functools.cache(lambda: open_dataset(config, report=quiet))


def _decision(
    run_dir: Path,
    scorer: Scorer,
    matched: Matched,
    names: tuple[str, ...],
    positive: str | None,
    report: Report,
) -> tuple[Decision, str | None]:
    """Return what the run keeps, and the positive class."""
    method = variant(scorer.method)
    decision = read_decision(run_dir, method=method, class_names=names)
    if method and not (run_dir / decision_file(method)).is_file():
        options = method[1:].replace(".", ", ")
        report(
            f"note: the run keeps no decision for {options}: the most probable class counts, and "
            "probabilities are as the network gives them. fastleuk evaluate RUN with the same "
            "option chooses one on the validation part."
        )
    chosen: str | None
    if positive:
        chosen = asked_positive(positive, matched.renamed, names)
    else:
        chosen = decision.positive or positive_class(names, scorer.config.data.positive)
    if decision.threshold is not None and chosen != decision.positive:
        raise ConfigError(
            f"--positive {positive}: the run's threshold is one of {decision.positive}. Choose one "
            f"of {chosen} first: fastleuk evaluate {quoted(run_dir)} --positive "
            f"{quoted(str(chosen))} --threshold {decision.rule}"
        )
    return decision, chosen


def _predict(
    run_dir: Path,
    scorer: Scorer,
    dataset: DataSet,
    rows: np.ndarray,
    training: Callable[[], DataSet],
    place: Path,
) -> Predictions:
    partial = partial_file(place, scorer.method)
    if not scorer.needs_training_images:
        return scorer.predict(dataset, rows, partial=partial)
    try:
        own = training()
        split = read_split(run_dir / SPLIT, own.manifest, own.groups, own.sha256)
    except DataError as error:
        raise DataError(
            "Averaged weights need the run's training images, for batch normalisation's "
            f"statistics. Leave --average out, or tell where they lie now (--data): {error}"
        ) from error
    return scorer.predict(
        dataset, rows, train_rows=split.indices("train"), train_set=own, partial=partial
    )


def _compared(scored: Scored, seen: Seen, workers: int) -> tuple[dict[str, Any], list[str]]:
    """Return baselines and shift, or why there are none."""
    if seen.looks is None:
        return {}, [
            "the run's own images can't be looked at, so copies that are other files, size, colour "
            "and the baselines were not compared; only files were, by their hashes. --data tells "
            f"where they are now ({seen.gone})"
        ]
    with progress_bar("measuring size and colours") as progress:
        asked = measure(scored.dataset, workers=workers, progress=progress).take(scored.rows)
    known, trained = seen.looks.measured, seen.trained
    told = baselines(known, seen.labels, asked, scored, seed=seen.seed)
    apart = shift(
        known.take(trained), seen.labels[trained], asked, scored.labels, scored.class_names
    )
    return {"baselines": told, "shift": apart}, []
