"""Figures of subjects instead of images, by majority vote and by the mean probability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
WORST = 5
"""Subjects with the smallest share of right images that are listed in a terminal."""


@dataclass(frozen=True, eq=False, slots=True)
class BySubject:
    """Predictions of S subjects, in the order of their names.

    Attributes:
        names: S.
        true: int64 ``(S, C)``, images of each class.
        right: int64 ``(S, C)``, those of them that are predicted right.
        votes: float64 ``(S, C)``, the share of the images that each class was predicted for.
        voted: int64 ``(S,)``, the class of most images; of several, the most probable of them.
        means: float64 ``(S, C)``, mean probabilities.
        meant: int64 ``(S,)``, the class predicted from these by the run's decision.
    """

    names: tuple[str, ...]
    true: np.ndarray
    right: np.ndarray
    votes: np.ndarray
    voted: np.ndarray
    means: np.ndarray
    meant: np.ndarray

    @property
    def images(self) -> np.ndarray:
        """int64 ``(S,)``, images of each subject."""
        return self.true.sum(axis=1)

    @property
    def labelled(self) -> np.ndarray:
        """Bool ``(S,)``: images of one class, and so a label of its own."""
        return (self.true > 0).sum(axis=1) == 1


def by_subject(scored: Scored) -> BySubject | str:
    """Aggregate predictions by subject.

    Returns:
        Or the reason why that can't be done.
    """
    if scored.groups is None:
        return "the data name no subjects (see --subject-regex)"
    names, places = np.unique(np.array(scored.subjects), return_inverse=True)
    places = places.reshape(-1)
    classes, size = len(scored.class_names), len(names)

    def counts(codes: np.ndarray, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
        cells = (places * classes + codes)[chosen]
        return np.bincount(cells, minlength=size * classes).reshape(size, classes)

    true, said = counts(scored.labels), counts(scored.predicted)
    images = true.sum(axis=1)
    if images.max() == 1:
        return "every subject has one image, so that its figures are those of the images"
    sums = np.zeros((size, classes))
    np.add.at(sums, places, scored.probabilities)
    means = sums / images[:, None]
    most = said == said.max(axis=1, keepdims=True)
    return BySubject(
        names=tuple(map(str, names)),
        true=true,
        right=counts(scored.labels, scored.labels == scored.predicted),
        votes=said / images[:, None],
        voted=np.where(most, means, -1.0).argmax(axis=1),
        means=means,
        meant=scored.decision.labels(means),
    )


def table(found: BySubject, class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return a mapping for each subject, fit for a CSV.

    ``label`` is empty for a subject with images of several classes.
    """
    images, right, labelled = found.images, found.right.sum(axis=1), found.labelled
    return [
        {
            "subject": name,
            "label": class_names[found.true[row].argmax()] if labelled[row] else "",
            "images": int(images[row]),
            "right": int(right[row]),
            "by_vote": class_names[found.voted[row]],
            "by_mean": class_names[found.meant[row]],
            **_columns("images", class_names, found.true[row].tolist()),
            **_columns("right", class_names, found.right[row].tolist()),
            **_columns("votes", class_names, found.votes[row].tolist()),
            **_columns("p", class_names, found.means[row].tolist()),
        }
        for row, name in enumerate(found.names)
    ]


def _columns(prefix: str, names: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in zip(names, values, strict=True)}


def subject_figures(scored: Scored) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return figures of subjects with intervals, fit for JSON, and the table of all subjects.

    Returns:
        ``subjects`` (how many have a label of their own), ``mixed`` (how many have images of
        several classes, and are in no figure), ``right`` (see :func:`_right_images`), and
        ``vote`` and ``mean``, each with ``intervals``
        (:func:`fastleuk.evaluation.intervals.figures.figures`, a subject a sample) and
        ``confusion_matrix``. Without ``vote`` and ``mean`` it has ``none``: the reason.
    """
    found = by_subject(scored)
    if isinstance(found, str):
        return {"none": found}, []
    names, positive, one = scored.class_names, scored.positive, found.labelled
    told: dict[str, Any] = {
        "subjects": int(one.sum()),
        "mixed": int((~one).sum()),
        "right": _right_images(found),
    }
    if not one.any():
        told["none"] = "every subject has images of several classes, and so no label of its own"
        return told, table(found, names)
    labels = found.true[one].argmax(axis=1)
    for way, chances, said in (
        (VOTE, found.votes[one], found.voted[one]),
        (MEAN, found.means[one], found.meant[one]),
    ):
        told[way] = {
            "intervals": with_intervals(
                labels, chances, np.arange(len(labels)), names, positive, predicted=said
            ),
            "confusion_matrix": classification_metrics(
                labels, chances, names, positive=positive, predicted=said
            )["confusion_matrix"],
        }
    return told, table(found, names)


def _right_images(found: BySubject) -> dict[str, Any]:
    """Summarize how many images of each subject are right.

    Returns:
        ``all`` (subjects whose images are all right), ``of`` (subjects), ``median`` (share of
        right images, over subjects) and ``worst``: those with the smallest shares, at most
        :data:`WORST`, each with ``subject``, ``right`` and ``images``.
    """
    images, right = found.images, found.right.sum(axis=1)
    share = right / images
    worst = np.lexsort((-images, share))
    return {
        "all": int((share == 1).sum()),
        "of": len(images),
        "median": float(np.median(share)),
        "worst": [
            {"subject": found.names[n], "right": int(right[n]), "images": int(images[n])}
            for n in worst[:WORST]
            if share[n] < 1
        ],
    }


def format_by_subject(told: Mapping[str, Any]) -> str:
    """Lay figures of subjects out for a terminal.

    Args:
        told: Of :func:`subject_figures`.
    """
    if "right" not in told:
        return f"By subject: not computed, {told['none']}."
    lines = []
    if "none" in told:
        lines.append(f"By subject: no figures, {told['none']}.")
    else:
        rows: list[list[object]] = [[f"by subject ({told['subjects']})", *WAYS.values()]]
        for name in SHOWN:
            found = [told[way]["intervals"]["figures"].get(name) for way in WAYS]
            if found[0] is not None:
                rows.append([found[0]["title"], *map(format_figure, found)])
        lines += text_lines(rows, align="l")
        if told["mixed"]:
            lines.append(mixed_sentence(told))
    lines.append(right_sentence(told["right"]))
    return "\n".join(lines)


def right_sentence(right: Mapping[str, Any]) -> str:
    """Return how many images of each subject are right, in a sentence.

    Args:
        right: Of :func:`subject_figures`.
    """
    text = (
        f"Images right, subject by subject: all of {right['all']} of {right['of']} subjects, "
        f"{right['median']:.1%} in the median."
    )
    if not right["worst"]:
        return text
    worst = ", ".join(
        f"{each['subject']} {each['right']} of {each['images']}" for each in right["worst"]
    )
    return f"{text} Fewest: {worst}. All subjects are in the table of subjects."


def mixed_sentence(told: Mapping[str, Any]) -> str:
    """Return how many subjects have no label of their own, in a sentence."""
    if told["mixed"] == 1:
        who, have, are = "1 subject", "has", "is"
    else:
        who, have, are = f"{told['mixed']} subjects", "have", "are"
    return (
        f"{who} with images of several classes {have} no label of their own and {are} not in "
        "these figures."
    )
