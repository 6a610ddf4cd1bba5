"""What ``fastleuk evaluate`` adds: baselines, calibration, subjects' figures."""

from __future__ import annotations

from typing import Any

from fastleuk.evaluation.baselines.comparison import verdict
from fastleuk.evaluation.by_subject import (
    SHOWN,
    VOTE,
    WAYS,
    mixed_sentence,
    right_sentence,
)
from fastleuk.evaluation.calibration.choose import too_small
from fastleuk.evaluation.scored import concentration_sentence
from fastleuk.files import read_rows
from fastleuk.report.charts.calibration import decision_chart, reliability_chart
from fastleuk.report.numbers import capital, ends, estimate, plural
from fastleuk.report.sections.results import figure_row
from fastleuk.report.source import Source


def baselines(source: Source) -> dict[str, Any]:
    """Return size alone and colours alone beside the network."""
    told = source.figures.get("baselines")
    if not told:
        return {"none": "Not computed. `fastleuk evaluate RUN` does it."}
    own, rows = source.intervals.get("figures", {}), []
    for key, title in (("auc", "AUC"), ("f1_macro", "macro-F1")):
        if key in own:
            rows.append(figure_row(key, f"the network, {title}", own[key]))
        for name, each in told.items():
            if "none" not in each:
                figure = each["intervals"]["figures"][key]
                rows.append(figure_row(f"{name}.{key}", f"{each['title']}, {title}", figure))
    return {
        "rows": rows,
        "caption": "Classifiers without a network, fitted to the network's training images, tested "
        "on its test images",
        "sentence": " ".join(verdict(each) for each in told.values()),
    }


def calibration(source: Source) -> dict[str, Any]:
    """Return calibration figures before and after, the reliability diagram, the decision curve."""
    told = source.figures.get("calibration")
    if not told:
        return {
            "none": "Not computed. `fastleuk evaluate RUN` does it.",
            "sentences": [],
        }
    positive, after = told["positive_class"], told.get("after")
    rows = []
    for stage, which in (("before", "as the network gives it"), ("after", "after the temperature")):
        for name, figure in told.get(stage, {}).get("figures", {}).items():
            title = f"{figure['title']}, {which}" if after else figure["title"]
            rows.append({**figure_row(f"{stage}.{name}", title, figure), "order": name})
    order = list(told["before"]["figures"])
    rows.sort(key=lambda row: order.index(row["order"]))
    found: dict[str, Any] = {
        "sentences": _calibration_sentences(told),
        "rows": rows,
        "caption": f"Calibration on the test part, intervals over {told['over']}",
        "reliability": reliability_chart(told).html,
        "reliability_caption": "Reliability diagram: what was given a probability (across), and "
        "how often it was true (up), in bins of a tenth, with intervals. On the dotted line "
        "probabilities are right; above it they are too low.",
    }
    if positive is not None:
        found["decision"] = decision_chart(told, source.decision.threshold).html
        found["decision_caption"] = (
            f"Decision curve: what acting on {positive} is worth to someone who acts from a "
            "probability on (across): true positives less false alarms at that person's odds, per "
            "image. The network helps where its line is above both others. It is about single "
            "cells: a decision about a person needs more."
        )
    return found


def _calibration_sentences(told: dict[str, Any]) -> list[str]:
    small = too_small(told["chosen_on"]) if told["chosen_on"].get("subjects_by_class") else ""
    if told["temperature"] == 1:
        return [
            "No temperature was fitted: probabilities are as the network gives them. "
            "`fastleuk evaluate RUN --calibrate` fits one on the validation part."
        ]
    return [f"{capital(small)}: what was chosen on it may not hold elsewhere."] if small else []


def subject_figures(source: Source) -> dict[str, Any]:
    """Return figures of subjects instead of images, and a row of each subject."""
    told = source.figures.get("by_subject") or {}
    found: dict[str, Any] = {
        "notes": [concentration_sentence(each) for each in source.figures.get("concentration", ())]
    }
    if "right" in told:
        found["notes"].append(right_sentence(told["right"]))
    if VOTE in told:
        found |= _subject_metrics(told)
    elif "right" in told:
        found["notes"].append(f"No figures of subjects: {told['none']}.")
    path = source.run_dir / "test_subjects.csv"
    if path.is_file():
        shown = source.positive or source.class_names[-1]
        found["head"] = ["Subject", "Label", "Images", "Right", "By vote", "By mean",
                         f"Called {shown}", f"Mean probability of {shown}"]  # fmt: skip
        found["table"] = [
            [row["subject"], row["label"] or "several", row["images"], row["right"],
             row["by_vote"], row["by_mean"], f"{float(row[f'votes_{shown}']):.1%}",
             f"{float(row[f'p_{shown}']):.3f}"]
            for row in read_rows(path, ("subject", "label", "right", f"votes_{shown}",
                                        f"p_{shown}"))
        ]  # fmt: skip
    return found


def _subject_metrics(told: dict[str, Any]) -> dict[str, Any]:
    figures = {way: told[way]["intervals"]["figures"] for way in WAYS}
    metrics = [
        [figures[VOTE][name]["title"], *(_estimate(figures[way][name]) for way in WAYS)]
        for name in SHOWN
        if name in figures[VOTE]
    ]
    caption = (
        f"Each of {plural(told['subjects'], 'subject')} is one sample here: a subject is what most "
        "of its images are called, or what their mean probability says."
    )
    if told["mixed"]:
        caption += f" {mixed_sentence(told)}"
    return {
        "metrics": metrics,
        "metrics_head": ["Figure", *(title.capitalize() for title in WAYS.values())],
        "metrics_caption": caption,
    }


def _estimate(figure: dict[str, Any]) -> str:
    value = estimate(figure)
    return value if figure["estimate"] is None else f"{value} ({ends(figure)})"
