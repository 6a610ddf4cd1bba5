"""What a run is worth on images: figures, files and print, whatever the images are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastleuk.evaluation.baselines.comparison import compare_with_baselines, format_comparison
from fastleuk.evaluation.baselines.measure import Measured
from fastleuk.evaluation.by_subject import format_by_subject, subject_figures
from fastleuk.evaluation.calibration.draw import plot_calibration
from fastleuk.evaluation.format import format_calibration, format_metrics
from fastleuk.evaluation.plots import plot_confusion_matrix
from fastleuk.evaluation.scored import Scored, concentration_sentence, figures_of
from fastleuk.files import write_json, write_rows
from fastleuk.run_log import result


def variant(figures: Mapping[str, Any]) -> str:
    """Return what the names of a method's files have before their ending: empty for the plain one.

    >>> variant({"tta": "d4", "average": 3})
    '.tta-d4.average-3'
    """
    return "".join(f".{key}-{figures[key]}" for key in ("tta", "average") if key in figures)


@dataclass(frozen=True, eq=False, slots=True)
class Outcome:
    """Images, their figures and a row for each subject.

    Attributes:
        scored: What the run says of the images.
        figures: Fit for JSON.
        subjects: Fit for a CSV; empty where there are no figures of subjects.
        marks: By row of the manifest, the image of the run that this one is; see
            :class:`fastleuk.evaluation.elsewhere.overlap.Match`.
    """

    scored: Scored
    figures: dict[str, Any]
    subjects: Sequence[Mapping[str, Any]]
    marks: Mapping[int, str] = field(default_factory=dict)

    @property
    def warnings(self) -> list[str]:
        """What stands under every table."""
        return list(self.figures.get("warnings", ()))

    def write(self, place: Path, *, tables: str, pictures: str, title: str) -> None:
        """Write metrics, predictions, subjects and two pictures, each whole or not at all.

        Args:
            place: The folder.
            tables: What their names begin with.
            pictures: Likewise.
            title: Of the pictures.
        """
        figures, scored = self.figures, self.scored
        method, synthetic = variant(figures), scored.dataset.manifest.synthetic
        images, subjects = self._marked()
        write_rows(place / f"{tables}predictions{method}.csv", images)
        if subjects:
            write_rows(place / f"{tables}subjects{method}.csv", subjects)
        write_json(place / f"{tables}metrics{method}.json", figures)
        if self.warnings:
            title += "\nWARNING: with images that the run has learned from"
        of = f"\n{method[1:].replace('.', ', ')}{', ' if method else ''}"
        plot_confusion_matrix(
            figures["confusion_matrix"],
            scored.class_names,
            place / f"{pictures}confusion_matrix{method}.png",
            title=f"{title}{of}{_headline(figures)}",
            synthetic=synthetic,
        )
        plot_calibration(
            figures["calibration"],
            place / f"{pictures}calibration{method}.png",
            title=f"{title}{of.rstrip(', ').rstrip()}",
            threshold=scored.decision.threshold,
            synthetic=synthetic,
        )

    def tell(self, report: Callable[[str], None], what: str) -> None:
        """Print the figures.

        Args:
            report: Takes what is printed.
            what: The images' name.
        """
        figures, warning = self.figures, "".join(f"\n{text}" for text in self.warnings)
        head = f"{what}: {figures['samples']} images "
        known = self.scored.groups is not None
        head += f"of {figures['subjects']} subjects" if known else "(no subjects are known)"
        result(report, f"\n{head}{', SYNTHETIC demo cells' if figures['synthetic'] else ''}")
        result(report, f"{format_metrics(figures)}{warning}")
        result(report, f"\n{format_calibration(figures['calibration'])}{warning}")
        by_subject = figures["by_subject"]
        under = warning if "right" in by_subject else ""
        result(report, f"\n{format_by_subject(by_subject)}{under}")
        for each in figures["concentration"]:
            result(report, f"note: {concentration_sentence(each)}")
        if "baselines" in figures:
            result(report, f"\n{format_comparison(figures['baselines'])}{warning}")
        result(report, f"\n{self.scored.decision.sentence}")

    def _marked(self) -> tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]:
        """Return the tables of images and of subjects, with a column for what the run has seen.

        Images of other data have their hash and their group, too: of a run's own data split.csv
        has them.
        """
        images, subjects = self.scored.table(), self.subjects
        if "on" in self.figures:
            dataset, rows = self.scored.dataset, self.scored.rows.tolist()
            images = [
                {**image, "sha256": dataset.sha256[row], "group": int(dataset.groups[row])}
                for image, row in zip(images, rows, strict=True)
            ]
        if not self.marks:
            return images, subjects
        seen = [self.marks.get(row, "") for row in self.scored.rows.tolist()]
        counts = Counter(who for who, mark in zip(self.scored.subjects, seen, strict=True) if mark)
        return (
            [{**row, "overlap": mark} for row, mark in zip(images, seen, strict=True)],
            [{**row, "overlap": counts[row["subject"]]} for row in subjects],
        )


def _headline(figures: Mapping[str, Any]) -> str:
    """Return macro-F1, or accuracy where there is one class only."""
    if figures["intervals"]["figures"]["f1_macro"]["estimate"] is None:
        return f"accuracy {figures['accuracy']:.3f}"
    return f"macro-F1 {figures['f1_macro']:.3f}"


def outcome(
    scored: Scored,
    about: Mapping[str, Any],
    more: Mapping[str, Any],
    *,
    marks: Mapping[int, str] | None = None,
) -> Outcome:
    """Compute the figures.

    Args:
        scored: What the run says of the images.
        about: What they are, in front of the figures.
        more: Behind them; what stands under ``warnings`` is told with every table.
        marks: See :class:`Outcome`.
    """
    of_subjects, subjects = subject_figures(scored)
    figures = {**about, **figures_of(scored), "by_subject": of_subjects, **more}
    return Outcome(scored, figures, subjects, marks or {})


def baselines(
    known: Measured, known_labels: np.ndarray, asked: Measured, scored: Scored, *, seed: int
) -> dict[str, Any]:
    """Return what needs no network, see :mod:`fastleuk.evaluation.baselines.comparison`.

    Args:
        known: Of the images that the baselines are fitted to.
        known_labels: Their labels.
        asked: Of the images that are scored.
        scored: What the run says of these.
        seed: Of the run's split.
    """
    return compare_with_baselines(
        known,
        known_labels,
        asked,
        scored.labels,
        scored.probabilities,
        scored.groups,
        scored.class_names,
        scored.positive,
        predicted=scored.predicted,
        seed=seed,
    )
