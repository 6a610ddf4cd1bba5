"""``fastleuk explain``: what a run looks at, in cells of its own split or of other data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastleuk.config import DataConfig
from fastleuk.data.from_config import open_dataset, progress_bar
from fastleuk.data.load import DataSet
from fastleuk.data.split.file import read_split
from fastleuk.data.split.parts import PARTS
from fastleuk.errors import CheckpointError, ConfigError, DataError
from fastleuk.evaluation.elsewhere.classes import parse_classes, rename_classes
from fastleuk.evaluation.elsewhere.place import set_name
from fastleuk.evaluation.scorer import Scorer
from fastleuk.explain.choose import Group, drawn_rows, hits_and_misses, named_cells
from fastleuk.explain.examine import RANDOM_SEED, Examined, examine, quartiles, summary, verdicts
from fastleuk.explain.heat import require_grad_cam
from fastleuk.explain.network import load_network
from fastleuk.explain.predicted import Predicted, decided
from fastleuk.explain.write import write_explanation
from fastleuk.run_folder.names import CONFIG, SPLIT
from fastleuk.run_folder.place import writing_place
from fastleuk.run_log import logged, open_log, result

OCCLUDED = 16
"""Cells, of those drawn, in which occlusion is compared with Grad-CAM."""

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainOptions:
    """What ``fastleuk explain`` takes.

    Attributes:
        on: Another data set: folder, manifest or shards; empty for the run's own.
        classes: Of ``on``: its names of the run's classes, as in
            :func:`fastleuk.evaluation.elsewhere.classes.parse_classes`.
        part: Of the run's own split: ``test``, ``val`` or ``train``.
        data: Where the run's own data lie now, if they have moved.
        subject_regex: Of ``on``.
        class_level: Of ``on``: level of the folders that are the classes.
        subject_level: Of ``on``: level of the folders that are the subjects.
        cells: Names of cells to show; empty for a gallery of hits and misses.
        each: Cells of a group.
        measure: Cells, drawn from all, in which the share of the heat is measured.
        target: ``predicted``, ``label`` or a class's name: what is explained.
        layer: Name of the layer; empty for the rule.
        occlusion: Compute occlusion for the cells that are shown.
        device: ``auto``, ``cpu`` or ``cuda[:N]``; empty for the run's.
        seed: Of the draw.
        out: Where to write; empty for a folder in the run's.
    """

    on: str = ""
    classes: str = ""
    part: str = "test"
    data: str = ""
    subject_regex: str = ""
    class_level: int = 0
    subject_level: int = 0
    cells: Sequence[str] = ()
    each: int = 8
    measure: int = 200
    target: str = "predicted"
    layer: str = ""
    occlusion: bool = True
    device: str = ""
    seed: int = 0
    out: str = ""


@logged
def explain_run(
    run_dir: Path, options: ExplainOptions, *, report: Report = print
) -> dict[str, Any]:
    """Write heat maps of a run's cells and what is measured in them.

    ``explain.json``, ``cells.csv``, ``heat_inside.png`` and a gallery for each group of cells go
    into ``RUN/explain-<part or data>``, or into ``options.out``.

    Args:
        run_dir: A folder that ``fastleuk train`` made.
        options: What to explain.
        report: Takes what is printed.

    Returns:
        What ``explain.json`` holds.

    Raises:
        MissingDependencyError: grad-cam is not installed.
        ConfigError: an option that makes no sense.
        CheckpointError: no run, or no weights.
        DataError: the data can't be used, have labels that the run doesn't know, or lack a cell.
    """
    require_grad_cam()
    _check(options)
    if not (run_dir / CONFIG).is_file():
        raise CheckpointError(f"{run_dir} is no run folder: it has no {CONFIG}.")
    scorer = Scorer(run_dir, device=options.device or None, report=report)
    names = tuple(scorer.metadata["classes"])
    if options.target not in ("predicted", "label", *names):
        raise ConfigError(
            f"--target {options.target!r}: give predicted, label or a class, one of "
            f"{', '.join(names)}."
        )
    dataset, rows, where = _images(run_dir, options, scorer, report)
    name = set_name(options.on) if options.on else options.part
    place = Path(options.out) if options.out else run_dir / f"explain-{name}"
    if not options.out:
        writing_place(run_dir, None)
    writing_place(run_dir, place)
    open_log(report, run_dir if not options.out else place)
    chosen = named_cells(options.cells, dataset.manifest, rows) if options.cells else []
    report(f"Predicting {len(rows)} cells: {where}")
    predicted = decided(run_dir, scorer.predict(dataset, rows), dataset)
    groups = _groups(predicted, dataset, chosen, options.each)
    shown = list(dict.fromkeys(row for group in groups for row in group.rows))
    drawn = [] if options.cells else drawn_rows(rows, count=options.measure, seed=options.seed)
    targets = _targets(predicted, options.target, names)
    network = load_network(run_dir, scorer.precision.device)
    wanted = {row: targets[row] for row in dict.fromkeys([*shown, *drawn])}
    with progress_bar("heat maps") as progress:
        layer, examined = examine(
            network,
            dataset,
            wanted,
            scorer.config,
            occluded={*shown, *drawn[:OCCLUDED]} if options.occlusion else (),
            layer=options.layer,
            report=report,
            progress=progress,
        )
    by_row = {each.row: each for each in examined}
    figures = {
        "run": str(run_dir),
        "on": where,
        "synthetic": dataset.manifest.synthetic,
        "classes": list(names),
        "method": "Grad-CAM",
        "target": options.target,
        "layer": str(layer),
        "random_weights_seed": RANDOM_SEED,
        "drawn": len(drawn),
        "of": len(rows),
        **summary([by_row[row] for row in drawn or shown]),
        **_occlusion([by_row[row] for row in drawn[:OCCLUDED] or shown]),
        "groups": _shares(groups, by_row, drawn, predicted, names),
    }
    write_explanation(place, figures, groups, examined, predicted, dataset, drawn or shown)
    result(report, f"\nGrad-CAM at {layer}, {where}")
    for line in verdicts(figures):
        result(report, line)
    report(f"Written: {place}")
    return figures


def _check(options: ExplainOptions) -> None:
    if options.part not in PARTS[1:]:
        raise ConfigError(f"--part is {options.part!r}, but must be one of {', '.join(PARTS[1:])}.")
    if options.each < 1 or options.measure < 1:
        raise ConfigError("--each and --measure must be at least 1.")
    if options.classes and not options.on:
        raise ConfigError("--classes renames the classes of other data: give those by --on.")
    if options.on and options.data:
        raise ConfigError("--on names other data, --data where the run's own lie: give one.")


def _images(
    run_dir: Path, options: ExplainOptions, scorer: Scorer, report: Report
) -> tuple[DataSet, np.ndarray, str]:
    """Return the data, which of their rows are meant, and what they are."""
    if options.on:
        config = DataConfig(
            data=options.on,
            subject_regex=options.subject_regex,
            class_level=options.class_level,
            subject_level=options.subject_level,
        )
        other = open_dataset(config, report=report, least_classes=1)
        names = tuple(scorer.metadata["classes"])
        matched = rename_classes(other, names, parse_classes(options.classes))
        for note in matched.notes:
            report(f"note: {note}.")
        return matched.dataset, matched.rows, options.on
    own = scorer.config.data
    config = dataclasses.replace(own, data=options.data or own.data)
    dataset = open_dataset(config, report=report)
    split = read_split(run_dir / SPLIT, dataset.manifest, dataset.groups, dataset.sha256)
    rows = split.indices(options.part)
    if not len(rows):
        raise DataError(f"The {options.part} part of {run_dir} has no image.")
    return dataset, rows, f"the {options.part} part"


def _groups(predicted: Predicted, dataset: DataSet, chosen: list[int], each: int) -> list[Group]:
    if chosen:
        return [Group("cells", "the cells that were named", None, None, tuple(chosen), len(chosen))]
    return hits_and_misses(
        predicted.rows,
        predicted.labels,
        predicted.classes,
        predicted.probabilities,
        dataset.manifest.class_names,
        each=each,
    )


def _targets(predicted: Predicted, target: str, names: Sequence[str]) -> dict[int, int]:
    rows = predicted.rows.tolist()
    if target == "predicted":
        return dict(zip(rows, predicted.classes.tolist(), strict=True))
    if target == "label":
        known = np.where(predicted.labels >= 0, predicted.labels, predicted.classes)
        return dict(zip(rows, known.tolist(), strict=True))
    return dict.fromkeys(rows, list(names).index(target))


def _occlusion(cells: Sequence[Examined]) -> dict[str, Any]:
    return {
        "occlusion_inside": quartiles([each.occlusion_inside for each in cells]),
        "occlusion_agreement": quartiles([each.occlusion_agreement for each in cells]),
    }


def _shares(
    groups: Sequence[Group],
    by_row: dict[int, Examined],
    drawn: Sequence[int],
    predicted: Predicted,
    names: Sequence[str],
) -> list[dict[str, Any]]:
    """Return what is shown of each group, and the share of the heat in those drawn of it."""
    found = []
    kinds = {row: predicted.kind(row) for row in drawn}
    for group in groups:
        mine = [row for row in drawn if kinds[row] == (group.label, group.hit)]
        found.append(
            {
                "name": group.name,
                "title": group.title,
                "label": None if group.label is None else names[group.label],
                "hit": group.hit,
                "cells": group.total,
                "shown": len(group.rows),
                "heat_inside": quartiles([by_row[row].inside for row in mine]),
            }
        )
    return found
