"""The decision that a run's scores are read by: kept, or chosen on validation and then kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fastleuk.data.dataset import DataSet
from fastleuk.errors import CheckpointError
from fastleuk.evaluation.calibration.choose import AUTO, OFF, ON, choose, chosen_on, too_small
from fastleuk.evaluation.calibration.thresholds import parse_rule
from fastleuk.evaluation.decision import (
    ARGMAX,
    Decision,
    decision_file,
    file_hash,
    read_decision,
    write_decision,
)
from fastleuk.evaluation.predict import Predictions
from fastleuk.run_folder.names import BEST


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of a decision.

    Attributes:
        threshold: A rule, see :mod:`fastleuk.evaluation.calibration.thresholds`; None: as kept,
            else the most probable class.
        calibrate: Whether to fit a temperature; None: as kept, else where the validation part is
            large enough.
        positive: The class that a threshold is of.
    """

    threshold: str | None = None
    calibrate: bool | None = None
    positive: str | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None:
            parse_rule(self.threshold)


def settle(
    run_dir: Path,
    place: Path,
    dataset: DataSet,
    rows: np.ndarray,
    wish: Wish,
    predict: Callable[[], Predictions],
    *,
    method: str = "",
    report: Callable[[str], None] = print,
) -> Decision:
    """Return the run's decision; choose and keep one where none is there or another is wished.

    Args:
        run_dir: The run folder.
        place: Where figures go, and the decision: the run folder, or another.
        dataset: The run's data.
        rows: int64, its validation part.
        wish: What was asked for.
        predict: Gives the predictions of the validation part, if they are needed.
        method: Of the scores, see :func:`fastleuk.evaluation.decision.decision_file`.
        report: Is told what was chosen, and how far it can be trusted.

    Raises:
        ConfigError: a rule that these data don't allow.
    """
    names, weights = dataset.manifest.class_names, file_hash(run_dir / BEST)
    home = place if (place / decision_file(method)).is_file() else run_dir
    kept, usable = _read(home, method, names, weights, report)
    positive = wish.positive or dataset.positive
    if kept is not None and usable and not _differs(kept, wish, positive):
        return kept
    rule = wish.threshold or (kept.rule if kept else ARGMAX)
    how = _how(wish, kept)
    origin = {**chosen_on(dataset, rows), "weights": weights, "calibrate": how}
    small = too_small(origin)
    calibrate = how == ON or (how == AUTO and not small)
    if how == AUTO and small:
        report(
            f"note: no temperature is fitted: {small} (--calibrate fits one all the same); "
            "probabilities are as the network gives them."
        )
    if not calibrate and parse_rule(rule).kind == ARGMAX:
        decision = Decision(chosen_on=origin, class_names=names)
        if kept is None and wish.threshold is None and wish.calibrate is None:
            return dataclasses.replace(decision, chosen_on={})
        write_decision(place, decision, method=method)
        return decision
    decision, notes = choose(predict(), origin, names, positive, rule=rule, calibrate=calibrate)
    for note in notes:
        report(f"note: {note}.")
    write_decision(place, decision, method=method)
    return decision


def _differs(kept: Decision, wish: Wish, positive: str | None) -> bool:
    """Say whether what is kept is not what is asked for."""
    if wish.threshold is not None and parse_rule(wish.threshold).text != kept.rule:
        return True
    if kept.threshold is not None and positive != kept.positive:
        return True
    asked = {None: None, True: ON, False: OFF}[wish.calibrate]
    return asked not in (None, kept.chosen_on.get("calibrate"))


def _how(wish: Wish, kept: Decision | None) -> str:
    if wish.calibrate is not None:
        return ON if wish.calibrate else OFF
    found = kept.chosen_on.get("calibrate") if kept else None
    return found if found in (AUTO, ON, OFF) else AUTO


def _read(
    home: Path,
    method: str,
    names: tuple[str, ...],
    weights: str,
    report: Callable[[str], None],
) -> tuple[Decision | None, bool]:
    """Return what is kept, and whether it is of the weights that are there."""
    path = home / decision_file(method)
    if not path.is_file():
        return None, False
    try:
        kept = read_decision(home, method=method, class_names=names, check=False)
    except CheckpointError as error:
        report(f"note: {error}")
        return None, False
    usable = kept.chosen_on.get("weights") in (None, weights)
    if not usable:
        report(f"note: {path} was chosen for other weights than are there now: it is chosen anew.")
    return kept, usable
