"""Folders that are a ready-made split, such as ``TRAIN`` and ``TEST_SIMPLE``: their parts."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

_WORDS = {
    "train": "train training trn trainval traintest",
    "val": "val valid validation validate dev devel development tune tuning",
    "test": "test testing tst holdout heldout eval evaluation",
}
_PART = {word: part for part, words in _WORDS.items() for word in words.split()}
_FILLERS = (
    "set sets data dataset datasets images image imgs img pictures picture photos photo cells "
    "cell crops crop samples sample files file simple split part folder dir full all final new old"
)
_FILLER = frozenset(_FILLERS.split())
_GLUED = re.compile(
    f"({'|'.join(sorted(_PART, key=len, reverse=True))})({'|'.join(_FILLERS.split())})"
)


def part_of(name: str) -> tuple[str, frozenset[str]] | None:
    """Return the part that a folder's name means, and the words of it that say something else.

    >>> part_of("TEST_SIMPLE"), part_of("blast")
    (('test', frozenset()), None)
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    joined = re.sub(r"(hold|held)[\W_]*out", "holdout", spaced.casefold())
    words = [word for word in re.split(r"[\W_\d]+", joined) if word]
    stems = [_GLUED.sub(r"\1", w) if _GLUED.fullmatch(w) else w for w in words]
    parts = {_PART[word] for word in stems if word in _PART}
    if parts == {"train", "val"} and len(stems) == 2:  # train_val
        parts = {"train"}
    if len(parts) != 1:
        return None
    other = frozenset(word for word in stems if word not in _PART and word not in _FILLER)
    return parts.pop(), other


def part_level(images: Iterable[str]) -> tuple[int, dict[str, str]] | None:
    """Find out whether the folders of one level are the parts of a split.

    They are if they name at least two parts, and either there are no others, or those of the
    parts hold the same folders (the classes), at least two.

    Args:
        images: Paths relative to the root.

    Returns:
        0 for ``part/class/image``, 1 for ``class/part/image``, and the part by the folder's
        name; None where nothing looks like a split.
    """
    deep = [path.split("/") for path in images]
    for level in (0, 1):
        rows = [row for row in deep if len(row) > level + 1]
        if not rows or (level == 1 and any(len(row) == 2 for row in deep)):
            continue
        parts = _parts({row[level] for row in rows})
        if len(set(parts.values())) < 2:
            continue
        others = {row[level] for row in rows} - parts.keys()
        if not others or (level == 0 and _same_classes(rows, parts)):
            return level, parts
    return None


def _parts(names: Iterable[str]) -> dict[str, str]:
    """Return the part of each name that means one; what else they say must be the same."""
    by_other: dict[frozenset[str], dict[str, str]] = defaultdict(dict)
    for name in names:
        part = part_of(name)
        if part:
            by_other[part[1]][name] = part[0]
    return max(by_other.values(), key=lambda found: len(set(found.values())), default={})


def _same_classes(rows: Sequence[Sequence[str]], parts: dict[str, str]) -> bool:
    inner: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row[0] in parts and len(row) > 2:
            inner[parts[row[0]]].add(row[1].casefold())
    return len(inner) > 1 and len(set.intersection(*inner.values())) > 1
