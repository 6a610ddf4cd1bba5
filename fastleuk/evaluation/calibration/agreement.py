"""Calibration slope and intercept: how probabilities agree with what happens.

The observed class is regressed on the logit of its probability. A slope below 1 means
probabilities too extreme, one above 1 too timid; the intercept, at slope 1, is above 0 where the
class is more frequent than the probabilities say (calibration in the large).
"""

from __future__ import annotations

import numpy as np

_STEPS = 60


def slope_and_intercept(
    scores: np.ndarray, positives: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fit both by maximum likelihood in many resamples at once.

    Args:
        scores: float64 ``(N,)``, probabilities.
        positives: bool ``(N,)``.
        weights: ``(R, N)``, of the samples in each resample.

    Returns:
        Slopes and intercepts, float64 ``(R,)`` each; NaN where there is none, see
        :func:`undefined_slope`.
    """
    logits = _logits(scores)
    targets, weights = positives.astype(np.float64), weights.astype(np.float64)
    share = weights @ targets / np.maximum(weights.sum(axis=1), 1e-300)
    both = (share > 0) & (share < 1)
    slope, intercept = np.full(len(weights), np.nan), np.full(len(weights), np.nan)
    for row in np.flatnonzero(both):
        used = weights[row] > 0
        values = logits[used], targets[used], weights[row][used]
        slope[row], intercept[row] = _slope(*values), _intercept(*values)
    return slope, intercept


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(values / 2))


def undefined_slope(scores: np.ndarray, positives: np.ndarray) -> str:
    """Return the reason that the slope has no finite estimate; empty where it has one.

    Args:
        scores: float64 ``(N,)``, probabilities.
        positives: bool ``(N,)``.

    >>> undefined_slope(np.array([0.2, 0.8]), np.array([False, True]))
    'the scores separate the classes'
    """
    if positives.all() or not positives.any():
        return "one class only"
    logits = _logits(scores)
    if np.ptp(logits) == 0:
        return "all scores are equal"
    return "the scores separate the classes" if _separated(logits, positives) else ""


def _logits(scores: np.ndarray) -> np.ndarray:
    bounded = np.clip(scores, 1e-12, 1 - 1e-12)
    return np.log(bounded / (1 - bounded))


def _separated(logits: np.ndarray, positives: np.ndarray) -> bool:
    """Return True if a threshold separates the classes, in either direction."""
    high, low = logits[positives], logits[~positives]
    return bool(high.min() >= low.max() or high.max() <= low.min())


def _slope(logits: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    """Fit the slope by Newton's method with step halving, on standardized logits."""
    if np.ptp(logits) == 0 or _separated(logits, targets > 0.5):
        return float("nan")
    deviation = float(logits.std())
    logits = (logits - logits.mean()) / deviation
    offset, slope = 0.0, 0.0
    loss = _loss(offset + slope * logits, targets, weights)
    for _ in range(_STEPS):
        chances = _sigmoid(offset + slope * logits)
        missing, spread = weights * (targets - chances), weights * chances * (1 - chances)
        ones, lean, square = spread.sum(), (spread * logits).sum(), (spread * logits**2).sum()
        determinant = ones * square - lean**2
        if determinant <= 1e-12 * ones * square:
            return float("nan")
        up, right = missing.sum(), (missing * logits).sum()
        steps = (square * up - lean * right) / determinant, (ones * right - lean * up) / determinant
        scale = 1.0
        while scale > 1e-4:
            there = offset + scale * steps[0], slope + scale * steps[1]
            new = _loss(there[0] + there[1] * logits, targets, weights)
            if new <= loss + 1e-12:
                break
            scale /= 2
        offset, slope = there
        if loss - new < 1e-10 * max(1.0, loss):
            return slope / deviation
        loss = new
    return float("nan")


def _loss(logits: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    return float((weights * (np.logaddexp(0, logits) - targets * logits)).sum())


def _intercept(logits: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> float:
    """Return the intercept at slope 1 by Newton's steps, none longer than 1: the loss is convex."""
    offset = 0.0
    for _ in range(_STEPS):
        chances = _sigmoid(offset + logits)
        spread = (weights * chances * (1 - chances)).sum()
        step = float(np.clip((weights * (targets - chances)).sum() / max(spread, 1e-12), -1, 1))
        offset += step
        if abs(step) < 1e-9:
            return offset
    return float("nan")
