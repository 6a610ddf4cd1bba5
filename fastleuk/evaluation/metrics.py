"""Figures of merit, computed by scikit-learn and named by what they average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import metrics as sk

from fastleuk.errors import ConfigError


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return class probabilities, float64 ``(N, C)``, of ``logits`` ``(N, C)``."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def classification_metrics(
    labels: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]
) -> dict[str, Any]:
    """Score predictions; the predicted class is the most probable one.

    Precision, recall and F1 come as ``_macro``, ``_weighted`` and, for two classes,
    ``_positive``: those of class 1, which for C-NMC is ALL. Sensitivity is the positive
    class's recall, specificity the negative one's. With more than two classes the AUC is the
    macro average of one class against the rest, and there is no positive class. ``ece_15`` is
    the expected calibration error, see :func:`calibration_error`.

    Args:
        labels: int64 ``(N,)``, each in ``[0, C)``, N ≥ 1.
        probabilities: float64 ``(N, C)``, rows summing to 1.
        class_names: C names.

    Returns:
        Plain numbers, lists and strings, fit for JSON. ``auc`` is None where only one class
        is present, since it has no meaning there.

    Raises:
        ConfigError: shapes that don't agree, or no sample.
    """
    labels = np.asarray(labels, dtype=np.int64)
    count = len(class_names)
    if not len(labels) or probabilities.shape != (len(labels), count):
        raise ConfigError(
            f"Metrics need labels (N,) with N ≥ 1 and probabilities (N, {count}), found "
            f"{labels.shape} and {probabilities.shape}."
        )
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
    if count == 2:
        figures["positive_class"] = class_names[1]
        for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
            figures[f"{name}_positive"] = float(values[1])
        figures["sensitivity"] = float(recall[1])
        figures["specificity"] = float(recall[0])
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


def format_metrics(figures: dict[str, Any]) -> str:
    """Lay the figures out for a terminal: averages as columns, then the confusion matrix."""
    averages = ["macro", "weighted"]
    heads = ["macro", "weighted"]
    if "positive_class" in figures:
        averages.insert(0, "positive")
        heads.insert(0, f"{figures['positive_class']} (positive)")
    lines = [f"{'':<12}" + "".join(f"{head:>18}" for head in heads)]
    for name in ("precision", "recall", "f1"):
        cells = "".join(f"{figures[f'{name}_{average}']:>18.4f}" for average in averages)
        lines.append(f"{name:<12}{cells}")
    auc = "undefined: one class only" if figures["auc"] is None else f"{figures['auc']:.4f}"
    single = [f"accuracy {figures['accuracy']:.4f}", f"AUC {auc}"]
    single.append(f"balanced accuracy {figures['balanced_accuracy']:.4f}")
    if "sensitivity" in figures:
        single.append(f"sensitivity {figures['sensitivity']:.4f}")
        single.append(f"specificity {figures['specificity']:.4f}")
    lines += ["", "   ".join(single), "", "confusion matrix (rows: true, columns: predicted)"]
    names = figures["class_names"]
    width = max(8, *(len(name) + 2 for name in names))
    lines.append(" " * width + "".join(f"{name:>{width}}" for name in names))
    for name, row in zip(names, figures["confusion_matrix"], strict=True):
        lines.append(f"{name:>{width}}" + "".join(f"{value:>{width}}" for value in row))
    return "\n".join(lines)
