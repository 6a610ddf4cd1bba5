"""What a run says of subjects instead of images: by majority vote, and by the mean probability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastleuk.evaluation.format import format_figure
from fastleuk.evaluation.intervals.figures import figures as with_intervals
from fastleuk.evaluation.metrics import classification_metrics
from fastleuk.evaluation.scored import Scored
from fastleuk.tables import text_lines

VOTE, MEAN = "vote", "mean"
WAYS = {VOTE: "majority vote", MEAN: "mean probability"}
SHOWN = ("f1_macro", "accuracy", "sensitivity", "specificity", "auc")


@dataclass(frozen=True, eq=False, slots=True)
class BySubject:
    """What is said of S subjects of one class each, in the order of their names.

    Attributes:
        names: S.
        labels: int64 ``(S,)``.
        images: int64 ``(S,)``.
        votes: float64 ``(S, C)``, the share of the images that each class was predicted for.
        voted: int64 ``(S,)``, the class of most images; of several, the most probable of them.
        means: float64 ``(S, C)``, mean probabilities.
        meant: int64 ``(S,)``, the class predicted from these by the run's decision.
        mixed: Subjects with images of several classes, which have no label of their own.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    images: np.ndarray
    votes: np.ndarray
    voted: np.ndarray
    means: np.ndarray
    meant: np.ndarray
    mixed: tuple[str, ...]


def by_subject(scored: Scored) -> BySubject | str:
    """Bring images together by subject.

    Returns:
        Or why that can't be.
    """
    if scored.groups is None:
        return "the data name no subjects (see --subject-regex)"
    names, places = np.unique(np.array(scored.subjects), return_inverse=True)
    places = places.reshape(-1)
    classes, size = len(scored.class_names), len(names)

    def counts(codes: np.ndarray) -> np.ndarray:
        cells = np.bincount(places * classes + codes, minlength=size * classes)
        return cells.reshape(size, classes)

    true, said = counts(scored.labels), counts(scored.predicted)
    one = (true > 0).sum(axis=1) == 1
    if not one.any():
        return "every subject has images of several classes, and so no label of its own"
    images = true.sum(axis=1)
    if images.max() == 1:
        return "every subject has one image, so that its figures are those of the images"
    sums = np.zeros((size, classes))
    np.add.at(sums, places, scored.probabilities)
    means = sums / images[:, None]
    most = said == said.max(axis=1, keepdims=True)
    return BySubject(
        names=tuple(map(str, names[one])),
        labels=true.argmax(axis=1)[one],
        images=images[one],
        votes=(said / images[:, None])[one],
        voted=np.where(most, means, -1.0).argmax(axis=1)[one],
        means=means[one],
        meant=scored.decision.labels(means[one]),
        mixed=tuple(map(str, names[~one])),
    )


def table(found: BySubject, class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return a mapping for each subject, fit for a CSV."""
    return [
        {
            "subject": name,
            "label": class_names[found.labels[row]],
            "images": int(found.images[row]),
            "by_vote": class_names[found.voted[row]],
            "by_mean": class_names[found.meant[row]],
            **{f"votes_{c}": float(v) for c, v in zip(class_names, found.votes[row], strict=True)},
            **{f"p_{c}": float(p) for c, p in zip(class_names, found.means[row], strict=True)},
        }
        for row, name in enumerate(found.names)
    ]


def subject_figures(scored: Scored) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return figures of subjects with intervals, fit for JSON, and the table of the subjects.

    Returns:
        ``subjects``, ``mixed`` (how many were left out), and ``vote`` and ``mean``, each with
        ``intervals`` (:func:`fastleuk.evaluation.intervals.figures.figures`, a subject a sample)
        and ``confusion_matrix``; or ``none``: why there are none.
    """
    found = by_subject(scored)
    if isinstance(found, str):
        return {"none": found}, []
    told: dict[str, Any] = {"subjects": len(found.names), "mixed": len(found.mixed)}
    names, positive = scored.class_names, scored.positive
    for way, chances, said in (
        (VOTE, found.votes, found.voted),
        (MEAN, found.means, found.meant),
    ):
        told[way] = {
            "intervals": with_intervals(
                found.labels, chances, found.names, names, positive, predicted=said
            ),
            "confusion_matrix": classification_metrics(
                found.labels, chances, names, positive=positive, predicted=said
            )["confusion_matrix"],
        }
    return told, table(found, names)


def format_by_subject(told: Mapping[str, Any]) -> str:
    """Lay figures of subjects out for a terminal.

    Args:
        told: Of :func:`subject_figures`.
    """
    if "none" in told:
        return f"By subject: not computed, {told['none']}."
    rows: list[list[object]] = [[f"by subject ({told['subjects']})", *WAYS.values()]]
    for name in SHOWN:
        found = [told[way]["intervals"]["figures"].get(name) for way in WAYS]
        if found[0] is not None:
            rows.append([found[0]["title"], *map(format_figure, found)])
    lines = text_lines(rows, align="l")
    if told["mixed"]:
        lines.append(mixed_sentence(told))
    return "\n".join(lines)


def mixed_sentence(told: Mapping[str, Any]) -> str:
    """Say how many subjects have no label of their own."""
    if told["mixed"] == 1:
        who, have, are = "1 subject", "has", "is"
    else:
        who, have, are = f"{told['mixed']} subjects", "have", "are"
    return (
        f"{who} with images of several classes {have} no label of their own and {are} not in "
        "these figures."
    )
