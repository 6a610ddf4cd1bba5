"""Score the weights of a run on its test split."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastleuk.data.copies.near import ALIKE, SAME
from fastleuk.data.dataset import DataSet
from fastleuk.data.from_config import open_dataset
from fastleuk.data.split.file import read_split
from fastleuk.data.split.parts import PARTS, Split
from fastleuk.errors import CheckpointError, ConfigError
from fastleuk.evaluation.baselines.measure import measure
from fastleuk.evaluation.calibration.settle import Wish, settle
from fastleuk.evaluation.outcome import baselines, outcome, variant
from fastleuk.evaluation.scored import Scored, apply_decision
from fastleuk.evaluation.scorer import Scorer
from fastleuk.progress import progress_bar
from fastleuk.run_folder.names import CONFIG
from fastleuk.run_folder.place import writing_place
from fastleuk.run_folder.state import TESTED, has_ended, not_ended, set_mark
from fastleuk.run_log import logged, open_log

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
    threshold: str | None = None,
    calibrate: bool | None = None,
    out: Path | None = None,
    report: Report = print,
) -> dict[str, Any]:
    """Evaluate the best weights on a part of the run's own split.

    Writes ``<part>_metrics.json``, ``<part>_predictions.csv`` and pictures of the confusion matrix
    and of the calibration into the run folder or ``out``. On the same machine the figures repeat
    exactly. With test-time augmentation or averaged weights the files have names of their own,
    such as ``test_metrics.tta-d4.json``, and the figures say what was used. Every figure has an
    interval over subjects, see :mod:`fastleuk.evaluation.intervals.few_subjects`.

    Temperature and threshold are chosen on the validation part, whatever ``part`` is, and kept in
    ``decision.json``: probabilities and labels are what they make of the network's scores.

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
        threshold: How the threshold is chosen, see
            :mod:`fastleuk.evaluation.calibration.thresholds`; by default as it was.
        calibrate: Whether a temperature is fitted; by default as it was, and at first where the
            validation part has subjects enough.
        out: Where to write, if not into the run folder; made if it isn't there.
        report: Takes what is printed.

    Raises:
        ConfigError: an unknown part, ``tta`` or positive class, a negative ``average``, or a
            threshold that can't be chosen.
        CheckpointError: no run, or not the weights in it that were asked for.
        DataError: the data are not those of the run's split.
    """
    if part not in PARTS[1:]:
        raise ConfigError(f"--part is {part!r}, but must be one of {', '.join(PARTS[1:])}.")
    if not (run_dir / CONFIG).is_file():
        raise CheckpointError(f"{run_dir} is no run folder: it has no {CONFIG}.")
    wish = Wish(threshold, calibrate, positive)
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
    for note in split.looks:
        report(f"note: {note}")
    train_rows = split.indices("train")
    decision = settle(
        run_dir, place, dataset, split.indices("val"), wish,
        lambda: scorer.predict(dataset, split.indices("val"), train_rows=train_rows),
        method=variant(scorer.method), report=report,
    )  # fmt: skip
    predictions = scorer.predict(dataset, split.indices(part), train_rows=train_rows)
    scored = apply_decision(predictions, dataset, decision, positive or dataset.positive)
    found = outcome(
        scored,
        {
            "part": part,
            "split": split.mode,
            "backbone": scorer.metadata["backbone"],
            "data": dataset.content_hash,
            "synthetic": dataset.manifest.synthetic,
            **scorer.method,
        },
        {
            **_baselines(scored, split, part, scorer.config.loader.workers),
            "parts": _compare_parts(dataset, split),
            **({"note": unfinished} if unfinished else {}),
        },
    )
    figures = found.figures
    for note in _changes(place, part, figures):
        report(note)
    found.write(
        place,
        tables=f"{part}_",
        pictures="" if part == "test" else f"{part}_",
        title=f"{figures['backbone']}, {part} part of the {figures['split']} split",
    )
    if part == "test" and not variant(figures) and place == run_dir and has_ended(run_dir):
        set_mark(run_dir, TESTED)
    found.tell(report, part)
    if part != "test" and decision.chosen_on.get("part") == part:
        report(f"note: that was chosen on this very part ({part}): its figures flatter.")
    return figures


def _baselines(scored: Scored, split: Split, part: str, workers: int) -> dict[str, Any]:
    """Return what needs no network, fitted to the parts that ``part`` is no part of."""
    if part == "train":
        return {}
    known = split.indices("train")
    if part == "test":
        known = np.concatenate([known, split.indices("val")])
    dataset = scored.dataset
    with progress_bar("measuring size and colours") as progress:
        measured = measure(dataset, workers=workers, progress=progress)
    told = baselines(
        measured.take(known), dataset.manifest.labels[known], measured.take(scored.rows), scored,
        seed=split.seed,
    )  # fmt: skip
    return {"baselines": told}


def _compare_parts(dataset: DataSet, split: Split) -> dict[str, Any]:
    """Compare the looks of the parts' images: the pairs in two parts that are or may be copies."""
    names = dataset.manifest.paths
    found = dataset.near.between(split.parts)
    same = sum(pair.correlation >= SAME for pair in found)
    pairs = [
        {
            "images": [names[pair.first], names[pair.second]],
            "parts": [PARTS[split.parts[pair.first]], PARTS[split.parts[pair.second]]],
            "distance": round(pair.distance, 4),
        }
        for pair in sorted(found, key=lambda pair: -pair.correlation)[:100]
    ]
    return {
        "images": int((split.parts > 0).sum()),
        "same_up_to": round(1 - SAME, 4),
        "alike_up_to": round(1 - ALIKE, 4),
        "same": same,
        "alike": len(found) - same,
        "pairs": pairs,
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
