"""Images, what a run says of them by its decision, and what that is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastleuk.data.dataset import DataSet
from fastleuk.evaluation.calibration.summary import calibration
from fastleuk.evaluation.calibration.temperature import cross_entropy
from fastleuk.evaluation.decision import Decision
from fastleuk.evaluation.intervals.few_subjects import Interval
from fastleuk.evaluation.intervals.figures import check_probabilities
from fastleuk.evaluation.intervals.figures import figures as with_intervals
from fastleuk.evaluation.intervals.headline import macro_f1_summary
from fastleuk.evaluation.intervals.subjects import count_subjects
from fastleuk.evaluation.metrics import classification_metrics
from fastleuk.evaluation.predict import Predictions


@dataclass(frozen=True, eq=False, slots=True)
class Scored:
    """What a run says of N images.

    Attributes:
        dataset: The images.
        rows: int64 ``(N,)``, rows of its manifest.
        labels: int64 ``(N,)``.
        before: float64 ``(N, C)``, probabilities as the network gives them.
        probabilities: float64 ``(N, C)``, as the decision makes them.
        predicted: int64 ``(N,)``, by the decision.
        decision: Of the run.
        positive: The positive class, if there is one.
    """

    dataset: DataSet
    rows: np.ndarray
    labels: np.ndarray
    before: np.ndarray
    probabilities: np.ndarray
    predicted: np.ndarray
    decision: Decision
    positive: str | None

    @property
    def class_names(self) -> tuple[str, ...]:
        """C names, in the order of the probabilities."""
        return self.dataset.manifest.class_names

    @property
    def groups(self) -> np.ndarray | None:
        """``(N,)``, whose each image is; None where no subject is known."""
        if self.dataset.manifest.subject_is_image:
            return None
        return self.dataset.groups[self.rows]

    @property
    def subjects(self) -> list[str]:
        """The name of each image's subject, N."""
        return [self.dataset.manifest.subjects[row] for row in self.rows]

    def table(self) -> list[dict[str, Any]]:
        """Return a mapping for each image, fit for a CSV."""
        manifest, names = self.dataset.manifest, self.class_names
        return [
            {
                "path": manifest.paths[row],
                "subject": manifest.subjects[row],
                "label": names[label],
                "predicted": names[said],
                **{f"p_{name}": float(p) for name, p in zip(names, chances, strict=True)},
            }
            for row, label, said, chances in zip(
                self.rows, self.labels, self.predicted, self.probabilities, strict=True
            )
        ]


def apply_decision(
    predictions: Predictions, dataset: DataSet, decision: Decision, positive: str | None
) -> Scored:
    """Return what a run says of images.

    Raises:
        ConfigError: scores that are no finite numbers.
    """
    before = predictions.probabilities
    check_probabilities(before)
    probabilities = decision.probabilities(predictions.logits, logits=True)
    return Scored(
        dataset=dataset,
        rows=predictions.indices,
        labels=predictions.labels,
        before=before,
        probabilities=probabilities,
        predicted=decision.labels(probabilities),
        decision=decision,
        positive=positive,
    )


def figures_of(scored: Scored) -> dict[str, Any]:
    """Compute the metrics of the predictions, with intervals, fit for JSON.

    Beside the figures of :func:`fastleuk.evaluation.metrics.classification_metrics` stand
    ``subjects``, ``loss``, ``interval`` (of macro-F1), ``intervals`` (of every figure),
    ``concentration`` (:func:`concentration`), ``decision`` and ``calibration``.
    """
    names, dataset = scored.class_names, scored.dataset
    figures = classification_metrics(
        scored.labels, scored.probabilities, names,
        positive=scored.positive, predicted=scored.predicted,
    )  # fmt: skip
    positive = figures.get("positive_class")
    intervals = with_intervals(
        scored.labels, scored.probabilities, scored.groups, names, positive,
        predicted=scored.predicted,
    )  # fmt: skip
    macro_f1 = intervals["figures"]["f1_macro"]
    estimate, low, high = (
        float("nan") if macro_f1[key] is None else macro_f1[key]
        for key in ("estimate", "low", "high")
    )
    counts = count_subjects(
        scored.labels, scored.predicted, dataset.groups[scored.rows], len(names)
    )
    return {
        "subjects": len(set(scored.subjects)),
        "loss": cross_entropy(scored.probabilities, scored.labels),
        **figures,
        "interval": macro_f1_summary(
            counts,
            names,
            by_image=scored.groups is None,
            known=Interval(estimate, low, high),
        ),
        "intervals": intervals,
        "concentration": concentration(scored),
        "decision": scored.decision.as_json(),
        "calibration": calibration(
            scored.labels, scored.before, scored.probabilities, scored.groups, names, positive,
            scored.decision,
        ),
    }  # fmt: skip


def concentration(scored: Scored) -> list[dict[str, Any]]:
    """Return the classes more than half of whose images are of one subject.

    Returns:
        ``class``, ``subject`` (its name), ``images`` (of it) and ``of`` (all of the class).
    """
    if scored.groups is None:
        return []
    found = []
    for code, name in enumerate(scored.class_names):
        rows = np.flatnonzero(scored.labels == code)
        groups, first, counts = np.unique(
            scored.groups[rows], return_index=True, return_counts=True
        )
        if not len(groups) or 2 * counts.max() <= len(rows):
            continue
        most = int(counts.argmax())
        subject = scored.subjects[rows[first[most]]]
        found.append(
            {"class": name, "subject": subject, "images": int(counts[most]), "of": len(rows)}
        )
    return found


def concentration_sentence(found: Mapping[str, Any]) -> str:
    """Return one of :func:`concentration` as a sentence."""
    return (
        f"{found['images']} of {found['of']} images of {found['class']} are of one subject, "
        f"{found['subject']}: figures of {found['class']} rest on that subject."
    )
