"""Everything that a run keeps, read once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastleuk.data.labels.positive import positive_class
from fastleuk.errors import CheckpointError, DataError
from fastleuk.evaluation.average import read_metadata
from fastleuk.evaluation.decision import Decision, file_hash, read_decision
from fastleuk.evaluation.intervals.figures import figures as all_figures
from fastleuk.files import read_rows
from fastleuk.run_folder import names
from fastleuk.run_folder.identity import read_identity
from fastleuk.run_folder.state import RunState, read_state
from fastleuk.shell import quoted
from fastleuk.tracking.runs import read_figures, read_metrics, read_tables
from fastleuk.training.checkpoint.file import load_checkpoint


@dataclass(frozen=True, eq=False, slots=True)
class Tested:
    """What the run said of the images of its test part.

    Attributes:
        paths: N.
        subjects: N.
        groups: N, subjects that an identical file ties together are one; as intervals count.
        labels: int64 ``(N,)``.
        probabilities: float64 ``(N, C)``, as the run applies them.
        predicted: int64 ``(N,)``, likewise.
    """

    paths: tuple[str, ...]
    subjects: tuple[str, ...]
    groups: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class Source:
    """A run folder's content.

    Attributes:
        run_dir: The folder.
        config: Tables of ``config.toml``.
        policy: Of ``policy.toml``; empty where it is missing.
        rows: Of ``metrics.csv``, an epoch each.
        split: Of ``split.csv``, an image each.
        figures: ``test_metrics.json``.
        intervals: Every figure with its interval, as
            :func:`fastleuk.evaluation.intervals.figures.figures` gives them.
        intervals_computed: Whether that was done now, since the run holds none.
        tested: Its predictions, or None.
        decision: Temperature and threshold.
        metadata: What the weights say about themselves.
        hashes: SHA-256 by file name.
        state: How far the run is.
        log: Lines of ``log.txt``.
        versions: Of the packages that trained it, by its checkpoint; empty where there is none.
        precision: In which it was trained, such as ``float32``; empty where not known.
        processes: How many trained it together.
        missing: What could not be read, and why.
    """

    run_dir: Path
    config: dict[str, Any]
    policy: dict[str, Any]
    rows: list[dict[str, float | None]]
    split: list[dict[str, str]]
    figures: dict[str, Any]
    intervals: dict[str, Any]
    intervals_computed: bool
    tested: Tested | None
    decision: Decision
    metadata: dict[str, Any]
    hashes: dict[str, str]
    state: RunState
    log: list[str]
    versions: dict[str, str] = field(default_factory=dict)
    precision: str = ""
    processes: int = 1
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the scores."""
        return tuple(self.figures["class_names"])

    @property
    def positive(self) -> str | None:
        """The positive class."""
        return self.figures.get("positive_class")

    @property
    def synthetic(self) -> bool:
        """Whether the cells were drawn by a program."""
        return bool(self.figures.get("synthetic"))

    @property
    def subject_is_image(self) -> bool:
        """Whether no subject is known: each is an image of its own."""
        if self.split or self.tested is None:
            return all(row["subject"] == row["path"] for row in self.split)
        return self.tested.subjects == self.tested.paths

    @property
    def by_image(self) -> bool:
        """Whether the split puts cells of one subject on both sides."""
        return bool(self.split) and self.split[0]["mode"] == "image"

    def part(self, part: str) -> list[dict[str, str]]:
        """Return the rows of the split that are in a part."""
        return [row for row in self.split if row["part"] == part]

    def counts(self, part: str) -> dict[str, int]:
        """Return the images of a part by class."""
        return dict(Counter(row["label"] for row in self.part(part)))


def read_source(run_dir: Path) -> Source:
    """Read a run that has been tested.

    Raises:
        CheckpointError: no run, one without test figures, or a damaged file.
    """
    if not (run_dir / names.CONFIG).is_file():
        raise CheckpointError(f"{run_dir} is no run folder: it has no {names.CONFIG}.")
    if not (run_dir / names.TEST_METRICS).is_file():
        raise CheckpointError(
            f"{run_dir} has no {names.TEST_METRICS}: a report is of a tested run. "
            f"Let it end, or give: fastleuk evaluate {quoted(run_dir)}"
        )
    missing: dict[str, str] = {}
    try:
        config = read_tables(run_dir / names.CONFIG)
        figures = read_figures(run_dir / names.TEST_METRICS)
        if "class_names" not in figures or "confusion_matrix" not in figures:
            raise DataError(f"{names.TEST_METRICS} lacks class_names or confusion_matrix.")
        policy = _optional(run_dir / names.POLICY, read_tables, {}, missing)
        rows = _optional(run_dir / names.METRICS, read_metrics, [], missing)
        split = _optional(run_dir / names.SPLIT, read_split_file, [], missing)
        classes = tuple(figures["class_names"])
        groups = {row["path"]: row["group"] for row in split}
        tested = _optional(
            run_dir / names.TEST_PREDICTIONS,
            lambda path: _read_tested(path, classes, groups),
            None,
            missing,
        )
    except DataError as error:
        raise CheckpointError(
            f"{run_dir}: {error} Give: fastleuk evaluate {quoted(run_dir)}"
        ) from error
    metadata: dict[str, Any] = {}
    try:
        metadata = read_metadata(run_dir / names.BEST)
    except CheckpointError as error:
        missing[names.BEST] = str(error)
    known = [name for name in _HASHED if (run_dir / name).is_file()]
    intervals = figures.get("intervals")
    no_subjects = bool(split) and all(row["subject"] == row["path"] for row in split)
    return Source(
        run_dir=run_dir,
        config=config,
        policy=policy,
        rows=rows,
        split=split,
        figures=figures,
        intervals=intervals or _intervals(tested, figures, no_subjects=no_subjects),
        intervals_computed=not intervals,
        tested=tested,
        decision=read_decision(run_dir, class_names=classes),
        metadata=metadata,
        hashes={name: file_hash(run_dir / name) for name in known},
        state=read_state(run_dir),
        log=_log(run_dir / names.LOG),
        **_trained(run_dir / names.LAST),
        missing=missing,
    )


_HASHED = (
    names.BEST, names.CONFIG, names.POLICY, names.SPLIT, names.METRICS, names.TEST_METRICS,
    names.TEST_PREDICTIONS, "decision.json",
)  # fmt: skip


def _optional(path: Path, read: Any, empty: Any, missing: dict[str, str]) -> Any:
    """Read a file that may be absent; one that is there and damaged is an error."""
    if path.is_file():
        return read(path)
    missing[path.name] = f"{path.name} is not in the run folder."
    return empty


def read_split_file(path: Path) -> list[dict[str, str]]:
    """Read ``split.csv``; raises as :func:`read_rows`."""
    return read_rows(path, ("path", "label", "subject", "group", "part", "sha256", "mode", "seed"))


def _read_tested(path: Path, classes: tuple[str, ...], groups: dict[str, str]) -> Tested:
    columns = [f"p_{name}" for name in classes]
    rows = read_rows(path, ("path", "subject", "label", "predicted", *columns))
    codes = {name: code for code, name in enumerate(classes)}
    try:
        return Tested(
            paths=tuple(row["path"] for row in rows),
            subjects=tuple(row["subject"] for row in rows),
            groups=tuple(groups.get(row["path"], row["subject"]) for row in rows),
            labels=np.array([codes[row["label"]] for row in rows]),
            probabilities=np.array([[float(row[name]) for name in columns] for row in rows]),
            predicted=np.array([codes[row["predicted"]] for row in rows]),
        )
    except (KeyError, ValueError) as error:
        raise DataError(f"{path.name} can't be read: {error}.") from error


def _intervals(
    tested: Tested | None, figures: dict[str, Any], *, no_subjects: bool
) -> dict[str, Any]:
    """Let evaluation make them of the predictions: the run was tested by an older version."""
    if tested is None:
        return {}
    names_ = tuple(figures["class_names"])
    return all_figures(
        tested.labels,
        tested.probabilities,
        None if no_subjects else tested.groups,
        names_,
        positive_class(names_, figures.get("positive_class")),
        predicted=tested.predicted,
    )


def _trained(path: Path) -> dict[str, Any]:
    """Return what the checkpoint says of the training; nothing where it can't be read."""
    try:
        saved = load_checkpoint(path)
    except CheckpointError:
        return {}
    identity = read_identity(saved.get("identity"))
    return {
        "versions": dict(saved.get("versions", {})),
        "precision": str(identity.get("precision", "")).removeprefix("torch."),
        "processes": int(identity.get("processes", 1)),
    }


def _log(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
