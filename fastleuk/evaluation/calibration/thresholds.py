"""Rules by which a threshold is chosen on the validation part."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fastleuk.errors import ConfigError
from fastleuk.evaluation.decision import ARGMAX

FIXED, YOUDEN, SENSITIVITY, COST = "fixed", "youden", "sensitivity", "cost"
FORMS = "argmax, a number such as 0.5, youden, sensitivity:0.95 or cost:5"


@dataclass(frozen=True, slots=True)
class Rule:
    """How a threshold is chosen.

    Attributes:
        kind: ``argmax`` (none), ``fixed``, ``youden``, ``sensitivity`` or ``cost``.
        value: The threshold, the sensitivity, or how much worse a missed positive is than a
            false alarm.
        text: As it was written.
    """

    kind: str
    value: float
    text: str


def parse_rule(text: str) -> Rule:
    """Read a rule as ``--threshold`` takes it.

    Raises:
        ConfigError: it is none.

    >>> parse_rule("sensitivity:0.95")
    Rule(kind='sensitivity', value=0.95, text='sensitivity:0.95')
    """
    name, colon, number = text.strip().lower().partition(":")
    if not colon and name in (ARGMAX, YOUDEN):
        return Rule(name, math.nan, name)
    kind, written = (name, number) if colon else (FIXED, name)
    try:
        value = float(written)
    except ValueError:
        value = math.nan
    good = {FIXED: 0 < value < 1, SENSITIVITY: 0 < value <= 1, COST: 0 < value < math.inf}
    if not good.get(kind, False):
        raise ConfigError(
            f"--threshold is {text!r}, but must be {FORMS}; thresholds and sensitivities lie "
            "between 0 and 1, costs above 0."
        )
    return Rule(kind, value, text.strip().lower())


def choose_threshold(rule: Rule, positives: np.ndarray, scores: np.ndarray) -> float:
    """Return the threshold by a rule; scores at or above it are positive.

    Thresholds between the same two scores do the same to these samples, so one in their middle is
    taken. Of several as good the one nearest to 0.5 is.

    Args:
        rule: Any but ``argmax``.
        positives: bool ``(N,)``, both values.
        scores: float64 ``(N,)``, probabilities of the positive class.

    Returns:
        Between 0 and 1.
    """
    if rule.kind == FIXED:
        return rule.value
    levels = np.unique(scores)
    between = (levels[1:] + levels[:-1]) / 2
    thresholds = np.concatenate([[levels[0] / 2], between, [(levels[-1] + 1) / 2]])
    order = np.sort(scores[positives]), np.sort(scores[~positives])
    missed, refused = (np.searchsorted(each, thresholds, side="left") for each in order)
    count, others = len(order[0]), len(order[1])
    sensitivity, false_alarms = 1 - missed / count, others - refused
    if rule.kind == SENSITIVITY:
        return float(thresholds[sensitivity >= rule.value - 1e-12].max())
    if rule.kind == YOUDEN:
        gain = sensitivity + refused / others
    else:
        gain = -(rule.value * missed + false_alarms) / (count + others)
    best = thresholds[gain >= gain.max() - 1e-12]
    return float(best[np.abs(best - 0.5).argmin()])
