"""Score the weights of a run on its test split."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastleuk.data.dataset import DataSet
from fastleuk.data.from_config import open_dataset
from fastleuk.data.split.file import read_split
from fastleuk.data.split.parts import PARTS
from fastleuk.errors import CheckpointError, ConfigError
from fastleuk.evaluation.format import format_metrics
from fastleuk.evaluation.intervals.few_subjects import Interval
from fastleuk.evaluation.intervals.figures import check_probabilities
from fastleuk.evaluation.intervals.figures import figures as with_intervals
from fastleuk.evaluation.intervals.headline import macro_f1_summary
from fastleuk.evaluation.intervals.subjects import count_subjects
from fastleuk.evaluation.metrics import classification_metrics
from fastleuk.evaluation.plots import plot_confusion_matrix
from fastleuk.evaluation.predict import Predictions
from fastleuk.evaluation.scorer import Scorer
from fastleuk.files import write_json, write_rows
from fastleuk.run_folder.names import CONFIG
from fastleuk.run_folder.place import writing_place
from fastleuk.run_folder.state import TESTED, has_ended, not_ended, set_mark
from fastleuk.run_log import logged, open_log, result

Report = Callable[[str], None]


@logged
def evaluate_run(
    run_dir: Path,
    *,
    part: str = "test",
    data: str | None = None,
    device: str | None = None,
    dataset: DataSet | None = None,
    tta: str = "none",
    average: int = 0,
    positive: str | None = None,
    out: Path | None = None,
    report: Report = print,
) -> dict[str, Any]:
    """Evaluate the best weights on a part of the run's own split.

    Writes ``<part>_metrics.json``, ``<part>_predictions.csv`` and a confusion matrix into the
    run folder or ``out``. On the same machine the figures repeat exactly. With test-time
    augmentation or averaged weights the files have names of their own, such as
    ``test_metrics.tta-d4.json``, and the figures say what was used. Macro-F1 has an interval over
    subjects, see :mod:`fastleuk.evaluation.intervals.few_subjects`.

    Args:
        run_dir: A folder that ``fastleuk train`` made.
        part: ``test``, ``val`` or ``train``.
        data: Where the data lie now, if they have moved.
        device: ``auto``, ``cpu`` or ``cuda[:N]``; the run's own by default.
        dataset: The data set, if it is open already.
        tta: Views whose probabilities are averaged: ``none``, ``flips``, ``d4`` or ``8rot``.
        average: Average the weights of that many best checkpoints, see
            :mod:`fastleuk.evaluation.average`; 0 for ``best.safetensors``.
        positive: The positive class, if it is to be another than the run's.
        out: Where to write, if not into the run folder; made if it isn't there.
        report: Takes what is printed.

    Raises:
        ConfigError: an unknown part, ``tta`` or positive class, or a negative ``average``.
        CheckpointError: no run, or not the weights in it that were asked for.
        DataError: the data are not those of the run's split.
    """
    if part not in PARTS[1:]:
        raise ConfigError(f"--part is {part!r}, but must be one of {', '.join(PARTS[1:])}.")
    if not (run_dir / CONFIG).is_file():
        raise CheckpointError(f"{run_dir} is no run folder: it has no {CONFIG}.")
    place = writing_place(run_dir, out)
    open_log(report, place)
    unfinished = not_ended(run_dir)
    if unfinished:
        report(f"note: {unfinished}. These are not its final figures, and it can still go on.")
    scorer = Scorer(run_dir, device=device, tta=tta, average=average, report=report)
    config = scorer.config.data
    config = dataclasses.replace(
        config, data=data or config.data, positive=positive or config.positive
    )
    if dataset is None:
        dataset = open_dataset(config, report=report)
    split = read_split(run_dir / "split.csv", dataset.manifest, dataset.groups, dataset.sha256)
    predictions = scorer.predict(dataset, split.indices(part), train_rows=split.indices("train"))
    figures = {
        "part": part,
        "split": split.mode,
        "backbone": scorer.metadata["backbone"],
        "data": dataset.content_hash,
        "synthetic": dataset.manifest.synthetic,
        **scorer.method,
        **_figures(predictions, dataset, positive or dataset.positive),
    }
    for note in _changes(place, part, figures):
        report(note)
    if unfinished:
        figures["note"] = unfinished
    _write(place, part, figures, predictions, dataset)
    if part == "test" and not variant(figures) and place == run_dir and has_ended(run_dir):
        set_mark(run_dir, TESTED)
    what = f"{part}: {figures['samples']} images of {figures['subjects']} subjects"
    result(report, f"\n{what}{', SYNTHETIC demo cells' if figures['synthetic'] else ''}")
    result(report, format_metrics(figures))
    return figures


def _figures(predictions: Predictions, dataset: DataSet, positive: str | None) -> dict[str, Any]:
    """Return what the predictions are worth."""
    manifest, rows = dataset.manifest, predictions.indices
    names, by_image = manifest.class_names, manifest.subject_is_image
    labels, probabilities = predictions.labels, predictions.probabilities
    check_probabilities(probabilities)
    predicted = probabilities.argmax(axis=1)
    figures = classification_metrics(
        labels, probabilities, names, positive=positive, predicted=predicted
    )
    intervals = with_intervals(
        labels,
        probabilities,
        None if by_image else dataset.groups[rows],
        names,
        positive,
        predicted=predicted,
    )
    macro_f1 = intervals["figures"]["f1_macro"]
    counts = count_subjects(labels, predicted, dataset.groups[rows], len(names))
    return {
        "subjects": len({manifest.subjects[row] for row in rows}),
        "loss": predictions.loss,
        **figures,
        "interval": macro_f1_summary(
            counts,
            names,
            by_image=by_image,
            known=Interval(macro_f1["estimate"], macro_f1["low"], macro_f1["high"]),
        ),
        "intervals": intervals,
    }


def _changes(run_dir: Path, part: str, figures: dict[str, Any]) -> list[str]:
    """Say where the figures are of another positive class than those written before."""
    path = run_dir / f"{part}_metrics{variant(figures)}.json"
    try:
        before = json.loads(path.read_text(encoding="utf-8")).get("positive_class")
    except (OSError, ValueError, AttributeError):
        return []
    now = figures.get("positive_class")
    if before in (None, now):
        return []
    return [
        f"note: {path.name} had {before!r} as the positive class, now it is "
        f"{'none' if now is None else repr(now)}: sensitivity and the like change. See --positive."
    ]


def variant(figures: dict[str, Any]) -> str:
    """Return what the names of a method's files have before their ending: empty for the plain one.

    >>> variant({"tta": "d4", "average": 3})
    '.tta-d4.average-3'
    """
    return "".join(f".{key}-{figures[key]}" for key in ("tta", "average") if key in figures)


def _write(
    run_dir: Path, part: str, figures: dict[str, Any], predictions: Predictions, dataset: DataSet
) -> None:
    manifest = dataset.manifest
    names = manifest.class_names
    rows = [
        {
            "path": manifest.paths[index],
            "subject": manifest.subjects[index],
            "label": names[label],
            "predicted": names[chances.argmax()],
            **{f"p_{name}": float(chance) for name, chance in zip(names, chances, strict=True)},
        }
        for index, label, chances in zip(
            predictions.indices, predictions.labels, predictions.probabilities, strict=True
        )
    ]
    method = variant(figures)
    write_rows(run_dir / f"{part}_predictions{method}.csv", rows)
    write_json(run_dir / f"{part}_metrics{method}.json", figures)
    picture = f"{'' if part == 'test' else f'{part}_'}confusion_matrix{method}.png"
    title = f"{figures['backbone']}, {part} part of the {figures['split']} split"
    title += f"\n{method[1:].replace('.', ', ')}{', ' if method else ''}"
    title += f"macro-F1 {figures['f1_macro']:.3f}"
    plot_confusion_matrix(
        figures["confusion_matrix"],
        names,
        run_dir / picture,
        title=title,
        synthetic=manifest.synthetic,
    )
