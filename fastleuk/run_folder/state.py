"""How far the run in a folder is, and the mark that says it has ended."""

from __future__ import annotations

import json
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastleuk.csv_files import read_table
from fastleuk.errors import DataError
from fastleuk.files import is_abandoned, write_json
from fastleuk.locks import Owner, is_held, read_owner
from fastleuk.run_folder.names import (
    BEGINNING,
    BEST,
    CONFIG,
    LAST,
    LOCK,
    MARK,
    METRICS,
    RESULTS,
    TEST_METRICS,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NEW, RUNNING, INTERRUPTED = "new", "running", "interrupted"
BEGUN, ENDED, TESTED = "begun", "ended", "tested"

QUIET_SECONDS = 600
"""Where no lock can tell (a run of an earlier version, or of another machine): a run may still be
running if it wrote something that recently, or within three of its epochs."""


@dataclass(frozen=True, slots=True)
class RunState:
    """What :func:`read_state` finds.

    Attributes:
        name: :data:`NEW`, :data:`RUNNING`, :data:`INTERRUPTED`, :data:`ENDED` or :data:`TESTED`.
        epochs: Epochs done.
        planned: Epochs asked for, where the configuration can be read.
        owner: Who trains it, or was killed at it.
        certain: False where ``running`` is only likely: no lock can tell.
    """

    name: str
    epochs: int
    planned: int | None
    owner: Owner | None
    certain: bool = True

    @property
    def progress(self) -> str:
        """Return such as ``epoch 1 of 3``."""
        return f"epoch {self.epochs} of {'?' if self.planned is None else self.planned}"


def read_state(run_dir: Path) -> RunState:
    """Return the state of a run; not to be asked by the process that trains it."""
    scores, (planned, _) = _scores(run_dir), _limits(run_dir)
    owner, certain = read_owner(run_dir / LOCK), True
    try:
        held = is_held(run_dir / LOCK)
    except OSError:  # read-only: somebody else's
        held, certain = False, False
    if held:
        name = RUNNING
    elif has_ended(run_dir):
        name = TESTED if is_tested(run_dir) else ENDED
    else:
        elsewhere = owner is not None and owner.host != socket.gethostname()
        certain = certain and (run_dir / LOCK).exists() and not elsewhere
        if not certain and _wrote_lately(run_dir):
            name = RUNNING
        else:
            name = NEW if certain and is_new(run_dir) else INTERRUPTED
    return RunState(name, len(scores or ()), planned, owner, certain)


def set_mark(run_dir: Path, state: str) -> None:
    """Mark the run as :data:`BEGUN`, :data:`ENDED` or :data:`TESTED`.

    Only a process that trains it may; but where it has ended, its test may be repeated by any.
    """
    write_json(run_dir / MARK, {"format": 1, "state": state})


def has_ended(run_dir: Path) -> bool:
    """Say whether no epoch of the run is left, or patience had run out.

    A run of an earlier version has no mark. It has ended where its ``metrics.csv`` holds all
    epochs, or as many without a better one as its patience; and, since it can't go on, where it
    has test figures and no checkpoint.
    """
    mark = _mark(run_dir)
    if mark is not None:
        return mark in (ENDED, TESTED)
    scores, (planned, patience) = _scores(run_dir), _limits(run_dir)
    if scores and planned is not None and patience is not None:
        stale = len(scores) - 1 - scores.index(max(scores))
        if len(scores) >= planned or stale >= patience:
            return True
    results = (run_dir / TEST_METRICS).is_file()
    if (run_dir / LAST).is_file():
        return results and scores is None
    return results or (scores is None and (run_dir / BEST).is_file())


def is_tested(run_dir: Path) -> bool:
    """Say whether the run has ended and its test figures are those of its final weights."""
    if not all((run_dir / name).is_file() for name in RESULTS):
        return False
    mark = _mark(run_dir)
    return mark == TESTED or (mark is None and has_ended(run_dir))


def is_new(run_dir: Path) -> bool:
    """Say whether a run's beginning is all there is: no checkpoint, no weights, no figures."""
    names = [file.name for file in run_dir.iterdir()]
    return all(name in BEGINNING or _is_temporary(name) for name in names)


def not_ended(run_dir: Path) -> str:
    """Return a line where the run has not ended, else nothing."""
    if has_ended(run_dir):
        return ""
    planned, done = _limits(run_dir)[0], len(_scores(run_dir) or ())
    state = RunState(BEGUN, done, planned, None)
    return f"this run has not ended: {state.progress}"


def clear_temporaries(run_dir: Path) -> None:
    """Remove what a killed process was writing; only for the process that holds the lock.

    Files that ``fastleuk evaluate`` may be writing on another machine at this moment, without the
    lock, go when they are an hour old.
    """
    for file in run_dir.iterdir():
        if not _is_temporary(file.name):
            continue
        training = file.name[1:].startswith(("last.", "best", "metrics.", "config.", "run."))
        try:
            if training or is_abandoned(file) or time.time() - file.stat().st_mtime > 3600:
                file.unlink()
        except FileNotFoundError:
            pass


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".tmp")


def _mark(run_dir: Path) -> str | None:
    try:
        found = json.loads((run_dir / MARK).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return BEGUN
    return str(found.get("state")) if isinstance(found, dict) else BEGUN


def _limits(run_dir: Path) -> tuple[int | None, int | None]:
    """Return ``epochs`` and ``patience`` of the configuration, None where it doesn't say."""
    try:
        optim: Any = tomllib.loads((run_dir / CONFIG).read_text(encoding="utf-8"))["optim"]
        numbers = [optim.get("epochs"), optim.get("patience")]
    except (OSError, ValueError, KeyError, AttributeError):
        return None, None
    epochs, patience = (n if isinstance(n, int) else None for n in numbers)
    return epochs, patience


def _scores(run_dir: Path) -> list[float] | None:
    """Return the validation macro-F1 of each epoch; None where ``metrics.csv`` can't tell."""
    try:
        rows = read_table(run_dir / METRICS, ("val_f1_macro",))
        return [float(row["val_f1_macro"]) for row in rows]
    except (DataError, ValueError):
        return None


def _wrote_lately(run_dir: Path) -> bool:
    try:
        last = read_table(run_dir / METRICS, ("epoch",))[-1]
        epoch = sum(float(last.get(name) or 0) for name in ("seconds", "val_seconds"))
    except (DataError, ValueError):
        epoch = 0.0
    times = [file.stat().st_mtime for file in run_dir.iterdir() if file.is_file()]
    return time.time() - max(times, default=0.0) < max(QUIET_SECONDS, 3 * epoch)
