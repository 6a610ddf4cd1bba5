"""How a run turns scores into a label: its temperature, its threshold, and their origin.

Both are chosen on the validation part and kept in ``RUN/decision.json``; the test part decides
nothing. Where there is no such file, scores are taken as they are and the most probable class wins.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastleuk.errors import CheckpointError, ConfigError
from fastleuk.evaluation.probabilities import are_probabilities, softmax
from fastleuk.files import write_json
from fastleuk.run_folder.names import BEST
from fastleuk.shell import quoted

ARGMAX = "argmax"
"""The rule where no threshold is set: the most probable class."""

FORMAT = 1
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, slots=True)
class Decision:
    """Temperature and threshold of a run.

    Attributes:
        temperature: What logits are divided by; 1 leaves them as they are.
        threshold: From this calibrated probability on, the positive class is predicted; None: the
            most probable class is.
        rule: How the threshold was chosen, as ``--threshold`` takes it, or ``argmax``.
        positive: The class that the threshold is of; None without one.
        chosen_on: Where the two come from, fit for JSON: ``part``, ``images``, ``subjects``,
            ``subjects_by_class`` and ``weights`` (SHA-256 of the weights they belong to). Empty
            where nothing was chosen.
        class_names: C names, in the order of the scores' columns; empty: not known.
    """

    temperature: float = 1.0
    threshold: float | None = None
    rule: str = ARGMAX
    positive: str | None = None
    chosen_on: dict[str, Any] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise ConfigError(f"A temperature is {self.temperature}, but must be above 0.")
        if self.threshold is None:
            return
        if not 0 <= self.threshold <= 1:
            raise ConfigError(f"A threshold is {self.threshold}, but must lie between 0 and 1.")
        if self.positive is None or self.positive not in self.class_names:
            raise ConfigError("A threshold needs the class that it is of: --positive CLASS.")

    @property
    def is_default(self) -> bool:
        """Whether scores are taken as they are."""
        return self.temperature == 1.0 and self.threshold is None

    def probabilities(self, scores: np.ndarray, *, logits: bool | None = None) -> np.ndarray:
        """Return calibrated class probabilities.

        Args:
            scores: ``(N, C)``, logits or (uncalibrated) probabilities.
            logits: Which of the two; None: probabilities where no score is negative and every row
                sums to 1 (to 1e-6), else logits.

        Returns:
            float64 ``(N, C)``, rows summing to 1. Without a temperature (1) probabilities come
            back as they were, and logits as their softmax.
        """
        scores = np.asarray(scores, dtype=np.float64)
        if logits is None:
            logits = not are_probabilities(scores)
        if self.temperature == 1.0:
            return softmax(scores) if logits else scores.copy()
        exponents = scores if logits else np.log(np.maximum(scores, _TINY))
        return softmax(exponents / self.temperature)

    def labels(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the class predicted from calibrated probabilities.

        Args:
            probabilities: ``(N, C)``, as :meth:`probabilities` gives them.

        Returns:
            int64 ``(N,)``: the positive class from the threshold on, below it the most probable
            of the others; without a threshold the most probable of all.
        """
        probabilities = np.asarray(probabilities)
        if self.threshold is None:
            return probabilities.argmax(axis=1)
        code = self._column(probabilities.shape[1])
        others = probabilities.astype(np.float64)
        others[:, code] = -1.0
        return np.where(probabilities[:, code] >= self.threshold, code, others.argmax(axis=1))

    def _column(self, count: int) -> int:
        if len(self.class_names) != count:
            raise ConfigError(
                f"The threshold is of classes {', '.join(self.class_names)}, the probabilities "
                f"have {count} columns."
            )
        assert self.positive is not None
        return self.class_names.index(self.positive)

    @property
    def sentence(self) -> str:
        """What is done with the scores, and where it was chosen, in a sentence."""
        if self.threshold is None:
            what = "label: the most probable class"
        else:
            what = f"label: {self.positive} from a probability of {self.threshold:.4g} on"
            what += f" (--threshold {self.rule})"
        if self.temperature != 1.0:
            what += f"; temperature {self.temperature:.3f}"
        return what if self.is_default else f"{what}{_origin(self.chosen_on)}"

    def as_json(self) -> dict[str, Any]:
        """Return the content of ``decision.json``."""
        return {"format": FORMAT, **dataclasses.asdict(self), "class_names": [*self.class_names]}


def _origin(chosen_on: Mapping[str, Any]) -> str:
    if not chosen_on:
        return ""
    part = {"val": "validation"}.get(chosen_on.get("part", ""), chosen_on.get("part", "?"))
    counts = chosen_on.get("subjects_by_class") or {}
    people = ", ".join(f"{count} {name}" for name, count in counts.items())
    over = chosen_on.get("over", "subjects")
    text = f", chosen on the {part} part ({chosen_on.get('images', '?')} images"
    return text + (f"; {over}: {people})" if people and over == "subjects" else ")")


def decision_file(method: str = "") -> str:
    """Return the file's name for a method, such as ``.tta-d4``; empty for the plain weights.

    >>> decision_file(), decision_file(".tta-d4")
    ('decision.json', 'decision.tta-d4.json')
    """
    return f"decision{method}.json"


def read_decision(
    run_dir: Path,
    *,
    method: str = "",
    class_names: Sequence[str] | None = None,
    weights: str | None = None,
    check: bool = True,
) -> Decision:
    """Return the decision that is kept in a run folder, or the default one.

    Args:
        run_dir: The run folder.
        method: Of the scores, see :func:`decision_file`.
        class_names: The run's classes; a decision of other ones is refused.
        weights: SHA-256 of the weights in use; by default that of the folder's best ones, where
            they are. A decision that was chosen for others is refused.
        check: Compare the weights at all.

    Raises:
        CheckpointError: the file is damaged, of other classes, or was chosen for other weights.
    """
    path = run_dir / decision_file(method)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Decision(class_names=tuple(class_names or ()))
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    try:
        if found["format"] != FORMAT:
            raise _damaged(path, f"its format is {found['format']}, not {FORMAT}")
        names = [each.name for each in dataclasses.fields(Decision)]
        values = {name: found[name] for name in names}
        values["class_names"] = tuple(values["class_names"])
        decision = Decision(**values)
    except (KeyError, TypeError, ConfigError) as error:
        raise _damaged(path, str(error)) from error
    if class_names is not None and decision.class_names not in ((), tuple(class_names)):
        raise _damaged(
            path, f"it is of the classes {', '.join(decision.class_names)}, not "
            f"{', '.join(class_names)}",
        )  # fmt: skip
    meant = decision.chosen_on.get("weights") if check else None
    if meant and weights is None and (run_dir / BEST).is_file():
        weights = file_hash(run_dir / BEST)
    if meant and weights and weights != meant:
        raise _damaged(path, "it was chosen for other weights than are there now")
    return decision


def file_hash(path: Path) -> str:
    """Return a file's SHA-256."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{path} can't be used: {why}. `fastleuk evaluate {quoted(path.parent)}` chooses anew."
    )


def write_decision(place: Path, decision: Decision, *, method: str = "") -> None:
    """Keep a decision in a folder."""
    write_json(place / decision_file(method), decision.as_json())
