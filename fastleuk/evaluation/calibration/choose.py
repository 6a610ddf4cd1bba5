"""Temperature and threshold of a run, chosen on its validation part."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastleuk.data.dataset import DataSet
from fastleuk.errors import ConfigError
from fastleuk.evaluation.calibration.temperature import LEAST, MOST, fit_temperature
from fastleuk.evaluation.calibration.thresholds import choose_threshold, parse_rule
from fastleuk.evaluation.decision import ARGMAX, Decision
from fastleuk.evaluation.predict import Predictions

FEWEST_SUBJECTS = 5
"""Subjects of each class below which a validation part is too small to choose anything on."""
FEWEST_IMAGES = 50
"""The same in images, where no subject is known."""

AUTO, ON, OFF = "auto", "on", "off"


def chosen_on(dataset: DataSet, rows: np.ndarray) -> dict[str, Any]:
    """Return what a choice on these rows is made of, for :attr:`.decision.Decision.chosen_on`.

    Args:
        dataset: The images.
        rows: int64, of the validation part.
    """
    manifest, labels = dataset.manifest, dataset.manifest.labels[rows]
    by_class = {
        name: len(np.unique(dataset.groups[rows[labels == code]]))
        for code, name in enumerate(manifest.class_names)
    }
    return {
        "part": "val",
        "images": len(rows),
        "over": "images" if manifest.subject_is_image else "subjects",
        "subjects": len(np.unique(dataset.groups[rows])),
        "subjects_by_class": by_class,
    }


def too_small(origin: dict[str, Any]) -> str:
    """Return why a validation part is too small to choose on, or an empty text.

    Args:
        origin: Of :func:`chosen_on`.
    """
    counts, over = origin["subjects_by_class"], origin["over"]
    needed = FEWEST_IMAGES if over == "images" else FEWEST_SUBJECTS
    name = min(counts, key=counts.__getitem__)
    if counts[name] >= needed:
        return ""
    return f"the validation part has {counts[name]} {over} of {name} only, fewer than {needed}"


def choose(
    predictions: Predictions,
    origin: dict[str, Any],
    class_names: tuple[str, ...],
    positive: str | None,
    *,
    rule: str,
    calibrate: bool,
) -> tuple[Decision, list[str]]:
    """Choose temperature and threshold.

    Args:
        predictions: Of the validation part.
        origin: Of :func:`chosen_on`, with whatever else is to be kept of where they come from.
        class_names: C names.
        positive: The positive class, if there is one.
        rule: See :func:`.thresholds.parse_rule`.
        calibrate: Fit a temperature; else 1.

    Returns:
        The decision, and notes on it.

    Raises:
        ConfigError: no rule, or one that these data don't allow.
    """
    parsed, notes = parse_rule(rule), []
    temperature: float | None = 1.0
    if calibrate:
        temperature = fit_temperature(predictions.logits, predictions.labels)
        if temperature is None:
            notes.append(
                f"no temperature from {LEAST:g} to {MOST:g} is the best one on the validation "
                "part (all of it right, or nearly at random): probabilities stay as they are"
            )
    decision = Decision(temperature or 1.0, chosen_on=origin, class_names=class_names)
    if parsed.kind != ARGMAX:
        decision = Decision(
            decision.temperature,
            _threshold(decision, predictions, positive, rule),
            parsed.text,
            positive,
            origin,
            class_names,
        )
    small = too_small(origin)
    if small and (calibrate or parsed.kind != ARGMAX):
        notes.append(
            f"{small}: {_what(calibrate, parsed.kind)} chosen on it may not hold elsewhere"
        )
    return decision, notes


def _what(calibrate: bool, kind: str) -> str:
    words = ["temperature"] * calibrate + ["threshold"] * (kind != ARGMAX)
    return "a " + " and a ".join(words)


def _threshold(
    decision: Decision, predictions: Predictions, positive: str | None, rule: str
) -> float:
    names, parsed = decision.class_names, parse_rule(rule)
    if positive is None:
        raise ConfigError(
            f"--threshold {rule} needs a positive class: give --positive, one of "
            f"{', '.join(names)}."
        )
    code = names.index(positive)
    positives = predictions.labels == code
    if parsed.kind != "fixed" and (positives.all() or not positives.any()):
        raise ConfigError(
            f"--threshold {rule} can't be chosen: all {len(positives)} images of the validation "
            f"part are {positive if positives.all() else f'of other classes than {positive}'}. "
            "Give a number, such as --threshold 0.5."
        )
    scores = decision.probabilities(predictions.logits, logits=True)[:, code]
    return choose_threshold(parsed, positives, scores)
