"""The interval over subjects of any metric, such as those of ``sklearn.metrics``."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn import config_context

from fastleuk.errors import ConfigError
from fastleuk.evaluation.intervals.few_subjects import (
    ABOVE_ZERO,
    ANY,
    CORRELATION,
    LEVEL,
    SHARE,
    Interval,
)
from fastleuk.evaluation.intervals.figures import prepare
from fastleuk.evaluation.intervals.metric_table import LABELS, METRICS, PROBABILITIES
from fastleuk.evaluation.intervals.resampling import (
    Plan,
    Replicates,
    interval,
    of_values,
    replicate,
)
from fastleuk.evaluation.intervals.subjects import RESAMPLES
from fastleuk.evaluation.intervals.totals import Answers

Metric = Callable[..., float]

_SCORED = """
    average_precision_score brier_score_loss d2_brier_score d2_log_loss_score dcg_score hinge_loss
    log_loss ndcg_score roc_auc_score top_k_accuracy_score
"""
OF_SCORES = frozenset(_SCORED.split())
"""Metrics of scikit-learn that take probabilities; the others take predicted labels."""

FAST = {
    "accuracy_score": "accuracy",
    "average_precision_score": "average_precision",
    "balanced_accuracy_score": "balanced_accuracy",
    "brier_score_loss": "brier",
    "log_loss": "log_loss",
    "matthews_corrcoef": "mcc",
    "roc_auc_score": "auc",
}
"""Metrics of scikit-learn that are, of two classes and as they come, one of our table."""

AVERAGED = {"f1_score": "f1", "precision_score": "precision", "recall_score": "recall"}
"""Those that are one of our table by their ``average``."""

_SCALES = {"matthews_corrcoef": CORRELATION, "cohen_kappa_score": CORRELATION,
           "log_loss": ABOVE_ZERO}  # fmt: skip


def subject_interval(
    metric: str | Metric,
    labels: Sequence[Any] | np.ndarray,
    probabilities: np.ndarray,
    subjects: Sequence[Any] | np.ndarray | None,
    *,
    classes: Sequence[Any] | None = None,
    needs: str | None = None,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return a metric with its interval over subjects.

    Subjects, not samples, are drawn with replacement, within their class; see
    :mod:`fastleuk.evaluation.intervals.few_subjects`. The metric is called once a resample, with
    ``sample_weight`` where it takes that; names of our own table, and metrics of scikit-learn that
    are the same (:data:`FAST`, :data:`AVERAGED`), are computed for all resamples at once.

    Args:
        metric: A function of ``sklearn.metrics`` (or a ``functools.partial`` of one), one of your
            own that is called as ``metric(labels, predicted)`` or ``metric(labels, scores)``, or
            a name of :data:`fastleuk.evaluation.intervals.metric_table.METRICS`, such as
            ``"f1_macro"``.
        labels: ``(N,)``: codes from 0 to C - 1, or the classes themselves, whose sorted order is
            then that of the columns of ``probabilities``, unless ``classes`` says otherwise.
        probabilities: ``(N, C)``, rows summing to 1; of two classes ``(N,)`` will do, that of the
            second. A metric of labels gets the most probable class; one of scores gets the second
            class's column of two classes, else all columns.
        subjects: ``(N,)``, whose each sample is; None: not known, samples are drawn one by one.
        classes: The classes in the order of the columns.
        needs: ``labels`` or ``probabilities``: what a function of your own takes.
        level: How often the interval is to hold the truth.
        resamples: Number of bootstrap samples.
        seed: Of the draw.

    Raises:
        ConfigError: shapes that don't agree, scores that are no probabilities, an unknown name,
            a function of which is not known what it takes, or a metric that is undefined for these
            samples.
    """
    scores = np.asarray(probabilities, dtype=np.float64)
    if scores.ndim == 1:
        scores = np.stack([1 - scores, scores], axis=1)
    names, codes = _coded(labels, scores, classes)
    answers, plan = prepare(
        codes, scores, subjects, [str(name) for name in names], str(names[-1]),
        resamples=resamples, seed=seed,
    )  # fmt: skip
    if len(names) != 2:
        answers = dataclasses.replace(answers, positive=None)
    told = metric if isinstance(metric, str) else _fast(metric, answers, names)
    if told is not None:
        found = _of_table(told, answers, plan)
    else:
        assert not isinstance(metric, str)
        found = _of_function(metric, needs or _needs(metric), answers, np.asarray(names), plan)
    if not np.isfinite(found.estimate):
        there = ", ".join(str(names[code]) for code in np.unique(codes))
        raise ConfigError(
            f"{_name(metric)} is undefined for these samples, whose classes are {there}."
        )
    over = "images" if subjects is None else "subjects"
    return dataclasses.replace(interval(found, plan, level=level), over=over)


def _coded(
    labels: Sequence[Any] | np.ndarray, scores: np.ndarray, classes: Sequence[Any] | None
) -> tuple[list[Any], np.ndarray]:
    """Return the classes in the order of the columns, and each sample's code."""
    given = np.asarray(labels)
    count = scores.shape[1] if scores.ndim == 2 else 0
    if classes is None:
        whole = given.dtype.kind in "biu"
        if whole and (not len(given) or 0 <= given.min() <= given.max() < count):
            return list(range(count)), given.astype(np.int64)
        classes = np.unique(given).tolist()
    if len(classes) != count:
        raise ConfigError(
            f"The labels are of {len(classes)} classes, the probabilities have {count} columns. "
            "Give classes= in the order of the columns."
        )
    places = {name: code for code, name in enumerate(classes)}
    strangers = [name for name in np.unique(given).tolist() if name not in places]
    if strangers:
        raise ConfigError(f"Labels that are no class: {', '.join(map(str, strangers))}.")
    return list(classes), np.array([places[name] for name in given.tolist()], dtype=np.int64)


def _bare(metric: Metric) -> Metric:
    while isinstance(metric, functools.partial):
        metric = metric.func
    return metric


def _name(metric: str | Metric) -> str:
    return metric if isinstance(metric, str) else getattr(_bare(metric), "__name__", repr(metric))


def _is_sklearn(metric: Metric) -> bool:
    return (getattr(_bare(metric), "__module__", "") or "").startswith("sklearn.")


def _fast(metric: Metric, answers: Answers, names: Sequence[Any]) -> str | None:
    """Return the name in our table of a metric of scikit-learn that is the same, if one is."""
    keywords: dict[str, Any] = {}
    bare = metric
    while isinstance(bare, functools.partial) and not bare.args:
        keywords = {**bare.keywords, **keywords}
        bare = bare.func
    two = len(names) == 2 and len(np.unique(answers.labels)) == 2
    if not two or not _is_sklearn(bare):
        return None
    name, average = _name(bare), keywords.pop("average", "binary")
    keywords.pop("zero_division", None)  # no class is without samples
    if keywords:
        return None
    if name in AVERAGED and average in ("macro", "weighted"):
        return f"{AVERAGED[name]}_{average}"
    if name in AVERAGED and average == "binary" and list(names) == [0, 1]:
        return f"{AVERAGED[name]}_positive"
    return FAST.get(name) if average == "binary" else None


def _needs(metric: Metric) -> str:
    if not _is_sklearn(metric):
        raise ConfigError(
            f"It is not known what {_name(metric)} takes: say needs='labels' or "
            "needs='probabilities'."
        )
    if not inspect.isroutine(_bare(metric)):
        raise ConfigError(
            f"{_name(metric)} is no function of labels and scores; give one of sklearn.metrics, "
            "such as roc_auc_score."
        )
    return PROBABILITIES if _name(metric) in OF_SCORES else LABELS


def _of_table(name: str, answers: Answers, plan: Plan) -> Replicates:
    found = replicate(answers, plan, [name])
    if name not in found:
        known = ", ".join(METRICS)
        why = "needs a positive class, of two" if name in METRICS else f"is none of {known}"
        raise ConfigError(f"The metric {name!r} {why}.")
    return found[name]


def _of_function(
    metric: Metric, needs: str, answers: Answers, names: np.ndarray, plan: Plan
) -> Replicates:
    if needs not in (LABELS, PROBABILITIES):
        raise ConfigError(f"needs is {needs!r}, but must be {LABELS!r} or {PROBABILITIES!r}.")
    weighted = _takes_weights(metric)
    value = _of_cells(metric, answers, names)
    if needs == PROBABILITIES or not weighted:
        value = _of_samples(metric, needs, answers, names, weighted)
    with warnings.catch_warnings(), config_context(skip_parameter_validation=True):
        warnings.simplefilter("ignore")  # of what is 0 / 0 in a resample
        try:
            first = value(np.ones(len(plan.strata)))
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{_name(metric)} can't be computed: {error}") from error
        if weighted:
            rows = (row for each in plan.weights(1 << 20) for row in each)
            values = np.array([value(row) for row in rows])
            found = of_values(values, plan, ANY)
        else:
            found = _repeated(value, first, plan)
    return dataclasses.replace(found, scale=_scale(metric, found))


def _of_samples(
    metric: Metric, needs: str, answers: Answers, names: np.ndarray, weighted: bool
) -> Callable[[np.ndarray], float]:
    """Return the metric as a function of the clusters' weights."""
    true, given, groups = names[answers.labels], names[answers.predicted], answers.groups
    if needs == PROBABILITIES:
        given = answers.probabilities
        given = given[:, 1] if given.shape[1] == 2 else given

    def value(weights: np.ndarray) -> float:
        if weighted:
            return float(metric(true, given, sample_weight=weights[groups]))
        rows = np.repeat(np.arange(len(true)), np.round(weights[groups]).astype(int))
        return float(metric(true[rows], given[rows]))

    return value


def _of_cells(metric: Metric, answers: Answers, names: np.ndarray) -> Callable[[np.ndarray], float]:
    """The same of a metric of labels: it needs the confusion matrix's cells only, weighted."""
    classes = len(names)
    cells = answers.labels * classes + answers.predicted
    there, places = np.unique(cells, return_inverse=True)
    true, given = names[there // classes], names[there % classes]
    counts = np.zeros((int(answers.groups.max()) + 1, len(there)))
    np.add.at(counts, (answers.groups, places.reshape(-1)), 1)
    return lambda weights: float(metric(true, given, sample_weight=weights @ counts))


def _takes_weights(metric: Metric) -> bool:
    try:
        return "sample_weight" in inspect.signature(metric).parameters
    except (TypeError, ValueError):
        return False


def _repeated(value: Callable[[np.ndarray], float], first: float, plan: Plan) -> Replicates:
    """Replicate what takes no weights: samples are repeated, and left out for their influence."""
    drawn = [value(row) for each in plan.draws() for row in each]
    influence = []
    for cluster in plan.nudged:
        weights = np.ones(len(plan.strata))
        weights[cluster] = 0
        influence.append(first - value(weights) if weights.any() else 0.0)
    return Replicates(first, np.array(drawn), np.array(influence), ANY)


def _scale(metric: Metric, found: Replicates) -> Any:
    values = np.append(found.drawn[np.isfinite(found.drawn)], found.estimate)
    known = _SCALES.get(_name(metric))
    if known is not None:
        return known
    return SHARE if ((values >= 0) & (values <= 1)).all() else ANY
