"""What a run was trained, validated and tested on, matched by content with other runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastleuk.errors import CheckpointError, ConfigError, DataError
from fastleuk.evaluation.elsewhere.place import METRICS, PREFIX, set_name
from fastleuk.evaluation.intervals.subjects import SubjectCounts, count_subjects
from fastleuk.evaluation.intervals.totals import Answers, Counted
from fastleuk.files import read_rows
from fastleuk.shell import quoted
from fastleuk.tracking.runs import read_figures, read_metrics, read_tables

PREDICTIONS = "predictions.csv"


@dataclass(frozen=True, eq=False, slots=True)
class Tested:
    """The predictions of a run on its test part, in the order of the samples' hashes.

    Attributes:
        samples: (SHA-256, class) of each image.
        predicted: Names of the classes predicted.
        groups: Subjects; those tied by an identical file are one.
        probabilities: By class, float64 ``(N,)``; empty where they were not kept.
    """

    samples: tuple[tuple[str, str], ...]
    predicted: tuple[str, ...]
    groups: tuple[str, ...]
    probabilities: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def right(self) -> np.ndarray:
        """Bool ``(N,)``, whether the class predicted is the true one."""
        true = [name for _, name in self.samples]
        return np.array([a == b for a, b in zip(true, self.predicted, strict=True)], dtype=bool)

    def counts(self, class_names: Sequence[str]) -> SubjectCounts:
        """Return the counts by group and class."""
        codes = {name: code for code, name in enumerate(class_names)}
        labels = np.array([codes[name] for _, name in self.samples])
        predicted = np.array([codes[name] for name in self.predicted])
        return count_subjects(labels, predicted, np.array(self.groups), len(class_names))

    def classifier(self, class_names: Sequence[str], positive: str | None) -> Answers | Counted:
        """Return what the run said: with probabilities where it has one for each class.

        Args:
            class_names: C names, all that stand in the samples and predictions among them.
            positive: One of them, or None.
        """
        code = None if positive is None else list(class_names).index(positive)
        if set(class_names) != set(self.probabilities):
            return Counted(self.counts(class_names), code)
        codes = {name: code for code, name in enumerate(class_names)}
        return Answers(
            labels=np.array([codes[name] for _, name in self.samples]),
            probabilities=np.stack([self.probabilities[name] for name in class_names], axis=1),
            predicted=np.array([codes[name] for name in self.predicted]),
            groups=np.unique(self.groups, return_inverse=True)[1].reshape(-1),
            positive=code,
        )


@dataclass(frozen=True, eq=False, slots=True)
class RunRecord:
    """A run as it is compared.

    Attributes:
        path: The folder.
        name: Short, and unlike the others'.
        settings: Values by ``section.key`` of config.toml and policy.toml.
        rows: The rows of ``metrics.csv``.
        figures: ``test_metrics.json``, or None before the test.
        tested: The test predictions, or None.
        validated: Hashes of the validation images.
    """

    path: Path
    name: str
    settings: dict[str, Any]
    rows: list[dict[str, float | None]]
    figures: dict[str, Any] | None
    tested: Tested | None
    validated: frozenset[str]


def read_records(run_dirs: Sequence[Path]) -> list[RunRecord]:
    """Read the runs to be compared.

    Raises:
        ConfigError: fewer than two, or one of them twice.
        CheckpointError: not a run folder, or a damaged file in one.
    """
    folders = [run_dir.resolve() for run_dir in run_dirs]
    if len(set(folders)) < max(2, len(folders)):
        raise ConfigError("compare needs two or more run folders, each named once.")
    return [
        _read(run_dir, name) for run_dir, name in zip(run_dirs, _short_names(folders), strict=True)
    ]


def _short_names(folders: Sequence[Path]) -> list[str]:
    """Return each folder's name, with as many parents as it takes to tell them apart."""
    deepest = max(len(folder.parts) for folder in folders)
    for depth in range(1, deepest + 1):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _read(run_dir: Path, name: str) -> RunRecord:
    if not (run_dir / "config.toml").is_file():
        raise CheckpointError(f"{run_dir} is no run folder: it has no config.toml.")
    try:
        settings = _flat(read_tables(run_dir / "config.toml"))
        if (run_dir / "policy.toml").is_file():
            policy = read_tables(run_dir / "policy.toml")
            settings.update({f"policy.{key}": value for key, value in _flat(policy).items()})
        metrics, figures = run_dir / "metrics.csv", run_dir / "test_metrics.json"
        split = read_rows(run_dir / "split.csv", ("path", "part", "sha256", "group"))
        return RunRecord(
            path=run_dir,
            name=name,
            settings=settings,
            rows=read_metrics(metrics) if metrics.is_file() else [],
            figures=read_figures(figures) if figures.is_file() else None,
            tested=_tested(run_dir, {row["path"]: row for row in split}),
            validated=frozenset(row["sha256"] for row in split if row["part"] == "val"),
        )
    except DataError as error:
        raise CheckpointError(f"{run_dir}: {error}") from error


def _flat(tables: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def read_records_on(run_dirs: Sequence[Path], on: str) -> list[RunRecord]:
    """Read the runs to be compared, with their predictions on other data in place of the test's.

    Args:
        run_dirs: Run folders.
        on: The data's name as in ``RUN/on-NAME``, or where they lie.

    Raises:
        ConfigError: fewer than two runs, one of them twice, one that was not evaluated on these
            data, or runs that were evaluated on other images.
        CheckpointError: not a run folder, or a damaged file in one.
    """
    records = read_records(run_dirs)
    first, *others = records
    place = _place_on(first.path, on, None)
    found = [_on(first, place)]
    content = (found[0].figures or {})["on"]["content"]
    found += [_on(other, _place_on(other.path, place.name, content)) for other in others]
    for record in found[1:]:
        _check_same_images(found[0], record, place.name)
    return found


def _place_on(run_dir: Path, on: str, content: str | None) -> Path:
    """Return the folder of a run's predictions on other data.

    Args:
        run_dir: The run.
        on: Name of the data, or where they lie.
        content: Hash of the data, where it is known; a folder of another name counts, too.
    """
    there = sorted(file.parent for file in run_dir.glob(f"{PREFIX}*/{METRICS}"))
    names = dict.fromkeys(f"{PREFIX}{name.removeprefix(PREFIX)}" for name in (on, set_name(on)))
    named = [run_dir / name for name in names if run_dir / name in there]
    chosen = named
    if content is not None:
        chosen = [place for place in (*named, *there) if _content(place) == content]
        if named and not chosen:
            raise ConfigError(
                f"--on {on}: {named[0]} holds the figures of other data than the first run's. "
                "Evaluate both runs on the same data: fastleuk evaluate RUN --on DATA."
            )
    if not chosen:
        has = ", ".join(place.name for place in there) or "nothing of other data"
        raise ConfigError(
            f"--on {on}: {run_dir} was not evaluated on these data; it has {has}. First: "
            f"fastleuk evaluate {quoted(run_dir)} --on DATA"
        )
    return chosen[0]


def _content(place: Path) -> str:
    try:
        return str(read_figures(place / METRICS)["on"]["content"])
    except (DataError, KeyError, TypeError):
        return ""


def _on(record: RunRecord, place: Path) -> RunRecord:
    """Return a run's record with figures and predictions on other data."""
    try:
        figures = read_figures(place / METRICS)
        if not isinstance(figures.get("on"), dict) or "content" not in figures["on"]:
            raise DataError(f"{METRICS} doesn't tell the data that it is of.")
        path = place / PREDICTIONS
        rows = read_rows(path, ("path", "subject", "label", "predicted"))
        keys = [row.get("sha256") or row["path"] for row in rows]
        order = sorted(range(len(rows)), key=lambda n: (keys[n], rows[n]["path"]))
        rows = [rows[n] for n in order]
        tested = Tested(
            samples=tuple((keys[n], row["label"]) for n, row in zip(order, rows, strict=True)),
            predicted=tuple(row["predicted"] for row in rows),
            groups=tuple(row.get("group") or row["subject"] for row in rows),
            probabilities=_probabilities(path.name, rows),
        )
    except (DataError, OSError) as error:
        raise CheckpointError(f"{place}: {error}") from error
    return dataclasses.replace(record, figures=figures, tested=tested)


def _check_same_images(first: RunRecord, other: RunRecord, name: str) -> None:
    assert first.tested is not None
    assert other.tested is not None
    ours, theirs = set(first.tested.samples), set(other.tested.samples)
    if first.tested.samples != other.tested.samples:
        raise ConfigError(
            f"--on {name}: {first.path} and {other.path} were evaluated on other images or labels "
            f"({len(ours & theirs)} shared, {len(ours - theirs)} only in the first, "
            f"{len(theirs - ours)} only in the second). Evaluate both on the same: fastleuk "
            "evaluate RUN --on DATA."
        )


def _tested(run_dir: Path, split: dict[str, dict[str, str]]) -> Tested | None:
    path = run_dir / "test_predictions.csv"
    if not path.is_file():
        return None
    rows = read_rows(path, ("path", "label", "predicted"))
    strangers = [row["path"] for row in rows if row["path"] not in split]
    if strangers:
        raise DataError(f"{path.name} has {strangers[0]}, which is not in split.csv.")
    rows.sort(key=lambda row: split[row["path"]]["sha256"])
    return Tested(
        samples=tuple((split[row["path"]]["sha256"], row["label"]) for row in rows),
        predicted=tuple(row["predicted"] for row in rows),
        groups=tuple(split[row["path"]]["group"] for row in rows),
        probabilities=_probabilities(path.name, rows),
    )


def _probabilities(name: str, rows: Sequence[dict[str, str]]) -> dict[str, np.ndarray]:
    """Return the columns ``p_<class>``.

    Raises:
        DataError: a value that is no number from 0 to 1.
    """
    found = {}
    for key in rows[0]:
        if not (key or "").startswith("p_"):
            continue
        try:
            values = np.array([float(row[key]) for row in rows])
        except (TypeError, ValueError) as error:
            raise DataError(f"{name}, column {key}: {error}.") from error
        bad = np.flatnonzero(~((values >= 0) & (values <= 1)))
        if len(bad):
            row = rows[bad[0]]
            raise DataError(
                f"{name}: {row['path']} has {key} = {row[key]}, which is no probability. Write the "
                "predictions anew with fastleuk evaluate."
            )
        found[key[2:]] = values
    return found
