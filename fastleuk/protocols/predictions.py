"""Predictions as tables by image, and the weights of a run applied to further images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastleuk.errors import CheckpointError, DataError
from fastleuk.evaluation.metrics import classification_metrics
from fastleuk.files import read_rows, write_rows

if TYPE_CHECKING:
    from fastleuk.data.dataset import DataSet

FURTHER = "unseen_predictions.csv"


@dataclass(frozen=True, eq=False, slots=True)
class PredictionTable:
    """What was predicted for N images, ordered by path."""

    paths: tuple[str, ...]
    """N different ones."""
    subjects: tuple[str, ...]
    labels: np.ndarray
    """int64 ``(N,)``."""
    probabilities: np.ndarray
    """float64 ``(N, C)``."""
    class_names: tuple[str, ...]
    positive: str | None = None
    """The positive class; None: that of the names, if they tell."""

    def __post_init__(self) -> None:
        assert len(set(self.paths)) == len(self.paths), "an image stands twice"
        assert list(self.paths) == sorted(self.paths), "not in order"

    def figures(self) -> dict[str, Any]:
        """Return the figures of merit, with the number of subjects."""
        figures = classification_metrics(
            self.labels, self.probabilities, self.class_names, positive=self.positive
        )
        return {"subjects": len(set(self.subjects)), **figures}

    def rows(self, **columns: Any) -> list[dict[str, Any]]:
        """Return a mapping for each image, fit for a CSV, ``columns`` added to every one."""
        names = self.class_names
        return [
            {
                "path": path,
                "subject": subject,
                "label": names[label],
                **columns,
                "predicted": names[chances.argmax()],
                **{f"p_{name}": float(p) for name, p in zip(names, chances, strict=True)},
            }
            for path, subject, label, chances in zip(
                self.paths, self.subjects, self.labels, self.probabilities, strict=True
            )
        ]


def make_table(
    paths: Sequence[str],
    subjects: Sequence[str],
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    positive: str | None = None,
) -> PredictionTable:
    """Return a table in the order of the paths."""
    order = sorted(range(len(paths)), key=paths.__getitem__)
    return PredictionTable(
        paths=tuple(paths[i] for i in order),
        subjects=tuple(subjects[i] for i in order),
        labels=np.asarray(labels, dtype=np.int64)[order],
        probabilities=np.asarray(probabilities, dtype=np.float64)[order],
        class_names=tuple(class_names),
        positive=positive,
    )


def read_predictions(
    path: Path, class_names: Sequence[str], positive: str | None = None
) -> PredictionTable:
    """Read a ``…_predictions.csv`` of a run.

    Raises:
        CheckpointError: missing, damaged, or of other classes.
    """
    try:
        rows = read_rows(path, ("path", "subject", "label"))
        codes = {name: code for code, name in enumerate(class_names)}
        return make_table(
            [row["path"] for row in rows],
            [row["subject"] for row in rows],
            np.array([codes[row["label"]] for row in rows]),
            np.array([[float(row[f"p_{name}"]) for name in class_names] for row in rows]),
            class_names,
            positive,
        )
    except (DataError, OSError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} can't be read as predictions of {', '.join(class_names)}: {error!r}. Remove "
            "its run folder, and give the same command again."
        ) from error


def pool(tables: Sequence[PredictionTable]) -> PredictionTable:
    """Return one table of all images; no image may stand in two of the tables."""
    return make_table(
        [path for table in tables for path in table.paths],
        [subject for table in tables for subject in table.subjects],
        np.concatenate([table.labels for table in tables]),
        np.concatenate([table.probabilities for table in tables]),
        tables[0].class_names,
        tables[0].positive,
    )


def average(tables: Sequence[PredictionTable]) -> PredictionTable:
    """Return the mean of the probabilities that several models gave to the same images."""
    first = tables[0]
    assert all(table.paths == first.paths for table in tables), "tables of different images"
    mean = np.mean([table.probabilities for table in tables], axis=0)
    return make_table(
        first.paths, first.subjects, first.labels, mean, first.class_names, first.positive
    )


def predict_rows(
    run_dir: Path,
    dataset: DataSet,
    rows: np.ndarray,
    *,
    device: str,
    report: Callable[[str], None] = print,
) -> PredictionTable:
    """Apply a run's best weights to the images ``rows`` of ``dataset``, un-augmented.

    The result is kept in the run folder and read back where it is of the same images.

    Args:
        run_dir: A finished run.
        dataset: The data set it was trained on.
        rows: int64 ``(K,)``, labelled rows of the manifest, none of them in its training part.
        device: ``auto``, ``cpu`` or ``cuda[:N]``.
        report: Takes what is printed.

    Raises:
        CheckpointError: no weights, or of other classes.
    """
    manifest = dataset.manifest
    kept = run_dir / FURTHER
    if kept.is_file():
        table = read_predictions(kept, manifest.class_names, dataset.positive)
        if set(table.paths) == {manifest.paths[row] for row in rows}:
            return table
    from fastleuk.evaluation.decision import read_decision
    from fastleuk.evaluation.scorer import Scorer

    decision = read_decision(run_dir, class_names=manifest.class_names)
    predictions = Scorer(run_dir, device=device, report=report).predict(dataset, rows)
    indices = predictions.indices
    table = make_table(
        [manifest.paths[i] for i in indices],
        [manifest.subjects[i] for i in indices],
        manifest.labels[indices],
        decision.probabilities(predictions.logits, logits=True),
        manifest.class_names,
        dataset.positive,
    )
    write_rows(kept, table.rows())
    return table
