"""Every figure of merit with an interval: one entry of one table each.

A figure is a function of :class:`Totals`, which are sums over the samples of many resamples at
once. What is undefined (an AUC of one class) is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastleuk.evaluation.intervals.few_subjects import ABOVE_ZERO, CORRELATION, SHARE, Scale
from fastleuk.evaluation.intervals.totals import Answers, Counted, Totals

LABELS, PROBABILITIES = "labels", "probabilities"
HIGHER, LOWER, NEITHER = "higher", "lower", "neither"
EVERY, POSITIVE, OTHERS = "every sample", "the positive class", "all other classes"


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of merit.

    Attributes:
        title: For people; ``{positive}`` is the positive class's name.
        function: Takes :class:`Totals` of R resamples, returns float64 ``(R,)``.
        needs: :data:`LABELS` (predicted ones) or :data:`PROBABILITIES`.
        better: :data:`HIGHER`, :data:`LOWER` or :data:`NEITHER`.
        positive: Whether it is there with a positive class only.
        scale: What it can be, and on which scale its interval is symmetrical.
        share_of: The samples that it is a share of, :data:`EVERY`, :data:`POSITIVE` or
            :data:`OTHERS`; None of what is no share of samples.
    """

    title: str
    function: Callable[[Totals], np.ndarray]
    needs: str
    better: str = HIGHER
    positive: bool = False
    scale: Scale = SHARE
    share_of: str | None = None

    def as_json(self, positive: str | None) -> dict[str, Any]:
        """Return what a report needs to know of it."""
        return {
            "title": self.title.format(positive=positive),
            "needs": self.needs,
            "better": self.better,
        }


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide; 0 / 0 counts as 0, as in scikit-learn with ``zero_division=0``."""
    there = whole > 0
    return np.where(there, part / np.where(there, whole, 1), 0.0)


def _precision(t: Totals) -> np.ndarray:
    return _ratio(t.right, t.predicted)


def _recall(t: Totals) -> np.ndarray:
    return _ratio(t.right, t.true)


def _f1(t: Totals) -> np.ndarray:
    return _ratio(2 * t.right, t.true + t.predicted)


_Scores = Callable[[Totals], np.ndarray]


def _macro(scores: _Scores) -> _Scores:
    return lambda t: scores(t).mean(axis=-1)


def _weighted(scores: _Scores) -> _Scores:
    return lambda t: (scores(t) * t.true).sum(axis=-1) / t.true.sum(axis=-1)


def _of_positive(scores: _Scores) -> _Scores:
    return lambda t: scores(t)[..., t.positive]


def _accuracy(t: Totals) -> np.ndarray:
    return t.right.sum(axis=-1) / t.true.sum(axis=-1)


def _balanced(t: Totals) -> np.ndarray:
    there = t.true > 0
    return (_recall(t) * there).sum(axis=-1) / there.sum(axis=-1)


def _specificity(t: Totals) -> np.ndarray:
    p = t.positive
    others = t.true.sum(axis=-1) - t.true[..., p]
    return _ratio(others - (t.predicted[..., p] - t.right[..., p]), others)


def _mcc(t: Totals) -> np.ndarray:
    """Matthews' correlation for any number of classes (Gorodkin, 2004); 0 where it is 0 / 0."""
    size = t.true.sum(axis=-1)
    right = t.right.sum(axis=-1) * size - (t.true * t.predicted).sum(axis=-1)
    spread_predicted = size**2 - (t.predicted**2).sum(axis=-1)
    spread_true = size**2 - (t.true**2).sum(axis=-1)
    return _ratio(right, np.sqrt(np.maximum(spread_predicted * spread_true, 0)))


def _brier(t: Totals) -> np.ndarray:
    return t.sums("brier") / t.true.sum(axis=-1)


def _log_loss(t: Totals) -> np.ndarray:
    return t.sums("log_loss") / t.true.sum(axis=-1)


def _ece(t: Totals) -> np.ndarray:
    return np.abs(t.sums("gaps")).sum(axis=-1) / t.true.sum(axis=-1)


METRICS: dict[str, Metric] = {
    "f1_macro": Metric("macro-F1", _macro(_f1), LABELS),
    "precision_macro": Metric("macro precision", _macro(_precision), LABELS),
    "recall_macro": Metric("macro recall", _macro(_recall), LABELS),
    "f1_weighted": Metric("weighted F1", _weighted(_f1), LABELS),
    "precision_weighted": Metric("weighted precision", _weighted(_precision), LABELS),
    "recall_weighted": Metric("weighted recall", _weighted(_recall), LABELS, share_of=EVERY),
    "f1_positive": Metric("F1 of {positive}", _of_positive(_f1), LABELS, positive=True),
    "precision_positive": Metric(
        "precision of {positive}", _of_positive(_precision), LABELS, positive=True
    ),
    "recall_positive": Metric(
        "recall of {positive}", _of_positive(_recall), LABELS, positive=True, share_of=POSITIVE
    ),
    "sensitivity": Metric(
        "sensitivity", _of_positive(_recall), LABELS, positive=True, share_of=POSITIVE
    ),
    "specificity": Metric("specificity", _specificity, LABELS, positive=True, share_of=OTHERS),
    "accuracy": Metric("accuracy", _accuracy, LABELS, share_of=EVERY),
    "balanced_accuracy": Metric("balanced accuracy", _balanced, LABELS),
    "mcc": Metric("Matthews correlation", _mcc, LABELS, scale=CORRELATION),
    "auc": Metric("AUC", Totals.auc, PROBABILITIES),
    "average_precision": Metric("average precision", Totals.average_precision, PROBABILITIES),
    "brier": Metric("Brier score", _brier, PROBABILITIES, LOWER),
    "log_loss": Metric("cross-entropy", _log_loss, PROBABILITIES, LOWER, scale=ABOVE_ZERO),
    "ece_15": Metric("calibration error", _ece, PROBABILITIES, LOWER),
}
"""By name, as ``test_metrics.json`` has them. The AUC and the average precision are the positive
class's where there is one (of two classes), else macro averages of one class against the rest."""


def samples_of(metric: Metric, answers: Answers | Counted) -> np.ndarray:
    """Count the samples of each cluster that a share of samples is of, float64 ``(G,)``."""
    true = answers.counts.true
    if metric.share_of == EVERY:
        return true.sum(axis=1)
    assert answers.positive is not None, "a figure of the positive class without one"
    positive = true[:, answers.positive]
    return positive if metric.share_of == POSITIVE else true.sum(axis=1) - positive
