"""What discovery left out: one record, by kind, and the refusal where a class loses much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from fastleuk.errors import listed, one_line
from fastleuk.shell import quoted

NOT_AN_IMAGE = "not an image"
UNREAD = "an image of a format that isn't read"
MISNAMED = "an image whose ending doesn't say so"
LOST = frozenset({UNREAD, MISNAMED})
"""Kinds of files that a class lacks; the others were never images of it."""

LOSS = 0.1
"""Share of its files that a class may lose before it is refused."""


@dataclass(frozen=True)
class Ignored:
    """A file or folder that was left out, relative to the root, and the reason."""

    path: str
    reason: str
    """The kind, in words that many files share."""
    detail: str = ""
    count: int = 1
    """Of files, where one record stands for several."""
    lost_by: str = ""
    """The class that lacks this image, if one does."""

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}{f' {self.detail}' if self.detail else ''}"


def bad_lines(bad: Sequence[tuple[str, str]]) -> list[str]:
    """Lay out (path, reason) pairs as ``path: reason``."""
    return [f"{path}: {reason}" for path, reason in bad]


def by_kind(ignored: Iterable[Ignored]) -> dict[str, list[Ignored]]:
    """Group by reason, in order of appearance."""
    kinds: dict[str, list[Ignored]] = {}
    for item in ignored:
        kinds.setdefault(item.reason, []).append(item)
    return kinds


def left_out_lines(ignored: Iterable[Ignored], where: str, options: str = "") -> list[str]:
    """Say in a line for each kind how many files were left out, and what lists them.

    Args:
        ignored: What was left out.
        where: The data set, as the user named it.
        options: What ``fastleuk data`` needs besides to read it in the same way.

    >>> left_out_lines([Ignored("a/1.txt", NOT_AN_IMAGE), Ignored("a/2.txt", NOT_AN_IMAGE)], "set")
    ['Left out: 2 files: not an image (2 .txt), such as a/1.txt; list: fastleuk data set']
    """
    command = f"fastleuk data {quoted(where)}{f' {options}' if options else ''}"
    lines = []
    for kind, items in by_kind(ignored).items():
        count = sum(item.count for item in items)
        noun = "folder" if all(item.path.endswith("/") for item in items) else "file"
        example = f", such as {one_line(items[0].path)}"
        what = f"{count} {noun}{'' if count == 1 else 's'}: {kind}{endings(kind, items)}{example}"
        lines.append(f"Left out: {what}; list: {command}")
    return lines


def endings(kind: str, items: Sequence[Ignored]) -> str:
    """Count the endings of files that were left out for them."""
    if kind not in (*LOST, NOT_AN_IMAGE):
        return ""
    counts = Counter(PurePosixPath(item.path).suffix.lower() or "no ending" for item in items)
    shown = [f"{number} {ending}" for ending, number in counts.most_common(5)]
    return f" ({', '.join(shown)}{', …' if len(counts) > 5 else ''})"


def heavy_losses(kept: Counter[str], ignored: Iterable[Ignored]) -> str:
    """Name the classes that lost more than :data:`LOSS` of their files, with the files; or ``""``.

    Args:
        kept: Images found of each class, by its name.
        ignored: What was left out.
    """
    lost: dict[str, list[Ignored]] = {}
    folded = {name.casefold(): name for name in kept}
    for item in ignored:
        if item.lost_by:
            lost.setdefault(folded.get(item.lost_by.casefold(), item.lost_by), []).append(item)
    heavy = {
        name: items
        for name, items in lost.items()
        if len(items) > LOSS * (len(items) + kept.get(name, 0))
    }
    if not heavy:
        return ""
    shares = ", ".join(
        f"{name!r} {len(items)} of {len(items) + kept.get(name, 0)}"
        for name, items in sorted(heavy.items())
    )
    lines = [str(item) for name in sorted(heavy) for item in heavy[name]]
    return (
        f"classes would lose more than a tenth of their images: {shares}. Convert or rename "
        f"these files, or give --skip-bad to go on without them:\n{listed(lines)}"
    )
