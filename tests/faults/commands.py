"""Commands as a user gives them, and the places where they fail."""

import contextlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fastleuk.cli import app
from fastleuk.os_errors import as_refusal
from tests.makers.cells import SUBJECT_REGEX

TINY = ("--backbone", "test_efficientnet", "--weights", "none", "--size", "48", "--epochs", "2",
        "--batch-size", "8", "--workers", "1", "--device", "cpu",
        "--val-fraction", "0.25", "--test-fraction", "0.25")  # fmt: skip


def of(data: Path) -> tuple[str, ...]:
    """Options that name the data set of :func:`tests.makers.cells.write_cells`."""
    return "--data", str(data), "--subject-regex", SUBJECT_REGEX


@dataclass(frozen=True)
class Outcome:
    """How a command has ended: 0, or 2 and one message."""

    code: int
    text: str


def give(*words: object) -> Outcome:
    """Run a command in this process; an error that the user would see as a traceback fails."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is None or isinstance(result.exception, SystemExit):
        return Outcome(result.exit_code, result.output)
    told = as_refusal(result.exception)
    if told is None:
        raise result.exception
    return Outcome(told.exit_code, str(told))


def temporaries(folder: Path) -> list[str]:
    """What a command that has ended should not have left: half-written files."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.name.endswith((".tmp", ".partial")) or path.name.startswith(".tmp")
    )


@contextlib.contextmanager
def mounted(folder: Path, *options: str):
    """A tmpfs; the test is skipped where it may not be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a tmpfs can't be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def read_only(folder: Path):
    """The folder, mounted over itself so that not even root may write."""
    for options in (["--bind", str(folder), str(folder)], ["-o", "remount,ro,bind", str(folder)]):
        done = subprocess.run(["mount", *options], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{folder} can't be mounted read-only here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
