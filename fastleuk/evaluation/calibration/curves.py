"""What a reliability diagram and a decision curve show, with bands over subjects."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastleuk.evaluation.intervals.few_subjects import SHARE, Scale
from fastleuk.evaluation.intervals.resampling import Plan, Unseen, interval, of_values
from fastleuk.evaluation.intervals.totals import Answers, calibration_bins

BINS = 10
THRESHOLDS = np.round(np.arange(0.02, 0.99, 0.02), 2)
"""Threshold probabilities of a decision curve."""


def reliability(answers: Answers, plan: Plan) -> dict[str, Any]:
    """Return how often what was given a probability came true, bin by bin.

    The probability is that of the positive class; without one, that of the predicted class, which
    comes true where it is right.

    Args:
        answers: What the classifier said.
        plan: The resamples.

    Returns:
        Fit for JSON: ``of`` (``positive`` or ``predicted``) and ``bins``, those that have images:
        ``from``, ``to``, ``images``, ``probability`` (their mean), ``observed`` (the share that
        came true), ``low`` and ``high`` (None where a bin's share is unknown in many resamples).
    """
    scores, true = scored(answers)
    size = int(answers.groups.max()) + 1
    places = calibration_bins(scores, BINS)
    cells = answers.groups * BINS + places

    def by_group(values: np.ndarray | None) -> np.ndarray:
        return np.bincount(cells, weights=values, minlength=size * BINS).reshape(size, BINS)

    counts, hits, sums = by_group(None), by_group(true), by_group(scores)
    weights = np.concatenate(list(plan.weights(BINS)))
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = (weights @ hits) / (weights @ counts)
    bins = []
    for place in np.flatnonzero(counts.sum(axis=0)):
        unseen = Unseen(int((counts[:, place] > 0).sum()))
        share, low, high = ends(observed[:, place], plan, SHARE, unseen)
        images = int(counts[:, place].sum())
        bins.append(
            {
                "from": round(float(place) / BINS, 10),
                "to": round(float(place + 1) / BINS, 10),
                "images": images,
                "probability": float(sums[:, place].sum() / images),
                "observed": share,
                "low": low,
                "high": high,
            }
        )
    return {"of": "predicted" if answers.positive is None else "positive", "bins": bins}


def scored(answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities whose truth is looked at, float64 ``(N,)``, and bool ``(N,)``."""
    if answers.positive is None:
        said = answers.probabilities.argmax(axis=1)
        return answers.probabilities.max(axis=1), said == answers.labels
    return answers.probabilities[:, answers.positive], answers.labels == answers.positive


def decision_curve(answers: Answers, plan: Plan) -> dict[str, Any] | None:
    """Return the net benefit of acting on the positive class (Vickers and Elkin, 2006).

    At a threshold probability p an image at or above it is acted on. A false alarm costs p / (1 -
    p) of what a positive one brings, which is what someone says who acts from p on.

    Args:
        answers: What the classifier said.
        plan: The resamples.

    Returns:
        Fit for JSON, lists of equal length: ``thresholds``, ``model`` with ``low`` and ``high``,
        and ``all`` (acting on every image); acting on none brings 0. None without a positive class.
    """
    if answers.positive is None:
        return None
    scores, true = scored(answers)
    size, count = int(answers.groups.max()) + 1, len(THRESHOLDS)
    acted = scores[:, None] >= THRESHOLDS
    right, wrong = np.zeros((size, count)), np.zeros((size, count))
    np.add.at(right, answers.groups, acted & true[:, None])
    np.add.at(wrong, answers.groups, acted & ~true[:, None])
    images = np.bincount(answers.groups, minlength=size)
    weights = np.concatenate(list(plan.weights(2 * count)))
    total = (weights @ images)[:, None]
    odds = THRESHOLDS / (1 - THRESHOLDS)
    benefit = (weights @ right - odds * (weights @ wrong)) / total
    share = float(true.mean())
    scales = [Scale("plain", -each * (1 - share), share) for each in odds]
    found = [ends(column, plan, scale) for column, scale in zip(benefit.T, scales, strict=True)]
    return {
        "thresholds": THRESHOLDS.tolist(),
        "model": [each[0] for each in found],
        "low": [each[1] for each in found],
        "high": [each[2] for each in found],
        "all": (share - odds * (1 - share)).tolist(),
    }


def ends(
    values: np.ndarray, plan: Plan, scale: Scale, unseen: Unseen | None = None
) -> tuple[float | None, float | None, float | None]:
    """Return a figure and its interval; no interval where it is unknown in a tenth of resamples.

    Args:
        values: In all rows of :meth:`.resampling.Plan.weights`.
        plan: The resamples.
        scale: Of the figure.
        unseen: See :func:`.resampling.of_values`.
    """
    found = interval(of_values(values, plan, scale, unseen), plan)
    if not np.isfinite(found.estimate):
        return None, None, None
    drawn = values[1 : 1 + plan.resamples]
    if np.isfinite(drawn).mean() < 0.9 or not np.isfinite([found.low, found.high]).all():
        return found.estimate, None, None
    return found.estimate, found.low, found.high
