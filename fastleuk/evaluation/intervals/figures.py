"""Every figure of merit with its interval over subjects, for ``test_metrics.json``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastleuk.data.labels.positive import positive_class
from fastleuk.errors import ConfigError
from fastleuk.evaluation.intervals.few_subjects import LEVEL, Interval
from fastleuk.evaluation.intervals.inputs import (
    as_array,
    as_column,
    number_subjects,
    read_codes,
)
from fastleuk.evaluation.intervals.metric_table import METRICS
from fastleuk.evaluation.intervals.resampling import Plan, enough_resamples, interval, replicate
from fastleuk.evaluation.intervals.totals import Answers
from fastleuk.evaluation.probabilities import are_probabilities


def figures(
    labels: np.ndarray,
    probabilities: np.ndarray,
    subjects: Sequence[Any] | np.ndarray | None,
    classes: Sequence[str],
    positive: str | None = None,
    *,
    predicted: np.ndarray | None = None,
    level: float = LEVEL,
    resamples: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return every figure of :data:`.metric_table.METRICS` with its interval.

    Subjects are drawn with replacement within their class; see
    :mod:`fastleuk.evaluation.intervals.few_subjects` for how an interval follows from the
    resamples.

    Args:
        labels: int64 ``(N,)``, each in ``[0, C)``, N ≥ 1.
        probabilities: float64 ``(N, C)``, rows summing to 1.
        subjects: ``(N,)``, whose each sample is, anything that sorts; None: not known, so that
            samples are drawn one by one, and what subjects differ by is not in the intervals.
        classes: C names.
        positive: The positive class; by default that of two whose names tell.
        predicted: int64 ``(N,)``, if not the most probable class.
        level: How often an interval is to hold the truth.
        resamples: By default 2,000, fewer of very many samples.
        seed: Of the draw.

    Returns:
        Fit for JSON: ``level``, ``over`` (``subjects`` or ``images``), ``clusters`` and
        ``clusters_by_class``, ``resamples``, ``seed``, ``positive_class`` (or None), and
        ``figures``: for each name ``title``, ``estimate``, ``low``, ``high``, ``better``
        (``higher`` or ``lower``), ``needs``, and ``method`` (``exact``) where the interval is a
        binomial one. What is undefined, such as the AUC of one class
        or the specificity without a sample of another class than the positive one, has None and
        says why under ``undefined``.

    Raises:
        ConfigError: shapes that don't agree, no sample, scores that are no probabilities, or
            ``positive`` is no class.
    """
    answers, plan = prepare(
        labels, probabilities, subjects, classes, positive,
        predicted=predicted, resamples=resamples, seed=seed,
    )  # fmt: skip
    chosen = None if answers.positive is None else classes[answers.positive]
    found = {
        name: interval(each, plan, level=level) for name, each in replicate(answers, plan).items()
    }
    told = {
        name: {**METRICS[name].as_json(chosen), **_ends(name, each)} for name, each in found.items()
    }
    for name, why in _without_samples(answers, classes).items():
        told[name].update(estimate=None, low=None, high=None, undefined=why)
        told[name].pop("method", None)
    return {
        "level": level,
        "over": "images" if subjects is None else "subjects",
        "clusters": len(plan.strata),
        "clusters_by_class": dict(zip(classes, answers.counts.clusters().tolist(), strict=True)),
        "resamples": plan.resamples,
        "seed": seed,
        "positive_class": chosen,
        "figures": told,
    }


def prepare(
    labels: np.ndarray,
    probabilities: np.ndarray,
    subjects: Sequence[Any] | np.ndarray | None,
    classes: Sequence[str],
    positive: str | None = None,
    *,
    predicted: np.ndarray | None = None,
    resamples: int | None = None,
    seed: int = 0,
) -> tuple[Answers, Plan]:
    """Check the arguments of :func:`figures`; return the answers and which resamples are drawn.

    Raises:
        ConfigError: as there.
    """
    labels = read_codes(labels)
    probabilities = as_array(probabilities).astype(np.float64)
    count = len(classes)
    if not len(labels) or probabilities.shape != (len(labels), count):
        raise ConfigError(
            f"Figures need labels (N,) with N ≥ 1 and probabilities (N, {count}), found "
            f"{labels.shape} and {probabilities.shape}."
        )
    check_probabilities(probabilities)
    if labels.min() < 0 or labels.max() >= count:
        raise ConfigError(f"Labels must lie from 0 to {count - 1}, found {labels.min()} to "
                          f"{labels.max()}.")  # fmt: skip
    groups = groups_of(subjects, len(labels))
    chosen = positive_class(classes, positive)
    answers = Answers(
        labels,
        probabilities,
        probabilities.argmax(axis=1) if predicted is None else np.asarray(predicted, np.int64),
        groups,
        None if chosen is None else list(classes).index(chosen),
    )
    if resamples is None:
        resamples = enough_resamples(len(labels), len(answers.curve_classes))
    return answers, Plan(answers.counts.strata, resamples, seed)


def check_probabilities(probabilities: np.ndarray) -> None:
    """Refuse scores that are not finite, or no probabilities.

    Raises:
        ConfigError: names the first row that isn't.
    """
    bad = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
    if len(bad):
        raise ConfigError(
            f"{len(bad)} of {len(probabilities)} samples have scores that are no finite numbers, "
            f"the first is sample {bad[0]}: {probabilities[bad[0]].tolist()}. No figure can be "
            "made of them; look at what the model gives for them."
        )
    if not are_probabilities(probabilities):
        sums = probabilities.sum(axis=1)
        row = int(np.argmax(np.maximum(np.abs(sums - 1), -probabilities.min(axis=1))))
        raise ConfigError(
            f"Scores must be probabilities, not below 0 and with rows that sum to 1, but sample "
            f"{row} has {probabilities[row].tolist()}. Apply a softmax to logits."
        )


def groups_of(subjects: Any, size: int) -> np.ndarray:
    """Return the number of each sample's subject, int64 ``(N,)``; its own where none is known.

    Raises:
        ConfigError: not N subjects, or some that are missing.
    """
    return np.arange(size) if subjects is None else number_subjects(as_column(subjects), size)


def _without_samples(answers: Answers, classes: Sequence[str]) -> dict[str, str]:
    """Return what there is no sample for, and why: scikit-learn would count it as 0."""
    there, positive = np.unique(answers.labels), answers.positive
    told: dict[str, str] = {}
    if len(there) == 1:
        # Means over the classes would count those without an image as 0.
        told = dict.fromkeys(["mcc", "f1_macro", "precision_macro", "recall_macro"],
                             "one class only")  # fmt: skip
    if positive is not None and positive not in there:
        names = ("sensitivity", "recall_positive", "precision_positive", "f1_positive")
        told |= dict.fromkeys(names, f"no image of {classes[positive]}")
    if positive is not None and there.tolist() == [positive]:
        others = [name for code, name in enumerate(classes) if code != positive]
        told["specificity"] = f"no image of {' or '.join(others)}"
    return told


def _ends(name: str, found: Interval) -> dict[str, Any]:
    told = found.as_json()
    if told["estimate"] is None:
        told["undefined"] = "one class only"
    elif name == "log_loss" and told["high"] is None:
        told["undefined"] = "a class has one subject, or no subject differs"
    return told
