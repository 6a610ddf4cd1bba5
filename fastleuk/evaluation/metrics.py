"""Figures of merit, computed by scikit-learn and named by what they average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import metrics as sk

from fastleuk.data.labels.positive import positive_class
from fastleuk.errors import ConfigError
from fastleuk.evaluation.intervals.inputs import as_array, read_codes


def classification_metrics(
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    *,
    positive: str | None = None,
    predicted: np.ndarray | None = None,
) -> dict[str, Any]:
    """Score predictions.

    Precision, recall and F1 come as ``_macro``, ``_weighted`` and, where there is a positive
    class, ``_positive``: its own. Sensitivity is the positive class's recall, specificity that of
    all others taken as one. Without a positive class there are none of these figures. With more
    than two classes the AUC is the macro average of one class against the rest. ``ece_15`` is the
    expected calibration error, see :func:`calibration_error`.

    Args:
        labels: int64 ``(N,)``, each in ``[0, C)``, N ≥ 1.
        probabilities: float64 ``(N, C)``, rows summing to 1.
        class_names: C names.
        positive: The positive class; by default that of two whose names tell, see
            :func:`fastleuk.data.labels.positive.positive_class`.
        predicted: int64 ``(N,)``, the class predicted, if not the most probable one.

    Returns:
        Plain numbers, lists and strings, fit for JSON. ``auc`` is None where only one class
        is present, since it has no meaning there.

    Raises:
        ConfigError: shapes that don't agree, no sample, labels that are missing or no codes, or
            ``positive`` is no class.
    """
    labels = read_codes(labels)
    probabilities = as_array(probabilities)
    count = len(class_names)
    if not len(labels) or probabilities.shape != (len(labels), count):
        raise ConfigError(
            f"Metrics need labels (N,) with N ≥ 1 and probabilities (N, {count}), found "
            f"{labels.shape} and {probabilities.shape}."
        )
    if labels.min() < 0 or labels.max() >= count:
        raise ConfigError(
            f"Labels must lie from 0 to {count - 1}, found {labels.min()} to {labels.max()}."
        )
    if predicted is None:
        predicted = probabilities.argmax(axis=1)
    classes = list(range(count))
    confusion = sk.confusion_matrix(labels, predicted, labels=classes)
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=0
    )
    figures: dict[str, Any] = {
        "samples": len(labels),
        "class_names": list(class_names),
        "accuracy": float(sk.accuracy_score(labels, predicted)),
        "balanced_accuracy": float(recall[support > 0].mean()),
        "auc": _auc(labels, probabilities),
        "ece_15": calibration_error(labels, probabilities, bins=15),
    }
    for average in ("macro", "weighted"):
        scores = sk.precision_recall_fscore_support(
            labels, predicted, labels=classes, average=average, zero_division=0
        )
        for name, value in zip(("precision", "recall", "f1"), scores[:3], strict=True):
            figures[f"{name}_{average}"] = float(value)
    chosen = positive_class(class_names, positive)
    if chosen is not None:
        code = list(class_names).index(chosen)
        figures["positive_class"] = chosen
        for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
            figures[f"{name}_positive"] = float(values[code])
        figures["sensitivity"] = float(recall[code])
        figures["specificity"] = _specificity(confusion, code)
    figures["per_class"] = {
        name: {
            "precision": float(precision[c]),
            "recall": float(recall[c]),
            "f1": float(f1[c]),
            "samples": int(support[c]),
        }
        for c, name in enumerate(class_names)
    }
    figures["confusion_matrix"] = confusion.tolist()
    return figures


def _specificity(confusion: np.ndarray, positive: int) -> float:
    """Return the share of the other classes' samples not taken for ``positive``; 0 of none."""
    others = np.delete(confusion, positive, axis=0)
    count = others.sum()
    return float((count - others[:, positive].sum()) / count) if count else 0.0


def _auc(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    classes = np.unique(labels)
    if len(classes) < 2:
        return None
    if probabilities.shape[1] == 2:
        return float(sk.roc_auc_score(labels, probabilities[:, 1]))
    return float(np.mean([sk.roc_auc_score(labels == c, probabilities[:, c]) for c in classes]))


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, *, bins: int) -> float:
    """Return the expected calibration error (Guo et al., 2017), from 0 to 1.

    The mean over samples of how far confidence and accuracy lie apart in the sample's bin, where
    confidence is the probability of the predicted class, in ``bins`` bins of equal width.

    >>> calibration_error(np.array([0, 0, 0, 1]), np.array([[0.75, 0.25]] * 4), bins=15)
    0.0
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    places = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(places, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))
