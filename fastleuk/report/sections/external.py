"""What the run reads on data that are not its own: ``RUN/on-<name>``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fastleuk.errors import CheckpointError, DataError
from fastleuk.evaluation.baselines.comparison import verdict
from fastleuk.evaluation.elsewhere.place import PREFIX
from fastleuk.evaluation.elsewhere.shift import classes_sentence, feature_rows
from fastleuk.evaluation.format import clusters_sentence
from fastleuk.report.facts import results as facts_results
from fastleuk.report.numbers import capital, listing, plural, with_interval
from fastleuk.report.sections.results import figure_row
from fastleuk.report.source import Source
from fastleuk.tracking.runs import read_figures

SHOWN = (
    "f1_macro", "auc", "average_precision", "sensitivity", "specificity", "accuracy",
    "balanced_accuracy", "mcc", "brier", "ece_15",
)  # fmt: skip


def external(source: Source) -> dict[str, Any]:
    """Return what the run reads on other data, a set each.

    Raises:
        CheckpointError: a ``metrics.json`` that can't be read.
    """
    files = sorted(source.run_dir.glob(f"{PREFIX}*/metrics*.json"))
    if not files:
        return {
            "none": "Not tested on data from elsewhere. `fastleuk evaluate RUN --on DATA` does it.",
        }
    own = f"On the run's own test part: {facts_results.headline_sentence(source)}."
    return {"sets": [_set(source, file) for file in files], "own": own}


def _set(source: Source, file: Path) -> dict[str, Any]:
    try:
        found = read_figures(file)
        return _shown(source, file, found)
    except (DataError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{file} can't be used: {error}. Give fastleuk evaluate --on for these data again, or "
            f"remove {file.parent}."
        ) from error


def _shown(source: Source, file: Path, found: dict[str, Any]) -> dict[str, Any]:
    on, intervals = found["on"], found["intervals"]
    figures = intervals["figures"]
    method = re.fullmatch(r"metrics\.?(.*)\.json", file.name)
    views = method[1].replace(".", ", ") if method else ""
    name = file.parent.name.removeprefix(PREFIX)
    rows = [
        figure_row(key, capital(figures[key]["title"]), figures[key])
        for key in SHOWN
        if key in figures
    ]
    told: dict[str, Any] = {
        "name": f"{name} ({views})" if views else name,
        "warnings": [*_warnings(source, found)],
        "sentences": [
            f"{plural(found['samples'], 'image')} in {on['data']}. "
            "Temperature and threshold are those that the run keeps: these data decided nothing.",
            f"{clusters_sentence(intervals)}.",
            *(f"{capital(text)}." for text in found.get("notes", ())),
        ],
        "rows": rows,
        "caption": f"Figures on {name}",
        "headline": _headline(intervals, found["samples"]),
    }
    if "baselines" in found:
        told["sentences"].append(" ".join(verdict(each) for each in found["baselines"].values()))
    if "shift" in found:
        apart = found["shift"]
        told["shift"] = {
            "rows": feature_rows(apart),
            "caption": f"{name} beside the training images; range: {apart['range']}",
            "sentences": [*apart["sentences"], f"Classes: {classes_sentence(apart)}."],
        }
    return told


def _warnings(source: Source, found: dict[str, Any]) -> list[str]:
    told = list(found.get("warnings", ()))
    now = source.hashes.get("best.safetensors")
    if now and found["on"].get("weights", now) != now:
        told.append(
            "These figures are of other weights than the run has now. fastleuk evaluate "
            "RUN --on DATA makes them anew."
        )
    if found.get("synthetic"):
        told.append("These are synthetic cells, drawn by a program.")
    return told


def _headline(intervals: dict[str, Any], images: int) -> str:
    figures = intervals["figures"]
    told = [
        f"{figures[name]['title']} {with_interval(figures[name])}"
        for name in ("f1_macro", "auc", "sensitivity", "specificity")
        if figures.get(name, {}).get("estimate") is not None
    ]
    of = f"{intervals['clusters']} {intervals['over']}"
    over = f"intervals over {of}" if intervals["over"] == "subjects" else "no subjects are known"
    return f"{listing(told)} ({plural(images, 'image')}, {over})"


def external_lines(told: dict[str, Any]) -> list[str]:
    """Return a line for each set, for texts without tables.

    Args:
        told: Of :func:`external`.
    """
    if told.get("none"):
        return [str(told["none"])]
    return [
        f"On {each['name']}: {each['headline']}. {' '.join(each['warnings'])}".strip()
        for each in told["sets"]
    ]
