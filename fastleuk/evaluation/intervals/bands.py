"""ROC and precision-recall curves with a band over subjects.

The band is made of intervals, one at each place of the horizontal axis, by the same resamples as
those of the figures; it says nothing of the curve as a whole. Where no resample differs it has the
exact binomial bound, but for the end of an ROC curve, which is 1 by definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastleuk.evaluation.intervals.few_subjects import ANY, EXACT, LEVEL, SHARE, exact_bound
from fastleuk.evaluation.intervals.figures import prepare
from fastleuk.evaluation.intervals.resampling import Plan, interval, of_values
from fastleuk.evaluation.intervals.totals import Answers

PLACES = 101


@dataclass(frozen=True, eq=False, slots=True)
class Curve:
    """A curve through the samples, and a band around it.

    Attributes:
        x: float64 ``(K,)``: false positive rate, or recall; of the curve's own corners.
        y: float64 ``(K,)``: true positive rate, or precision.
        thresholds: float64 ``(K,)``, the least score that counts as positive.
        places: float64 ``(P,)``, where the band is known.
        low: float64 ``(P,)``.
        high: float64 ``(P,)``.
        clusters: Subjects (or images) that were drawn from.
        level: Of the band, place by place.
    """

    x: np.ndarray
    y: np.ndarray
    thresholds: np.ndarray
    places: np.ndarray
    low: np.ndarray
    high: np.ndarray
    clusters: int
    level: float = LEVEL


def curve_bands(
    labels: np.ndarray,
    probabilities: np.ndarray,
    subjects: Sequence[Any] | np.ndarray | None,
    classes: Sequence[str],
    positive: str,
    *,
    resamples: int | None = None,
    seed: int = 0,
) -> tuple[Curve, Curve] | None:
    """Return the ROC and the precision-recall curve of the positive class with their bands.

    Args:
        labels: int64 ``(N,)``.
        probabilities: float64 ``(N, C)``, rows summing to 1.
        subjects: ``(N,)``, whose each sample is; None: not known, images are drawn.
        classes: C names.
        positive: The positive class.
        resamples: As for :func:`fastleuk.evaluation.intervals.figures.figures`.
        seed: Of the draw.

    Returns:
        None where the labels are all positive, or none is: there is no curve.

    Raises:
        ConfigError: arguments that don't fit.
    """
    answers, plan = prepare(
        labels, probabilities, subjects, classes, positive, resamples=resamples, seed=seed
    )
    code = list(classes).index(positive)
    order, starts, members = answers.ranked(code)
    if members.all() or not members.any():
        return None
    ends = np.append(starts[1:], len(order)) - 1  # of equal scores, the last
    roc, pr = _in_resamples(answers, plan, order, ends, members)
    right, wrong = np.cumsum(members)[ends], np.cumsum(~members)[ends]
    thresholds = answers.probabilities[order[ends], code]
    corner = np.concatenate([[np.inf], thresholds])
    tpr, fpr = right / members.sum(), wrong / (~members).sum()
    places = np.linspace(0, 1, PLACES)
    return (
        Curve(np.append(0, fpr), np.append(0, tpr), corner, places, *roc, len(plan.strata)),
        Curve(tpr, right / (right + wrong), thresholds, places, *pr, len(plan.strata)),
    )


def _in_resamples(
    answers: Answers, plan: Plan, order: np.ndarray, ends: np.ndarray, members: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the lower and upper ends of both curves' bands."""
    places = np.linspace(0, 1, PLACES)
    groups = answers.groups[order]
    rows: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for weights in plan.weights(len(order)):
        drawn = weights[:, groups].astype(np.float64)
        right = np.cumsum(drawn * members, axis=1)[:, ends]
        wrong = np.cumsum(drawn * ~members, axis=1)[:, ends]
        taken = right + wrong
        precision = np.divide(right, taken, out=np.ones_like(right), where=taken > 0)
        for tp, fp, exact in zip(right, wrong, precision, strict=True):
            tpr, fpr = np.append(0, tp / tp[-1]), np.append(0, fp / fp[-1])
            rows[0].append(_upper(places, fpr, tpr))
            rows[1].append(exact[np.searchsorted(tpr[1:], places - 1e-12).clip(max=len(tp) - 1)])
    clusters = answers.counts.clusters()
    positives = np.unique(groups[members]).size
    roc, pr = (np.array(curve) for curve in rows)
    bands = [_ends(roc, plan, positives), _ends(pr, plan, int(clusters[clusters > 0].min()))]
    for end in bands[0]:
        end[-1] = 1.0
    return bands


def _upper(places: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Interpolate a rising curve; where it is upright, take its upper end."""
    last = np.append(np.diff(x) > 0, True)
    return np.interp(places, x[last], y[last])


def _ends(values: np.ndarray, plan: Plan, clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a band that is symmetrical in the angle whose sine squared is the rate.

    On the logit scale, which figures have, it would fall to 0 wherever a curve comes near 1.

    Args:
        values: float64 ``(rows, P)``, the curve in all rows of :meth:`.resampling.Plan.weights`.
        plan: The resamples.
        clusters: Those that the exact bound counts.
    """
    found = [interval(of_values(column, plan, ANY), plan) for column in values.T]
    rates = np.array([each.estimate for each in found])
    exact = np.array([each.method == EXACT for each in found])
    reach = np.array([each.high - each.estimate for each in found])
    reach[exact] = 0.0
    angles = np.arcsin(np.sqrt(rates.clip(0, 1)))
    inside = np.sqrt(np.maximum(rates * (1 - rates), 1e-12))
    edge = (rates <= 0) | (rates >= 1)
    spread = np.where(edge, np.arcsin(np.sqrt(np.minimum(reach, 1))), reach / (2 * inside))
    low = np.sin(np.clip(angles - spread, 0, np.pi / 2)) ** 2
    high = np.sin(np.clip(angles + spread, 0, np.pi / 2)) ** 2
    for place in np.flatnonzero(exact):
        bound = exact_bound(float(rates[place]), clusters, SHARE)
        low[place], high[place] = bound.low, bound.high
    return low, high
