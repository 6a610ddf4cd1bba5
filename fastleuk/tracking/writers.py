"""Live figures beside ``metrics.csv``: TensorBoard and Weights & Biases, each only if asked for."""

from __future__ import annotations

import dataclasses
import importlib
import math
import numbers
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from fastleuk.config import Config
from fastleuk.errors import FastleukError, MissingDependencyError
from fastleuk.files import write_text

TENSORBOARD = "tensorboard"
WANDB = "wandb"
WANDB_ID = "fastleuk-id.txt"
"""File in RUN/wandb that keeps the run's id, so that a resumed run goes on under it."""


class Writer(Protocol):
    """Somewhere that scalars go."""

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Write ``scalars`` by tag for ``step``."""

    def close(self) -> None:
        """Write out what is buffered."""


class Writers:
    """Every writer that was asked for, as one; with none it does nothing.

    Args:
        writers: Where each row goes.
    """

    def __init__(self, writers: Sequence[Writer] = ()) -> None:
        self._writers = list(writers)

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Write the finite numbers of a ``metrics.csv`` row; ``step`` is its epoch, from 1."""
        scalars = scalars_of(row)
        for writer in self._writers:
            writer.log(scalars, step)

    def close(self) -> None:
        """Write out what is buffered; more than once does no harm."""
        writers, self._writers = self._writers, []
        for writer in writers:
            writer.close()

    def __enter__(self) -> Writers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_writers(run_dir: Path, config: Config, *, tensorboard: bool, wandb: bool) -> Writers:
    """Open the writers that were asked for; only they are imported.

    TensorBoard's events go into ``RUN/tensorboard``, the files of Weights & Biases into
    ``RUN/wandb``. Both may be opened again on a resumed run: nothing stands there twice.

    Args:
        run_dir: The run folder; it exists.
        config: Stored with the figures.
        tensorboard: Write TensorBoard events.
        wandb: Log to Weights & Biases; ``WANDB_MODE``, ``WANDB_PROJECT`` and its other variables
            are respected.

    Raises:
        MissingDependencyError: a package that was asked for is not installed.
        FastleukError: Weights & Biases could not start.
    """
    check_writers(tensorboard=tensorboard, wandb=wandb)
    writers: list[Writer] = []
    if tensorboard:
        writers.append(TensorBoardWriter(run_dir / TENSORBOARD, config))
    if wandb:
        writers.append(WandbWriter(run_dir, config))
    return Writers(writers)


def check_writers(*, tensorboard: bool, wandb: bool) -> None:
    """Refuse a writer whose package is missing, before any work starts.

    Raises:
        MissingDependencyError: the package is not installed; the text has the pip command.
    """
    for asked, option, module in (
        (tensorboard, "--tensorboard", "torch.utils.tensorboard"),
        (wandb, "--wandb", "wandb"),
    ):
        if not asked:
            continue
        try:
            importlib.import_module(module)
        except ImportError as error:
            package = option.removeprefix("--")
            raise MissingDependencyError(
                f"{option} needs the package {package}, which can't be imported ({error}): "
                f"pip install 'fastleuk[{package}]'."
            ) from error


def scalars_of(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of a row under grouped tags; the epoch is the step and is left out.

    >>> scalars_of({"epoch": 3, "train_loss": 0.5, "val_auc": None, "lr": 0.1, "val_seconds": 2})
    {'train/loss': 0.5, 'optim/lr': 0.1, 'time/val_seconds': 2.0}
    """
    return {
        _tag(name): float(value)
        for name, value in row.items()
        if name != "epoch" and isinstance(value, numbers.Real) and math.isfinite(value)
    }


def _tag(name: str) -> str:
    if name.endswith("seconds") or name in ("images_per_s", "data_wait"):
        return f"time/{name}"
    if name.startswith("lr"):
        return f"optim/{name}"
    group, _, figure = name.partition("_")
    grouped = figure and group in ("train", "val", "test", "ema")
    return f"{group}/{figure}" if grouped else f"run/{name}"


class TensorBoardWriter:
    """Events in a folder of their own.

    The event file is opened at the first row, since only that says from which step on the events
    of an earlier, interrupted process are void (``purge_step``).
    """

    def __init__(self, folder: Path, config: Config) -> None:
        self._folder, self._config = folder, config
        self._writer: Any = None

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Write ``scalars``; on the disk before this returns."""
        if self._writer is None:
            self._writer = self._open(step)
        for tag, value in scalars.items():
            self._writer.add_scalar(tag, value, step)
        self._writer.flush()

    def _open(self, step: int) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        again = any(self._folder.glob("events.out.tfevents.*"))
        writer = SummaryWriter(str(self._folder), purge_step=step if again else None)
        if not again:
            text = "".join(f"    {line}\n" for line in self._config.to_toml().splitlines())
            writer.add_text("config", text, 0)  # indented: Markdown's block of code
        return writer

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class WandbWriter:
    """A run of Weights & Biases under an id that stays the run folder's."""

    def __init__(self, run_dir: Path, config: Config) -> None:
        import wandb

        folder = run_dir / WANDB
        folder.mkdir(exist_ok=True)
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "fastleuk"),
                name=os.environ.get("WANDB_NAME", run_dir.resolve().name),
                id=_stable_id(folder / WANDB_ID),
                resume="allow",
                dir=str(run_dir),  # wandb itself adds "wandb"
                config=dataclasses.asdict(config),
            )
        except Exception as error:  # its own errors, and those of several network libraries
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise FastleukError(
                f"Weights & Biases could not start: {reason}\nRun `wandb login`, set "
                "WANDB_MODE=offline to log without a connection, or leave out --wandb."
            ) from error

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Log ``scalars``, unless an earlier process of this run has logged that step."""
        if step >= self._run.step:
            self._run.log(dict(scalars), step=step)

    def close(self) -> None:
        """Finish the run; wandb uploads what is left."""
        self._run.finish()


def _stable_id(path: Path) -> str:
    try:
        known = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        known = ""
    if not known:
        known = uuid.uuid4().hex[:12]
        write_text(path, f"{known}\n")
    return known
