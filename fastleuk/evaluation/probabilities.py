"""Class probabilities: from logits, and whether scores are any."""

from __future__ import annotations

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return class probabilities, float64 ``(N, C)``, of ``logits`` ``(N, C)``."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def are_probabilities(scores: np.ndarray) -> bool:
    """Say whether every row of ``scores`` ``(N, C)`` is a distribution."""
    return bool((scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, rtol=0, atol=1e-6))
