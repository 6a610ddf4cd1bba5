"""A folder of ``cv`` or ``paper``: many runs as one page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastleuk.errors import CheckpointError, DataError
from fastleuk.evaluation.intervals.figures import figures as all_figures
from fastleuk.files import read_rows
from fastleuk.protocols.figures import fraction, percent, title_of
from fastleuk.protocols.gaps import gap
from fastleuk.protocols.predictions import PredictionTable, make_table
from fastleuk.report.charts.protocol import folds_chart, leak_chart
from fastleuk.report.numbers import listing, plural
from fastleuk.report.overlap import shared
from fastleuk.report.sections.compared import compared, signed
from fastleuk.report.sections.results import figure_row
from fastleuk.report.source import read_split_file
from fastleuk.run_folder.names import TEST_METRICS
from fastleuk.shell import quoted
from fastleuk.tracking.runs import read_figures

RESULT = {"cv": "cv.json", "paper": "paper.json"}


def kind_of(folder: Path) -> str | None:
    """Return ``cv`` or ``paper`` where the folder is one of their own, else None."""
    return next((kind for kind, name in RESULT.items() if (folder / name).is_file()), None)


def read_result(folder: Path, kind: str) -> dict[str, Any]:
    """Read what a protocol found.

    Raises:
        CheckpointError: damaged, or of another version.
    """
    path = folder / RESULT[kind]
    needed = {"cv": ("runs", "summary", "pooled", "splits", "seeds", "data", "config"),
              "paper": ("rows", "shortcut", "seeds", "data", "config", "runs")}[kind]  # fmt: skip
    again = f"Give the command that made it again: fastleuk {kind} --out {quoted(folder)} …"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} can't be read: {error}. {again}") from error
    lacking = [name for name in needed if not isinstance(result, dict) or name not in result]
    if lacking:
        raise CheckpointError(f"{path} lacks {', '.join(lacking)}. {again}")
    return result


def cv_page(folder: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page of a cross-validation tells."""
    first, seeds = result["runs"][0], len(result["seeds"])
    names = list(result["summary"])
    counts = np.asarray(result["pooled"]["confusion_matrix"])
    return {
        "summary": [
            {
                "title": title_of(name, first),
                "name": name,
                "mean": fraction(value["mean"], value["sd_folds"]),
                "seeds": fraction(value["sd_seeds"]),
                "pooled": fraction(
                    result["pooled"]["figures"][name]["mean"],
                    result["pooled"]["figures"][name]["sd"],
                ),
            }
            for name, value in result["summary"].items()
        ],
        "several_seeds": seeds > 1,
        "heads": [title_of(name, first) for name in names],
        "runs": [
            {
                "split": run["split"],
                "seed": run["seed"],
                "images": run["samples"],
                "subjects": run["subjects"],
                "values": [fraction(run[name]) for name in names],
            }
            for run in result["runs"]
        ],
        "chart": folds_chart(result).html,
        "pooled": _pooled(folder, result),
        "comparisons": compared(result.get("comparisons")),
        "ensemble": _ensemble(result),
        "confusion": _confusion(result["class_names"], counts),
        "notes": list(result["notes"]),
        "disjoint": _folds_apart(folder, result),
    }


def _pooled(folder: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of all folds' test images, with intervals, made by evaluation."""
    path = folder / "cv_predictions.csv"
    if not path.is_file():
        return {"none": "Not computed: cv_predictions.csv is not in the folder."}
    names, positive = tuple(result["class_names"]), result["positive_class"]
    table = _out_of_fold(path, names, positive)
    found = all_figures(
        table.labels,
        table.probabilities,
        None if result["data"]["subject_is_image"] else table.subjects,
        names,
        positive,
    )
    rows = [figure_row(name, each["title"], each) for name, each in found["figures"].items()]
    over = f"{found['clusters']} {found['over']}"
    mean = ", the mean over the seeds of each image's probability" * (len(result["seeds"]) > 1)
    return {
        "rows": rows,
        "caption": f"{plural(len(table.paths), 'image')}, each scored by a network that never saw "
        f"its fold{mean}; {found['level']:.0%} intervals over {over}",
        "level": f"{found['level']:.0%}",
    }


def _out_of_fold(path: Path, names: tuple[str, ...], positive: str | None) -> PredictionTable:
    """Read the predictions of the folds' own test images."""
    rows = [row for row in read_rows(path, ("path", "part")) if row["part"] == "out-of-fold"]
    codes = {name: code for code, name in enumerate(names)}
    try:
        return make_table(
            [row["path"] for row in rows],
            [row["subject"] for row in rows],
            np.array([codes[row["label"]] for row in rows]),
            np.array([[float(row[f"p_{name}"]) for name in names] for row in rows]),
            names,
            positive,
        )
    except (KeyError, ValueError) as error:
        raise DataError(f"{path} can't be read: {error!r}.") from error


def _ensemble(result: Mapping[str, Any]) -> dict[str, Any]:
    ensemble = result["ensemble"]
    if ensemble is None:
        return {
            "none": "No ensemble: no part of the data is unseen by all runs, and one seed leaves "
            "nothing to average."
        }
    figures, found = ensemble["figures"], ensemble.get("comparisons")
    gains = found["from_mean"] if found else {}
    return {
        "gains": bool(gains),
        "comparisons": compared(found),
        "what": f"Mean probability of {ensemble['members']} runs on {ensemble['samples']} images "
        f"of {ensemble['subjects']} subjects ({ensemble['on']}).",
        "rows": [
            {
                "title": title_of(name, figures),
                "value": fraction(figures[name]),
                "single": fraction(each["mean"], each["sd"]),
                "gain": signed(gains.get(name)),
            }
            for name, each in ensemble["single"].items()
        ],
    }


def _confusion(names: list[str], counts: np.ndarray) -> dict[str, Any]:
    if len(names) > 12:
        return {"none": f"{len(names)} classes are too many to show; cv.json has them."}
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return {
        "names": names,
        "rows": [
            {
                "name": name,
                "total": f"{row.sum():g}",
                "cells": [
                    {"count": f"{count:g}", "value": float(count), "share": f"{share:.1%}",
                     "depth": round(float(share), 3), "of": other}
                    for count, share, other in zip(row, part, names, strict=True)
                ],
            }
            for name, row, part in zip(names, counts, shares, strict=True)
        ],
    }  # fmt: skip


def _folds_apart(folder: Path, result: Mapping[str, Any]) -> str:
    """Report if the runs' own split files keep subjects apart, and their parts look different."""
    checked, crossing, looked, alike = 0, [], 0, []
    for run in result["runs"]:
        path = folder / "runs" / run["name"] / "split.csv"
        if path.is_file():
            checked += 1
            if not all(pair.nothing for pair in shared(read_split_file(path))):
                crossing.append(run["name"])
        try:
            looks = read_figures(folder / "runs" / run["name"] / TEST_METRICS).get("parts")
        except DataError:  # no figures, so no comparison
            looks = None
        looked += looks is not None
        if looks and looks["same"]:
            alike.append(run["name"])
    if not checked:
        return "Not shown: the runs' folders are not there any more."
    if result["data"]["subject_is_image"]:
        return "No subject is known, so it cannot be shown that the parts share no person."
    if crossing:
        return f"Subjects stand in two parts of: {listing(crossing)}."
    if alike:
        return f"Near-identical pictures are in two parts of: {listing(alike)}."
    by_looks = (
        f" In {looked} of them the images were compared by their looks: no near-identical pictures "
        "are in two parts."
        if looked
        else " Looks were not compared."
    )
    return (
        f"In {checked} of {len(result['runs'])} runs split.csv was read: no subject and no file "
        f"stands in two parts.{by_looks}"
    )


def paper_page(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page of the paper's table tells."""
    average = "positive" if result["positive_class"] is not None else "macro"
    names = ["accuracy", *(f"{name}_{average}" for name in ("precision", "recall", "f1")), "auc",
             "f1_macro", "balanced_accuracy"]  # fmt: skip
    of = result["positive_class"] or "macro"
    heads = ["accuracy", f"precision ({of})", f"recall ({of})", f"F1 ({of})", "AUC", "macro-F1",
             "balanced accuracy"]  # fmt: skip
    rows = []
    for row in [*result["rows"], result["shortcut"]]:
        for split, title in (("image", "by image"), ("subject", "by subject")):
            cells = [percent(row[split][name]["mean"], row[split][name]["sd"]) for name in names]
            rows.append({"name": row["name"], "split": title, "cells": cells})
        if row["published"]:
            published = row["published"]
            cells = [
                percent(published[k]) for k in ("accuracy", "precision", "recall", "f1", "auc")
            ]
            rows.append(
                {"name": row["name"], "split": "published, by image", "cells": [*cells, "–", "–"]}
            )
    gaps = []
    for row in [*result["rows"], result["shortcut"]]:
        found = gap(row, "f1_macro")
        if found is None:
            continue
        gaps.append(
            {
                "name": row["name"],
                "mean": _points(found.mean),
                "ends": _signed(found.low, found.high),
                "verdict": {
                    "lower": "lower by subject",
                    "higher": "higher by subject",
                    "open": "no difference shown",
                    "unknown": "chance not measured",
                }[found.verdict],
            }
        )
    return {
        "heads": heads,
        "rows": rows,
        "gaps": gaps,
        "comparisons": [
            {"split": split, **each}
            for split, found in result.get("comparisons", {}).items()
            if (each := compared(found)) is not None
        ],
        "chart": leak_chart(result).html,
        "notes": [note for of_split in result.get("notes", {}).values() for note in of_split],
        "quick": result.get("quick", False),
        "shortcut": result["shortcut"]["name"],
    }


def _signed(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "not measured: one seed"
    return f"{_points(low)} to {_points(high)}"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")
