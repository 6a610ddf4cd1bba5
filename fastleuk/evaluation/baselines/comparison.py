"""The network beside what sees size or colours alone, in the same resamples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastleuk.evaluation.baselines.classifiers import (
    COLOURS,
    SIZE,
    TITLES,
    colours_alone,
    size_alone,
)
from fastleuk.evaluation.baselines.measure import Measured
from fastleuk.evaluation.intervals.figures import figures, prepare
from fastleuk.evaluation.intervals.resampling import interval, replicate
from fastleuk.tables import text_lines

COMPARED = ("auc", "f1_macro")
"""What says whether a baseline is beaten: the first that is defined."""


def compare_with_baselines(
    known: Measured,
    known_labels: np.ndarray,
    asked: Measured,
    labels: np.ndarray,
    probabilities: np.ndarray,
    subjects: np.ndarray | None,
    classes: Sequence[str],
    positive: str | None,
    *,
    predicted: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Fit the baselines to what the network was trained on; return them beside it.

    Args:
        known: Of the images that the network was trained on (and chosen by).
        known_labels: int64 ``(K,)``.
        asked: Of the N images that are evaluated.
        labels: int64 ``(N,)``.
        probabilities: float64 ``(N, C)``, the network's.
        subjects: ``(N,)``; None: not known.
        classes: C names.
        positive: The positive class, if there is one.
        predicted: int64 ``(N,)``, the network's, if not the most probable class.
        seed: Of the forest.

    Returns:
        By name (``size``, ``colours``): ``title``, and either ``none`` (why there is none) or
        ``intervals`` (:func:`fastleuk.evaluation.intervals.figures.figures`), ``difference``: the
        network's ``auc`` and ``f1_macro`` less the baseline's with ``estimate``, ``low``,
        ``high``, and ``beaten``: whether the first of these that is defined is above 0.
    """
    count = len(classes)
    scores: dict[str, np.ndarray | str] = {
        SIZE: size_alone(known.area, known_labels, asked.area, count),
        COLOURS: colours_alone(known.colours, known_labels, asked.colours, count, seed=seed),
    }
    network, plan = prepare(labels, probabilities, subjects, classes, positive, predicted=predicted)
    own = replicate(network, plan, COMPARED)
    told: dict[str, Any] = {}
    for name, chances in scores.items():
        told[name] = {"title": TITLES[name]}
        if isinstance(chances, str):
            told[name]["none"] = chances
            continue
        told[name]["intervals"] = figures(labels, chances, subjects, classes, positive)
        answers, _ = prepare(labels, chances, subjects, classes, positive)
        theirs = replicate(answers, plan, COMPARED)
        gaps = {key: interval(own[key] - theirs[key], plan) for key in COMPARED}
        told[name]["difference"] = {key: gap.as_json() for key, gap in gaps.items()}
        key = measure_of(told[name])
        told[name]["beaten"] = told[name]["difference"][key]["low"] > 0
    return told


def measure_of(told: Mapping[str, Any]) -> str:
    """Return which figure says whether a baseline is beaten."""
    return next(key for key in COMPARED if told["difference"][key]["estimate"] is not None)


def verdict(told: Mapping[str, Any]) -> str:
    """Describe the difference between the network and a baseline in a sentence.

    Args:
        told: One of :func:`compare_with_baselines`.
    """
    name = told["title"].partition(" (")[0]
    if "none" in told:
        return f"{name.capitalize()} was not computed: {told['none']}."
    key = measure_of(told)
    title = {"auc": "AUC", "f1_macro": "macro-F1"}[key]
    gap = told["difference"][key]
    estimate, low, high = (signed(gap[key]) for key in ("estimate", "low", "high"))
    text = f"{title} of the network minus {title} of {name}: {estimate} ({low} to {high})"
    if told["beaten"]:
        return f"{text}."
    if gap["high"] < 0:
        return f"{text}: {name} is better than the network."
    return f"{text}: the network is not shown to be better than {name}."


def signed(value: float) -> str:
    """Return a difference with its sign and three decimals.

    >>> signed(-0.1573), signed(0.01)
    ('−0.157', '+0.010')
    """
    return f"{value:+.3f}".replace("-", "−")


def format_comparison(told: Mapping[str, Any]) -> str:
    """Lay the baselines out for a terminal.

    Args:
        told: Of :func:`compare_with_baselines`.
    """
    from fastleuk.evaluation.format import format_figure

    rows: list[list[object]] = [["without a network", "macro-F1", "AUC"]]
    for each in told.values():
        if "none" not in each:
            found = each["intervals"]["figures"]
            rows.append([each["title"], *(format_figure(found[k]) for k in ("f1_macro", "auc"))])
    lines = text_lines(rows, align="l") if len(rows) > 1 else []
    return "\n".join([*lines, *(verdict(each) for each in told.values())])
