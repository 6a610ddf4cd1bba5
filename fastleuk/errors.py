"""Errors that a user can mend.

The text of each says what was found, where, and what to do about it. The command line
prints it without a traceback and exits with code 2 (``--debug`` shows the traceback).
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")


class FastleukError(Exception):
    """Base of every error that the user's input, files or machine can cause."""

    exit_code = 2


class ConfigError(FastleukError, ValueError):
    """An option, a configuration key or an argument has a value that makes no sense."""


class DataError(FastleukError):
    """The data set on disk can't be used as it is: missing, unreadable or inconsistent."""


class WeightsError(FastleukError):
    """Pretrained weights can't be reached, read, or don't fit the model."""


class CheckpointError(FastleukError):
    """A run folder or a checkpoint is missing, damaged, or belongs to another run."""


class MissingDependencyError(FastleukError):
    """An optional package or a device that the chosen option needs is not there."""


def did_you_mean(value: str, known: Iterable[str], count: int = 1) -> str:
    """Return a hint at the known names that are nearest, to stand behind a sentence; or ``""``.

    >>> did_you_mean("xyz", ["f1_macro", "auc"]), did_you_mean("pape", ["paper", "none"])
    ('', ' Did you mean paper?')
    """
    near = difflib.get_close_matches(value, list(known), n=count)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def as_arguments(text: str) -> str:
    """Return ``text`` with options named as arguments of Python; shell commands remain.

    >>> as_arguments("--batch-size 0: see `fastleuk predict --help`, or leave out --tta.")
    'batch_size 0: see `fastleuk predict --help`, or leave out tta.'
    """
    parts = text.split("`")
    parts[::2] = [_OPTION.sub(lambda m: m[1].replace("-", "_"), part) for part in parts[::2]]
    return "`".join(parts)


@contextmanager
def named_as_arguments() -> Iterator[None]:
    """Name options as arguments in the errors raised within: for callers from Python."""
    try:
        yield
    except FastleukError as error:
        error.args = (as_arguments(str(error)), *error.args[1:])
        raise


def one_line(text: str) -> str:
    r"""Return ``text`` with its line ends written out: file names may hold some.

    >>> one_line("two\nlines")
    'two\\nlines'
    """
    return text.replace("\r", "\\r").replace("\n", "\\n")


def listed(items: list[str], limit: int = 20) -> str:
    """Lay out ``items`` one a line, indented, naming at most ``limit`` and counting the rest."""
    lines = [f"  {one_line(item)}" for item in items[:limit]]
    if len(items) > limit:
        lines.append(f"  … and {len(items) - limit} more")
    return "\n".join(lines)
