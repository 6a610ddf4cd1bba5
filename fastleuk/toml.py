"""TOML text of configurations and policies; the standard library reads TOML but can't write it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def dumps(values: Mapping[str, Any]) -> str:
    r"""Write TOML.

    Args:
        values: Strings, booleans, integers, floats, lists of them, and tables (mappings) by name.

    Raises:
        TypeError: a value is of another type; None has no form in TOML.

    >>> print(dumps({"seed": 7, "model": {"backbone": "resnet18", "mean": [0.5, 0.5]}}), end="")
    seed = 7
    <BLANKLINE>
    [model]
    backbone = "resnet18"
    mean = [
        0.5,
        0.5,
    ]
    """
    return "\n".join(_tables(values, ()))


def _tables(values: Mapping[str, Any], place: tuple[str, ...]) -> list[str]:
    """Blocks of lines, one for each table: its own values come before the tables within it."""
    own = {name: value for name, value in values.items() if not isinstance(value, Mapping)}
    lines = [f"{_key(name)} = {_value(value)}\n" for name, value in own.items()]
    blocks = []
    if place and (own or len(values) == 0):
        lines = [f"[{'.'.join(map(_key, place))}]\n", *lines]
    if lines:
        blocks.append("".join(lines))
    for name, value in values.items():
        if isinstance(value, Mapping):
            blocks += _tables(value, (*place, name))
    return blocks


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _value(value: Any, indent: str = "") -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):  # TOML's escapes are JSON's, and delete is not among them
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        inner = indent + "    "
        items = "".join(f"{inner}{_value(item, inner)},\n" for item in value)
        return f"[\n{items}{indent}]" if items else "[]"
    raise TypeError(f"{value!r} can't be written as TOML")
