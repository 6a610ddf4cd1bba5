"""Expand patterns of files: wildcards and brace ranges; what exists is meant literally."""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Iterator

from fastleuk.errors import DataError, listed

_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?")
_BRACES = re.compile(r"\{([^{}]*)\}")
_MOST = 1_000_000


def is_pattern(text: str) -> bool:
    """Check whether a name may be a pattern: it has a wildcard, or braces with alternatives.

    >>> is_pattern("shards/{000..015}.tar"), is_pattern("a[1]/*.tar"), is_pattern("{x}.tar")
    (True, True, False)
    """
    return glob.has_magic(text) or any(map(_alternatives, _BRACES.findall(text)))


def expand_pattern(pattern: str) -> tuple[str, list[str]]:
    """List the files and folders that a pattern names.

    Folders at its beginning that exist are taken literally, brackets and braces in their names
    included. In the rest ``*``, ``?``, ``[…]`` and ``**`` are wildcards, ``{000..015}`` a range
    of numbers (with a step: ``{0..9..2}``) and ``{a,b}`` a choice, as in a shell and WebDataset.

    Returns:
        The literal beginning, and the paths, sorted for each choice of the braces.

    Raises:
        DataError: what a range or a choice names isn't there, or the range is too long.
    """
    fixed, rest = _literal_beginning(pattern)
    found: list[str] = []
    missing: list[str] = []
    for choice in _expand_braces(rest, pattern):
        path = os.path.join(fixed, choice)
        if os.path.lexists(path):
            found.append(path)
        elif glob.has_magic(choice):
            matches = _glob(fixed, choice)
            found += matches
            missing += [] if matches else [path]
        else:
            missing.append(path)
    if missing and "{" in rest:
        raise DataError(
            f"{pattern}: {len(missing)} of the files that it names are not there. Copy them, or "
            f"change the pattern:\n{listed(missing)}"
        )
    return fixed or ".", list(dict.fromkeys(found))


def _literal_beginning(pattern: str) -> tuple[str, str]:
    """Split a pattern behind the last folder that exists as it is written."""
    parts = pattern.split("/")
    for count in range(len(parts) - 1, 0, -1):
        fixed = "/".join(parts[:count]) or "/"
        if os.path.isdir(fixed):
            return fixed, "/".join(parts[count:])
    return "", pattern


def _glob(fixed: str, rest: str) -> list[str]:
    beginning = f"{glob.escape(fixed)}/" if fixed and fixed != "/" else fixed
    found = glob.glob(beginning + rest, recursive=True)
    if not found and "[" in rest:  # brackets in the name of a folder below a wildcard
        found = glob.glob(beginning + rest.replace("[", "[[]"), recursive=True)
    return sorted(found)


def _expand_braces(text: str, pattern: str) -> Iterator[str]:
    """Yield each choice; braces without alternatives stay as they are."""
    pieces: list[list[str]] = []
    end = 0
    for match in _BRACES.finditer(text):
        choices = _alternatives(match[1])
        if not choices:
            continue
        pieces += [[text[end : match.start()]], choices]
        end = match.end()
    count = 1
    for piece in pieces:
        count *= len(piece)
    if count > _MOST:
        raise DataError(f"{pattern}: names {count} files. Give a shorter range.")
    for chosen in itertools.product(*pieces):
        yield "".join(chosen) + text[end:]


def _alternatives(inner: str) -> list[str]:
    """List the choices within braces; none where they are no pattern."""
    numbers = _RANGE.fullmatch(inner)
    if numbers is None:
        return inner.split(",") if "," in inner else []
    first, last = int(numbers[1]), int(numbers[2])
    step = abs(int(numbers[3] or 1)) or 1
    if abs(last - first) // step >= _MOST:
        raise DataError(f"{{{inner}}}: a range of {abs(last - first) // step} numbers. Shorten it.")
    padded = any(re.match(r"-?0\d", number) for number in (numbers[1], numbers[2]))
    width = max(len(numbers[1]), len(numbers[2])) if padded else 0
    run = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
    return [f"{number:0{width}d}" for number in run]
