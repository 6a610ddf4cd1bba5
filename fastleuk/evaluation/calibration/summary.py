"""How far probabilities can be believed, before and after the temperature, fit for JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastleuk.evaluation.calibration.agreement import slope_and_intercept, undefined_slope
from fastleuk.evaluation.calibration.curves import decision_curve, ends, reliability, scored
from fastleuk.evaluation.decision import Decision
from fastleuk.evaluation.intervals.few_subjects import ANY, LEVEL
from fastleuk.evaluation.intervals.figures import prepare
from fastleuk.evaluation.intervals.metric_table import METRICS
from fastleuk.evaluation.intervals.resampling import Plan, interval, replicate
from fastleuk.evaluation.intervals.totals import Answers

RESAMPLES = 500
"""Of curves, slope and intercept, which are fitted anew in each."""

OF_TABLE = ("ece_15", "brier", "log_loss")


def calibration(
    labels: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    subjects: Sequence[Any] | np.ndarray | None,
    classes: Sequence[str],
    positive: str | None,
    decision: Decision,
) -> dict[str, Any]:
    """Return calibration figures with intervals, a reliability diagram and a decision curve.

    Args:
        labels: int64 ``(N,)``.
        before: float64 ``(N, C)``, probabilities as the network gives them.
        after: The same divided by the decision's temperature.
        subjects: ``(N,)``; None: not known, images are drawn.
        classes: C names.
        positive: The positive class, if there is one.
        decision: Of the run.

    Returns:
        ``temperature``, ``chosen_on``, ``positive_class``, ``level``, ``over``, ``clusters``, and
        ``before`` and (where a temperature was fitted) ``after``: each with ``figures``
        (``ece_15``, ``brier``, ``log_loss``, ``slope``, ``intercept``: ``title``, ``estimate``,
        ``low``, ``high``, ``better``), ``reliability`` and ``decision_curve``, see
        :mod:`fastleuk.evaluation.calibration.curves`.
    """
    told: dict[str, Any] = {
        "temperature": decision.temperature,
        "chosen_on": decision.chosen_on,
        "positive_class": positive,
        "level": LEVEL,
        "over": "images" if subjects is None else "subjects",
        "resamples": RESAMPLES,
    }
    stages = {"before": before} | ({"after": after} if decision.temperature != 1 else {})
    for stage, probabilities in stages.items():
        answers, plan = prepare(
            labels, probabilities, subjects, classes, positive, resamples=RESAMPLES
        )
        told["clusters"] = len(plan.strata)
        told[stage] = {
            "figures": _figures(answers, plan),
            "reliability": reliability(answers, plan),
            "decision_curve": decision_curve(answers, plan),
        }
    return told


def _figures(answers: Answers, plan: Plan) -> dict[str, Any]:
    figures = {}
    full = dataclasses.replace(plan, resamples=2000)
    for name, each in replicate(answers, full, OF_TABLE).items():
        figures[name] = {
            "title": METRICS[name].title,
            **interval(each, full).as_json(),
            "better": METRICS[name].better,
        }
    titles = {"slope": "slope (1 is right)", "intercept": "intercept (0 is right)"}
    if answers.positive is None:
        return figures
    scores, true = scored(answers)
    fitted: dict[str, list[np.ndarray]] = {name: [] for name in titles}
    for weights in plan.weights(len(scores)):
        pair = slope_and_intercept(scores, true, weights[:, answers.groups])
        for name, drawn in zip(titles, pair, strict=True):
            fitted[name].append(drawn)
    for name, title in titles.items():
        estimate, low, high = ends(np.concatenate(fitted[name]), plan, ANY)
        figures[name] = {
            "title": title, "estimate": estimate, "low": low, "high": high, "better": "neither",
        }  # fmt: skip
        if estimate is None:
            figures[name]["undefined"] = undefined_slope(scores, true) or "no estimate was found"
        elif low is None:
            figures[name]["undefined"] = "undefined in many resamples"
    return figures
