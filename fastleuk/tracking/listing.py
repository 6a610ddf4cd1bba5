"""The list of runs, sorted, as a table that turns into blocks where the terminal is narrow."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

from fastleuk.errors import ConfigError, did_you_mean
from fastleuk.tables import text_lines
from fastleuk.tracking.runs import RunInfo

SORTS: dict[str, tuple[str, bool]] = {
    "date": ("date", True),
    "name": ("name", False),
    "backbone": ("backbone", False),
    "data": ("data", False),
    "split": ("split", False),
    "state": ("state", False),
    "epochs": ("epochs", True),
    "val-f1": ("val_f1_macro", True),
    "f1": ("test_f1_macro", True),
    "auc": ("test_auc", True),
    "accuracy": ("test_accuracy", True),
}
"""Attribute by ``--sort`` key, and whether the largest comes first."""


def sort_runs(runs: Sequence[RunInfo], key: str, *, reverse: bool = False) -> list[RunInfo]:
    """Sort by a key of :data:`SORTS`, what is unknown last; equal ones stay by name.

    Raises:
        ConfigError: an unknown key.
    """
    if key not in SORTS:
        hint = did_you_mean(key, SORTS, 2)
        raise ConfigError(f"--sort is {key!r}, but must be one of {', '.join(SORTS)}.{hint}")
    attribute, largest_first = SORTS[key]
    by_name = sorted(runs, key=lambda run: run.name)
    known = [run for run in by_name if getattr(run, attribute) is not None]
    known.sort(key=lambda run: getattr(run, attribute), reverse=largest_first != reverse)
    return known + [run for run in by_name if getattr(run, attribute) is None]


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _data(run: RunInfo) -> str:
    return f"{run.data or '–'}{' SYNTHETIC' if run.synthetic else ''}"


def _epochs(run: RunInfo) -> str:
    return f"{run.epochs}/{'?' if run.epochs_planned is None else run.epochs_planned}"


COLUMNS: dict[str, Callable[[RunInfo], str]] = {
    "run": lambda run: run.name,
    "date": lambda run: run.date,
    "backbone": lambda run: run.backbone or "–",
    "data": _data,
    "split": lambda run: run.split or "–",
    "epochs": _epochs,
    "val F1": lambda run: _figure(run.val_f1_macro),
    "test F1": lambda run: _figure(run.test_f1_macro),
    "AUC": lambda run: _figure(run.test_auc),
    "accuracy": lambda run: _figure(run.test_accuracy),
    "state": lambda run: run.state,
}
_RIGHT = ("epochs", "val F1", "test F1", "AUC", "accuracy")
_ALIGN = "".join("r" if name in _RIGHT else "l" for name in COLUMNS)


def format_runs(runs: Sequence[RunInfo], *, width: int) -> str:
    """Lay runs out for ``width`` columns: a table if it fits, else a block for each run."""
    cells = [[column(run) for column in COLUMNS.values()] for run in runs]
    table = text_lines([list(COLUMNS), *cells], align=_ALIGN)
    if max(map(len, table)) > width:
        return "\n\n".join(_block(run, width) for run in runs)
    lines = table[:1]
    for line, run in zip(table[1:], runs, strict=True):
        lines.append(line)
        lines += _wrapped(_remark(run), width)
    return "\n".join(lines)


def _block(run: RunInfo, width: int) -> str:
    facts = [run.state, run.date, run.backbone or "–", _data(run), f"split {run.split or '–'}"]
    facts.append(f"{_epochs(run)} epochs")
    if run.val_f1_macro is not None:
        facts.append(f"val F1 {_figure(run.val_f1_macro)}")
    if run.test_f1_macro is not None:
        facts += [f"test F1 {_figure(run.test_f1_macro)}", f"AUC {_figure(run.test_auc)}"]
        facts.append(f"accuracy {_figure(run.test_accuracy)}")
    unbroken = ", ".join(fact.replace(" ", "\0") for fact in facts)
    lines = [line.replace("\0", " ") for line in _wrapped(unbroken, width)]
    return "\n".join([run.name, *lines, *_wrapped(_remark(run), width)])


def _remark(run: RunInfo) -> str:
    return run.problem or (f"trained by {run.owner}" if run.owner else "")


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        max(width, 20),
        initial_indent="  ",
        subsequent_indent="  ",
        break_on_hyphens=False,
    )
