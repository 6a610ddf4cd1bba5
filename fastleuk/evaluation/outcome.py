"""What a run is worth on images: figures, files and print, whatever the images are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastleuk.data.dataset import DataSet
from fastleuk.evaluation.baselines.beside import beside, format_beside
from fastleuk.evaluation.baselines.measure import measure
from fastleuk.evaluation.by_subject import format_by_subject, subject_figures
from fastleuk.evaluation.calibration.draw import plot_calibration
from fastleuk.evaluation.format import format_calibration, format_metrics
from fastleuk.evaluation.plots import plot_confusion_matrix
from fastleuk.evaluation.scored import Scored, figures_of
from fastleuk.files import write_json, write_rows
from fastleuk.progress import progress_bar
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
    """

    scored: Scored
    figures: dict[str, Any]
    subjects: Sequence[Mapping[str, Any]]

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
        write_rows(place / f"{tables}predictions{method}.csv", scored.table())
        if self.subjects:
            write_rows(place / f"{tables}subjects{method}.csv", self.subjects)
        write_json(place / f"{tables}metrics{method}.json", figures)
        of = f"\n{method[1:].replace('.', ', ')}{', ' if method else ''}"
        plot_confusion_matrix(
            figures["confusion_matrix"],
            scored.class_names,
            place / f"{pictures}confusion_matrix{method}.png",
            title=f"{title}{of}macro-F1 {figures['f1_macro']:.3f}",
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
        figures = self.figures
        head = f"{what}: {figures['samples']} images of {figures['subjects']} subjects"
        result(report, f"\n{head}{', SYNTHETIC demo cells' if figures['synthetic'] else ''}")
        result(report, format_metrics(figures))
        result(report, f"\n{format_calibration(figures['calibration'])}")
        result(report, f"\n{format_by_subject(figures['by_subject'])}")
        if "baselines" in figures:
            result(report, f"\n{format_beside(figures['baselines'])}")
        result(report, f"\n{self.scored.decision.sentence}")


def outcome(scored: Scored, about: Mapping[str, Any], more: Mapping[str, Any]) -> Outcome:
    """Compute the figures.

    Args:
        scored: What the run says of the images.
        about: What they are, in front of the figures.
        more: Behind them.
    """
    of_subjects, subjects = subject_figures(scored)
    figures = {**about, **figures_of(scored), "by_subject": of_subjects, **more}
    return Outcome(scored, figures, subjects)


def baselines(
    known: DataSet, rows: np.ndarray, scored: Scored, *, seed: int, workers: int
) -> dict[str, Any]:
    """Return what needs no network, see :func:`fastleuk.evaluation.baselines.beside.beside`.

    Args:
        known: The run's data.
        rows: int64, those of its images that the baselines are fitted to.
        scored: The images that they are asked about, of the same data or of others.
        seed: Of the run's split.
        workers: Threads that read images.
    """
    with progress_bar("measuring size and colours") as progress:
        fitted = measure(known, workers=workers, progress=progress)
        same = scored.dataset is known
        asked = fitted if same else measure(scored.dataset, workers=workers, progress=progress)
    return beside(
        fitted.take(rows),
        known.manifest.labels[rows],
        asked.take(scored.rows),
        scored.labels,
        scored.probabilities,
        scored.groups,
        scored.class_names,
        scored.positive,
        predicted=scored.predicted,
        seed=seed,
    )
