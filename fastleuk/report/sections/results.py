"""Headline, figures with intervals, curves, confusion matrix and scores."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from fastleuk.data.labels.positive import meanings
from fastleuk.evaluation.intervals.bands import curve_bands
from fastleuk.report.charts.curves import pr_chart, roc_chart
from fastleuk.report.charts.scores import histogram_chart
from fastleuk.report.facts import results as facts_results
from fastleuk.report.numbers import ends, estimate, number, plural, whole, with_interval
from fastleuk.report.source import Source, Tested

LEAST_SUBJECTS_OF_A_BAND = 5
"""Subjects of a class, below which a band is noise."""

BAND_RESAMPLES = 1000
"""A band is drawn, not quoted: fewer than a figure's interval has will do."""

HEADLINE = ("f1_macro", "auc", "sensitivity", "specificity")
PLAIN_NAMES = {
    "f1_macro": "macro-F1", "auc": "AUC", "sensitivity": "sensitivity",
    "specificity": "specificity", "balanced_accuracy": "balanced accuracy",
}  # fmt: skip


def headline(source: Source) -> dict[str, Any]:
    """Return the figures that stand first, and what they mean."""
    figures = source.intervals.get("figures", {})
    names = HEADLINE if source.positive else ("f1_macro", "auc", "balanced_accuracy")
    return {
        "figures": [
            {
                **figure_row(name, PLAIN_NAMES[name], figures.get(name), source.figures.get(name)),
                "means": facts_results.meaning(source, name),
            }
            for name in names
        ],
        "plain": facts_results.plain_sentences(source),
        "clusters": facts_results.clusters_sentence(source),
        "images": whole(source.figures["samples"]),
        "meanings": meanings(source.class_names),
        "computed_now": source.intervals_computed and bool(figures),
    }


def figure_row(
    name: str, title: str, figure: dict[str, Any] | None, plain: float | None = None
) -> dict[str, Any]:
    """Return a figure for the page: texts, and the places of its bar in percent.

    Args:
        name: Of the figure.
        title: For people.
        figure: With its interval, or None.
        plain: The value alone, for want of ``figure``.
    """
    found = figure or {"estimate": plain}
    value, low, high = (found.get(key) for key in ("estimate", "low", "high"))
    row = {
        "name": name,
        "title": title,
        "value": value,
        "low": low,
        "high": high,
        "estimate": estimate(found),
        "ends": ends(found) if figure else "interval not computed",
        "better": found.get("better", "higher"),
    }
    if value is not None and low is not None and high is not None and 0 <= low <= high <= 1:
        row["bar"] = {
            "left": round(100 * low, 2),
            "width": round(100 * (high - low), 2),
            "at": round(100 * value, 2),
        }
    return row


def figures_table(source: Source) -> dict[str, Any]:
    """Return every figure of the run with its interval."""
    figures = source.intervals.get("figures", {})
    if not figures:
        why = source.missing.get("test_predictions.csv", "the run holds no predictions.")
        return {"none": f"Intervals are not computed: {why}", "rows": _plain_rows(source)}
    rows = [figure_row(name, each["title"], each) for name, each in figures.items()]
    return {"rows": rows}


def _plain_rows(source: Source) -> list[dict[str, Any]]:
    names = ("f1_macro", "f1_weighted", "accuracy", "balanced_accuracy", "auc", "sensitivity",
             "specificity", "ece_15")  # fmt: skip
    return [
        figure_row(name, name.replace("_", " "), None, source.figures[name])
        for name in names
        if name in source.figures
    ]


def classes_table(source: Source) -> list[dict[str, Any]]:
    """Return precision, recall and F1 of each class."""
    return [
        {
            "name": name,
            **{key: number(values[key]) for key in ("precision", "recall", "f1")},
            "samples": whole(values["samples"]),
        }
        for name, values in source.figures.get("per_class", {}).items()
    ]


def confusion(source: Source) -> dict[str, Any]:
    """Return the confusion matrix with its rows' shares; of many classes only their number."""
    names, matrix = source.class_names, source.figures["confusion_matrix"]
    if len(names) > 12:
        return {"none": f"{len(names)} classes are too many to show; test_metrics.json has them."}
    rows = []
    for name, counts in zip(names, matrix, strict=True):
        total = sum(counts)
        cells = [
            {
                "count": whole(count),
                "value": count,
                "share": f"{count / total:.1%}" if total else "–",
                "depth": round(count / total, 3) if total else 0,
                "of": other,
            }
            for count, other in zip(counts, names, strict=True)
        ]
        rows.append({"name": name, "cells": cells, "total": whole(total)})
    return {"names": list(names), "rows": rows}


def curves(source: Source) -> dict[str, Any]:
    """Return ROC, precision-recall and histogram of the positive class."""
    tested, positive = source.tested, source.positive
    if tested is None:
        return {"none": f"Not computed: {source.missing['test_predictions.csv']}"}
    if positive is None:
        return {
            "none": "Not computed: no class is known to be the positive one. "
            "`fastleuk evaluate RUN --positive CLASS` names it."
        }
    code = source.class_names.index(positive)
    found = curve_bands(
        tested.labels,
        tested.probabilities,
        None if source.intervals.get("over") == "images" else tested.groups,
        source.class_names,
        positive,
        resamples=BAND_RESAMPLES,
    )
    told: dict[str, Any] = {
        "histogram": histogram_chart(
            tested.labels,
            tested.probabilities[:, code],
            source.class_names,
            positive,
            _threshold(source),
        ).html
    }
    if found is None:
        told["none"] = "ROC and precision-recall curves are undefined: the test has one class only."
        return told
    roc, pr = found
    told["band"] = "The band holds place by place, not for the curve as a whole."
    fewest = min(source.intervals.get("clusters_by_class", {}).values(), default=0)
    if source.intervals.get("over") == "subjects" and fewest < LEAST_SUBJECTS_OF_A_BAND:
        roc, pr = (dataclasses.replace(curve, places=np.empty(0)) for curve in (roc, pr))
        told["band"] = f"No band: a class has {plural(fewest, 'subject')}."
    figures, at = source.intervals.get("figures", {}), _as_applied(tested, code)
    share = float((tested.labels == code).mean())
    auc, area = with_interval(figures.get("auc")), with_interval(figures.get("average_precision"))
    told["roc"] = roc_chart(roc, positive, (at[0], at[1]), auc).html
    told["pr"] = pr_chart(pr, positive, (at[1], at[2]), share, area).html
    told["auc"], told["average_precision"] = auc, area
    return told


def _threshold(source: Source) -> float | None:
    if source.decision.threshold is not None:
        return source.decision.threshold
    return 0.5 if len(source.class_names) == 2 else None


def _as_applied(tested: Tested, code: int) -> tuple[float, float, float]:
    """Return false and true positive rate and precision of the labels that the run gives."""
    said, true = tested.predicted == code, tested.labels == code
    right = float((said & true).sum())
    return (
        float((said & ~true).sum()) / max(1, int((~true).sum())),
        right / max(1, int(true.sum())),
        right / max(1, int(said.sum())),
    )
