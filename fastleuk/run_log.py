"""What a run reports: printed, unless ``--quiet``, and kept in ``log.txt`` of its folder."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

import fastleuk
from fastleuk.errors import FastleukError

LOG = "log.txt"
QUIET = "FASTLEUK_QUIET"
"""Environment variable of ``--quiet``; processes that are started inherit it."""

Report = Callable[[str], None]
Function = TypeVar("Function", bound=Callable[..., Any])


def quiet() -> bool:
    """Say whether only errors and results are to be printed."""
    return bool(os.environ.get(QUIET))


def result(report: Report, text: str) -> None:
    """Report what a command was asked for: ``--quiet`` doesn't hide it."""
    getattr(report, "result", report)(text)


class Console:
    """Prints, or with ``--quiet`` only results; :data:`say` is one."""

    def __call__(self, text: str) -> None:
        """Print a line on the way."""
        if not quiet():
            print(text)

    def result(self, text: str) -> None:
        """Print a result."""
        print(text)


say = Console()


class RunLog:
    """Passes on what is reported, and appends it to a run folder's ``log.txt``.

    What is reported before the folder exists is kept and written when it is opened. A log that
    can't be written is told of once, and ends no run.

    Args:
        report: Takes the same lines.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        self._waiting: list[str] = []
        self._file: IO[str] | None = None

    def __call__(self, text: str) -> None:
        """Report a line on the way."""
        self._keep(text)
        self.report(text)

    def result(self, text: str) -> None:
        """Report a result."""
        self._keep(text)
        result(self.report, text)

    def open(self, run_dir: Path) -> None:
        """Append to ``log.txt`` in ``run_dir`` from now on, if that isn't done already."""
        if self._file is not None:
            return
        try:
            self._file = (run_dir / LOG).open(
                "a", encoding="utf-8", errors="backslashreplace", buffering=1
            )
        except OSError as error:
            self._lost(error)
            return
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        begun = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {socket.gethostname()} pid {os.getpid()}"
        waiting, self._waiting = self._waiting, []
        for text in (f"# {begun}, fastleuk {fastleuk.__version__}: {command}", *waiting):
            self._keep(text)

    def close(self, error: BaseException | None = None) -> None:
        """Close the log; an ``error`` that ends the run is its last line."""
        if error is not None and self._file is not None:
            if isinstance(error, FastleukError):
                self._keep(f"error: {error}")
            else:
                self._keep("".join(traceback.format_exception(error)).rstrip())
        if self._file is not None:
            file, self._file = self._file, None
            try:
                file.close()
            except OSError as problem:
                self._lost(problem)

    def _keep(self, text: str) -> None:
        if self._file is None:
            self._waiting.append(text)
            return
        try:
            self._file.write(f"{text}\n")
        except OSError as error:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):  # the same disk, as full as before
                file.close()
            self._lost(error)

    def _lost(self, error: OSError) -> None:
        self.report(f"note: {LOG} in the run folder can't be written ({error.strerror or error}).")


def logged(function: Function) -> Function:
    """Make ``function`` keep what it reports in the log that :func:`open_log` opens within it.

    The function has a keyword argument ``report``. Where that is a log already, as in an evaluation
    that ends a training, nothing changes.
    """

    @functools.wraps(function)
    def wrapper(*args: Any, report: Report | None = None, **kwargs: Any) -> Any:
        report = report or say
        if isinstance(report, RunLog):
            return function(*args, report=report, **kwargs)
        log = RunLog(report)
        try:
            found = function(*args, report=log, **kwargs)
        except BaseException as error:
            log.close(error)
            raise
        log.close()
        return found

    return wrapper  # type: ignore[return-value]


def open_log(report: Report, run_dir: Path) -> None:
    """Append what is reported to ``log.txt`` in ``run_dir``, where ``report`` is a log."""
    if isinstance(report, RunLog):
        report.open(run_dir)
