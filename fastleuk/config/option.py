"""A configuration field with its help, and the checks of its value."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from typing import Any, TypeVar

from fastleuk.errors import ConfigError
from fastleuk.files import expand_home

Value = TypeVar("Value")


def option(default: Value, help: str, *, path: bool = False) -> Value:
    """Return a dataclass field; ``help`` is what the command line says about it.

    The name of a field is that of its option: ``batch_size`` is ``--batch-size``. With ``path`` its
    value can be one, in which :func:`expand_paths` expands ``~``.
    """
    metadata = {"help": help, "path": path}
    field: Value = dataclasses.field(default=default, metadata=metadata)
    return field


def expand_paths(section: Any) -> None:
    """Expand ``~`` in the paths of a frozen ``section``, as a shell would have done."""
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if field.metadata["path"] and value.startswith("~"):
            object.__setattr__(section, field.name, str(expand_home(value, flag(field.name))))


def device_name(text: str) -> str:
    """Return a device's name as torch has it: DALI, and many users, write ``gpu`` for ``cuda``.

    >>> device_name("GPU:1"), device_name("cpu")
    ('cuda:1', 'cpu')
    """
    kind, colon, index = text.strip().lower().partition(":")
    return f"{'cuda' if kind == 'gpu' else kind}{colon}{index}"


def flag(name: str) -> str:
    """Return a field's option.

    >>> flag("batch_size")
    '--batch-size'
    """
    return f"--{name.replace('_', '-')}"


def require(ok: bool, name: str, value: object, rule: str) -> None:
    """Refuse the ``value`` of field ``name`` unless ``ok``.

    Raises:
        ConfigError: quotes the value and the rule.
    """
    if not ok:
        raise ConfigError(f"{flag(name)} is {value!r}, but {rule}.")


def one_of(name: str, value: str, choices: Iterable[str]) -> None:
    """Refuse a ``value`` that is none of ``choices``; a near one is suggested."""
    known = list(choices)
    near = difflib.get_close_matches(value, known, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    require(value in known, name, value, f"must be one of {', '.join(known)}{hint}")
