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
from fastleuk.evaluation.intervals.inputs import (
    Scores,
    read_labels,
    read_scores,
    read_subjects,
)
from fastleuk.evaluation.intervals.metric_table import LABELS, METRICS, PROBABILITIES
from fastleuk.evaluation.intervals.resampling import (
    Plan,
    Replicates,
    Unseen,
    interval,
    of_values,
    replicate,
    unseen_by_class,
    wrong_weights,
)
from fastleuk.evaluation.intervals.subjects import RESAMPLES
from fastleuk.evaluation.intervals.totals import Answers, with_wrong_subjects

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
    labels: Any,
    probabilities: Any,
    subjects: Any,
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

    Arrays, lists, pandas and polars columns and torch tensors (detached here) are taken. Classes
    that are named by strings need an order, which must be that of the columns of
    ``probabilities``. It is read, in this order, from ``classes``, from the names of the columns
    (with or without ``p_`` before them), from a
    :class:`~fastleuk.predict.predictor.Predicted`, and from the categories of ``labels``.

    Args:
        metric: A function of ``sklearn.metrics`` (or a ``functools.partial`` of one), one of your
            own that is called as ``metric(labels, predicted)`` or ``metric(labels, scores)``, or
            a name of :data:`fastleuk.evaluation.intervals.metric_table.METRICS`, such as
            ``"f1_macro"``.
        labels: ``(N,)``: codes from 0 to C - 1, or the classes themselves: strings, numbers in
            ascending order of the columns, or categories.
        probabilities: ``(N, C)``, rows summing to 1; of two classes ``(N,)`` will do, that of the
            second. Or a :class:`~fastleuk.predict.predictor.Predicted` of N images, whose labels
            are then the predicted ones. A metric of labels gets the most probable class; one of
            scores gets the second class's column of two classes, else all columns.
        subjects: ``(N,)``, the subject of each sample; None: not known, samples are drawn one by
            one.
        classes: The classes in the order of the columns.
        needs: ``labels`` or ``probabilities``: the input of a function of your own.
        level: How often the interval is to hold the truth.
        resamples: Number of bootstrap samples.
        seed: Of the draw.

    Raises:
        ConfigError: shapes that don't agree, scores that are no probabilities, strings without an
            order, orders that contradict each other, missing labels or subjects, an unknown name,
            a function of your own without ``needs``, or a metric that is undefined for these
            samples.
    """
    scores = read_scores(probabilities)
    names, codes = read_labels(labels, scores, classes)
    groups = None if subjects is None else read_subjects(subjects, len(codes))
    answers, plan = prepare(
        codes, scores.probabilities, groups, [str(name) for name in names], str(names[-1]),
        predicted=_predicted(scores), resamples=resamples, seed=seed,
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


def _predicted(scores: Scores) -> np.ndarray | None:
    """Return the codes of the labels that come with the scores; None without any."""
    if scores.predicted is None or scores.columns is None:
        return None
    return np.array([scores.columns.index(name) for name in scores.predicted], dtype=np.int64)


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
            f"{_name(metric)}: can't tell if it expects labels or probabilities. Pass "
            "needs='labels' or needs='probabilities'."
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
    value = _value(metric, needs, answers, names, weighted)
    with warnings.catch_warnings(), config_context(skip_parameter_validation=True):
        warnings.simplefilter("ignore")  # of what is 0 / 0 in a resample
        try:
            first = value(np.ones(len(plan.strata)))
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{_name(metric)} can't be computed: {error}") from error
        unseen = _unseen(metric, needs, answers, names, weighted)
        if weighted:
            rows = (row for each in plan.weights(1 << 20) for row in each)
            values = np.array([value(row) for row in rows])
            found = of_values(values, plan, ANY, unseen)
        else:
            found = _repeated(value, first, plan, unseen)
    return dataclasses.replace(found, scale=_scale(metric, found))


def _value(
    metric: Metric, needs: str, answers: Answers, names: np.ndarray, weighted: bool
) -> Callable[[np.ndarray], float]:
    """Return the metric as a function of the clusters' weights."""
    if needs == PROBABILITIES or not weighted:
        return _of_samples(metric, needs, answers, names, weighted)
    return _of_cells(metric, answers, names)


def _unseen(
    metric: Metric, needs: str, answers: Answers, names: np.ndarray, weighted: bool
) -> Unseen:
    """Return the effect of wrong subjects; n counts the classes that the metric looks at."""
    longer, sizes = with_wrong_subjects(answers, whole=not weighted)
    assert isinstance(longer, Answers)
    value = _value(metric, needs, longer, names, weighted)
    weights = wrong_weights(len(answers.counts.true), sizes)
    if not weighted:
        weights = np.ceil(weights)
    try:
        values = np.array([value(row) for row in weights])
    except (ValueError, TypeError):  # such as a metric that is defined for one class only
        values = np.zeros(len(weights))
    found = unseen_by_class(answers, values)
    matters = found.shifts != 0
    clusters = int(found.freedom[matters].min()) if matters.any() else found.clusters
    return dataclasses.replace(found, clusters=clusters)


def _of_samples(
    metric: Metric, needs: str, answers: Answers, names: np.ndarray, weighted: bool
) -> Callable[[np.ndarray], float]:
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


def _repeated(
    value: Callable[[np.ndarray], float], first: float, plan: Plan, unseen: Unseen
) -> Replicates:
    """Replicate what takes no weights: samples are repeated, and left out for their influence."""
    drawn = [value(row) for each in plan.draws() for row in each]
    influence = []
    for cluster in plan.nudged:
        weights = np.ones(len(plan.strata))
        weights[cluster] = 0
        influence.append(first - value(weights) if weights.any() else 0.0)
    return Replicates(first, np.array(drawn), np.array(influence), ANY, unseen)


def _scale(metric: Metric, found: Replicates) -> Any:
    values = np.append(found.drawn[np.isfinite(found.drawn)], found.estimate)
    known = _SCALES.get(_name(metric))
    if known is not None:
        return known
    return SHARE if ((values >= 0) & (values <= 1)).all() else ANY
