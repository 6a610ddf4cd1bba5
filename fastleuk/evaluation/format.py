"""Figures of merit laid out for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastleuk.data.labels.positive import meanings, no_positive
from fastleuk.evaluation.intervals.few_subjects import EXACT, trust
from fastleuk.tables import text_lines

AVERAGED = ("precision", "recall", "f1")

SINGLE = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "mcc": "Matthews correlation",
    "auc": "AUC",
    "average_precision": "average precision",
    "brier": "Brier score",
    "ece_15": "calibration error",
}
"""Titles of the figures that have a line each, without the positive class's name."""


def format_metrics(figures: Mapping[str, Any]) -> str:
    """Lay the figures out: averages as columns, a line for each other figure, the confusion matrix.

    Args:
        figures: As :func:`fastleuk.evaluation.metrics.classification_metrics` gives them; where
            they have ``intervals`` (:func:`fastleuk.evaluation.intervals.figures.figures`), every
            figure has its own beside it, and it is said over what they are.
    """
    names = figures["class_names"]
    undecided = len(names) == 2 and "positive_class" not in figures
    columns = _columns(figures, by_class=undecided)
    table: list[list[object]] = [["", *columns]]
    for row, name in enumerate(AVERAGED):
        table.append([name, *(values[row] for values in columns.values())])
    lines = text_lines(table, least=[18, *[max(16, *map(len, columns))] * len(columns)])
    lines += ["", *text_lines(_single(figures), align="l", least=[18, 0])]
    if undecided:
        lines.append(no_positive(names))
    if expanded := meanings(names):
        lines += ["", expanded]
    if "intervals" in figures:
        lines += ["", "In brackets: " + clusters_sentence(figures["intervals"])]
    lines += ["", "confusion matrix (rows: true, columns: predicted)"]
    width = max(6, *map(len, names))
    table = [["", *names]]
    table += [[name, *row] for name, row in zip(names, figures["confusion_matrix"], strict=True)]
    lines += text_lines(table, align="r", least=[width + 2, *[width] * len(names)])
    return "\n".join(lines)


def _columns(figures: Mapping[str, Any], *, by_class: bool) -> dict[str, list[str]]:
    """Return precision, recall and F1 by the head of their column."""
    columns = {}
    if by_class:
        for name, values in figures["per_class"].items():
            columns[name] = [f"{values[figure]:.4f}" for figure in AVERAGED]
    if "positive_class" in figures:
        head = f"{figures['positive_class']} (positive)"
        columns[head] = [_cell(figures, f"{figure}_positive") for figure in AVERAGED]
    for average in ("macro", "weighted"):
        # A class may itself be called "macro".
        head = f"{average} average" if average in columns else average
        columns[head] = [_cell(figures, f"{figure}_{average}") for figure in AVERAGED]
    return columns


def _cell(figures: Mapping[str, Any], name: str) -> str:
    found = figures.get("intervals", {}).get("figures", {}).get(name)
    if found is None:
        return f"{figures[name]:.4f}"
    return "undefined" if found["estimate"] is None else format_figure(found)


def _single(figures: Mapping[str, Any]) -> list[list[object]]:
    with_intervals = figures.get("intervals", {}).get("figures", {})
    rows: list[list[object]] = []
    for name, title in SINGLE.items():
        found = with_intervals.get(name)
        if found is not None:
            rows.append([title, format_figure(found)])
        elif name in figures:
            value = figures[name]
            rows.append([title, "undefined: one class only" if value is None else f"{value:.4f}"])
    return rows


def format_figure(found: Mapping[str, Any]) -> str:
    """Lay out a figure with its interval, such as ``0.9762 (0.884–0.995)``, or why there is none.

    Args:
        found: With ``estimate``, ``low`` and ``high``; None where it is undefined.
    """
    value, low, high = (found.get(key) for key in ("estimate", "low", "high"))
    if value is None:
        return f"undefined: {found.get('undefined', 'no value')}"
    if low is None or high is None:
        return f"{value:.4f} (no interval: {found.get('undefined', 'undefined')})"
    return f"{value:.4f} ({low:.3f}–{high:.3f})"


def format_calibration(told: Mapping[str, Any]) -> str:
    """Lay calibration figures out, before and after the temperature.

    Args:
        told: Of :func:`fastleuk.evaluation.calibration.summary.calibration`.
    """
    stages = [stage for stage in ("before", "after") if stage in told]
    heads = {"before": "as the network gives it", "after": f"temperature {told['temperature']:.3f}"}
    rows: list[list[object]] = [["calibration", *(heads[stage] for stage in stages)]]
    for name, each in told["before"]["figures"].items():
        cells = [format_figure(told[stage]["figures"][name]) for stage in stages]
        rows.append([each["title"], *cells])
    return "\n".join(text_lines(rows, align="l"))


def clusters_sentence(intervals: Mapping[str, Any]) -> str:
    """Say over what intervals are, how many clusters there were, and what they don't cover.

    Args:
        intervals: As :func:`fastleuk.evaluation.intervals.figures.figures` gives them.
    """
    over, by_class = intervals["over"], intervals["clusters_by_class"]
    counts = ", ".join(f"{count} {name}" for name, count in by_class.items())
    text = f"{intervals['level']:.0%} intervals over {intervals['clusters']} {over}"
    text += f" ({counts})" if len(by_class) <= 10 else ""
    text += f", drawn within class, {intervals['resamples']:,} resamples"
    there = [count for count in by_class.values() if count]
    exact = any(each.get("method") == EXACT for each in intervals["figures"].values())
    text += "; exact binomial ones where subjects don't differ or have one image" * (
        exact and over == "subjects"
    )
    return text + trust(min(there), over).replace("a rough one:", "rough ones:")
