"""Read run folders as they are: finished, interrupted, half-made or damaged. Needs no torch."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastleuk.csv_files import read_table
from fastleuk.errors import DataError
from fastleuk.run_folder.names import BEST, CONFIG, MARKS, METRICS, TEST_METRICS
from fastleuk.run_folder.state import ENDED, RUNNING, TESTED, read_state

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_STARTED = re.compile(r"^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)\d\d\b")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunInfo:
    """One line of ``fastleuk runs``; None is what the folder doesn't say."""

    name: str
    """Path below the folder that was listed."""
    path: str
    date: str
    """Local start, ``YYYY-MM-DD HH:MM``: from the folder's name, else the age of config.toml."""
    backbone: str | None = None
    data: str | None = None
    synthetic: bool | None = None
    split: str | None = None
    epochs: int = 0
    """Epochs done."""
    epochs_planned: int | None = None
    val_f1_macro: float | None = None
    """The best over the epochs."""
    test_f1_macro: float | None = None
    test_auc: float | None = None
    test_accuracy: float | None = None
    positive_class: str | None = None
    state: str = ""
    """``finished``; ``ended`` (not tested yet); ``running``, or ``running?`` where no lock can tell
    but something was written lately; ``interrupted``; ``new`` (no checkpoint yet); ``damaged``."""
    owner: str = ""
    """Host, process and start of what trains it."""
    problem: str = ""
    """What is wrong with a damaged one."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, fit for JSON."""
        return dataclasses.asdict(self)


def find_runs(folder: Path) -> list[RunInfo]:
    """List every run in ``folder`` and below, by path.

    Raises:
        DataError: there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. Name the one that your runs are in.")
    found = []
    for place, folders, files in os.walk(folder):
        skipped = ("tensorboard", "wandb")
        folders[:] = sorted(n for n in folders if n not in skipped and not n.startswith("."))
        if _is_run(Path(place), set(files)):
            below = Path(place).relative_to(folder).as_posix()
            name = folder.resolve().name if below == "." else below
            found.append(read_run(Path(place), name=os.fsencode(name).decode("utf-8", "replace")))
    return found


def _is_run(place: Path, files: set[str]) -> bool:
    marks = MARKS & files
    if marks != {CONFIG}:
        return len(marks) >= 2
    try:
        return {"data", "model", "run"} <= read_tables(place / CONFIG).keys()
    except DataError:
        return False


def read_run(run_dir: Path, *, name: str) -> RunInfo:
    """Read one run folder; what can't be read is a ``problem``, never an error."""
    problems: list[str] = []

    def attempt(read: Any, file: str, empty: Any) -> Any:
        try:
            return read(run_dir / file)
        except DataError as error:
            problems.append(str(error))
            return empty

    tables = attempt(read_tables, CONFIG, {})
    data, model = _table(tables, "data"), _table(tables, "model")
    if not problems and not _text(model.get("backbone")):
        problems.append("config.toml names no backbone.")
    rows: list[dict[str, float | None]] = []
    if (run_dir / METRICS).exists():
        rows = attempt(read_metrics, METRICS, [])
    figures: Mapping[str, Any] = {}
    if (run_dir / TEST_METRICS).exists():
        figures = attempt(read_figures, TEST_METRICS, {})
    scores = [row["val_f1_macro"] for row in rows if row.get("val_f1_macro") is not None]
    where = data.get("data")
    state, owner = _state(run_dir)
    return RunInfo(
        name=name,
        path=str(run_dir),
        date=_date(run_dir),
        backbone=_text(model.get("backbone") or figures.get("backbone")),
        data=None if not isinstance(where, str) else Path(where).name or "demo",
        synthetic=_synthetic(run_dir, where, figures),
        split=_text(data.get("split") or figures.get("split")),
        epochs=len(rows),
        epochs_planned=_table(tables, "optim").get("epochs"),
        val_f1_macro=max((score for score in scores if score is not None), default=None),
        test_f1_macro=_number(figures.get("f1_macro")),
        test_auc=_number(figures.get("auc")),
        test_accuracy=_number(figures.get("accuracy")),
        positive_class=_text(figures.get("positive_class")),
        state="damaged" if problems else state,
        owner=owner,
        problem=" ".join(problems),
    )


def _table(tables: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = tables.get(name)
    return table if isinstance(table, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _date(run_dir: Path) -> str:
    named = _STARTED.match(run_dir.resolve().name)
    if named:
        year, month, day, hour, minute = named.groups()
        return f"{year}-{month}-{day} {hour}:{minute}"
    config = run_dir / CONFIG
    moment = (config if config.exists() else run_dir).stat().st_mtime
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


def _synthetic(run_dir: Path, where: Any, figures: Mapping[str, Any]) -> bool | None:
    """Say whether the cells are drawn ones: no data named, or the run's own files say so."""
    if where == "":
        return True
    if isinstance(figures.get("synthetic"), bool):
        return figures["synthetic"]
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(run_dir / BEST, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get("fastleuk", "{}"))
    except (SafetensorError, OSError, ValueError):
        return None
    return metadata.get("synthetic") if isinstance(metadata, dict) else None


def _state(run_dir: Path) -> tuple[str, str]:
    """Return the state's name here, and who trains the run."""
    found = read_state(run_dir)
    if found.name == RUNNING:
        return ("running" if found.certain else "running?"), str(found.owner or "")
    return {TESTED: "finished", ENDED: "ended"}.get(found.name, found.name), ""


def read_tables(path: Path) -> dict[str, Any]:
    """Read a TOML file, whichever version of fastleuk wrote it.

    Raises:
        DataError: missing, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path.name} is missing.") from error
    except (OSError, ValueError) as error:  # tomllib's and Unicode's errors are ValueErrors
        raise DataError(f"{path.name} can't be read: {error}.") from error


def read_metrics(path: Path) -> list[dict[str, float | None]]:
    """Read ``metrics.csv``: one row an epoch; an empty cell is None.

    Raises:
        DataError: it can't be read, or a figure in it is no number.
    """
    try:
        rows = read_table(path, ("epoch",), empty=True)
        return [{name: _cell(name, text) for name, text in row.items()} for row in rows]
    except ValueError as error:
        raise DataError(f"{path.name} can't be read: {error}.") from error


def _cell(name: str, text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        if name.startswith(("epoch", "train_", "val_", "lr")):
            raise
        return None  # a column of another version


def read_figures(path: Path) -> dict[str, Any]:
    """Read ``test_metrics.json``.

    Raises:
        DataError: it can't be read, or holds no figures.
    """
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} can't be read: {error}.") from error
    if not isinstance(figures, dict) or not isinstance(figures.get("f1_macro"), (int, float)):
        raise DataError(f"{path.name} holds no figures.")
    return figures
