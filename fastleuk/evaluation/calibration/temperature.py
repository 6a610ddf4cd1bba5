"""Temperature scaling (Guo et al., 2017): one number that makes probabilities believable.

Logits are divided by it, so the order of classes, and with it every label by the largest
probability, stays what it was.
"""

from __future__ import annotations

import numpy as np

from fastleuk.evaluation.probabilities import softmax

LEAST, MOST = 0.05, 20.0
"""Where a temperature is looked for."""

_TINY = float(np.finfo(np.float64).tiny)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the temperature of the least cross-entropy.

    Args:
        logits: ``(N, C)``.
        labels: int64 ``(N,)``.

    Returns:
        None where there is none between :data:`LEAST` and :data:`MOST`: where every label is the
        most probable class by far, for instance, no temperature is low enough.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        return cross_entropy(softmax(logits / np.exp(log_temperature)), labels)

    ends = (float(np.log(LEAST)), float(np.log(MOST)))
    found = minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-6})
    better = found.fun < min(map(loss, ends)) - 1e-9
    return float(np.exp(found.x)) if better else None


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean cross-entropy of probabilities ``(N, C)``."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, _TINY)).mean())
