"""Whether the parts of a split share anything: read from ``split.csv``, not from a promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from fastleuk.report.numbers import listing, plural

TITLES = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True, slots=True)
class Shared:
    """What two parts have in common.

    Attributes:
        parts: Such as ``training and test``.
        subjects: Subjects with images in both.
        groups: Subjects, those tied by an identical or near-identical picture taken as one.
        files: Files whose content (SHA-256) stands in both.
    """

    parts: str
    subjects: int
    groups: int
    files: int

    @property
    def nothing(self) -> bool:
        """Whether nothing is shared."""
        return not (self.subjects or self.groups or self.files)

    @property
    def counted(self) -> list[str]:
        """What is shared, such as ``3 subjects``; subjects tied by a file where none is shared."""
        found = [plural(self.subjects, "subject")] * bool(self.subjects)
        if self.groups and not self.subjects:
            found.append(f"{plural(self.groups, 'group')} of subjects with one picture")
        return found + [plural(self.files, "file")] * bool(self.files)


def shared(split: Sequence[dict[str, str]]) -> list[Shared]:
    """Count what each pair of parts shares.

    Args:
        split: Rows of ``split.csv``.
    """
    found = []
    for first, second in combinations(TITLES, 2):
        one, other = ([row for row in split if row["part"] == part] for part in (first, second))

        def both(
            column: str, a: list[dict[str, str]] = one, b: list[dict[str, str]] = other
        ) -> int:
            return len({row[column] for row in a} & {row[column] for row in b})

        found.append(
            Shared(
                f"{TITLES[first]} and {TITLES[second]}",
                both("subject"),
                both("group"),
                both("sha256"),
            )
        )
    return found


def looks_sentence(looks: Mapping[str, Any] | None) -> str:
    """Summarize the comparison of the parts' images by their looks.

    Args:
        looks: ``parts`` of the test figures; None where an earlier version tested the run.
    """
    if looks is None:
        return (
            "Looks were not compared, so copies that are other files could not be found: "
            "fastleuk evaluate compares them."
        )
    limit = f"distance up to {looks['same_up_to']:g}"
    same, alike = int(looks["same"]), int(looks["alike"])
    told = (
        f"{plural(same, 'pair')} of near-identical pictures ({limit})"
        f"{_example(looks, same)} {'is' if same == 1 else 'are'} in two parts"
        if same
        else f"No near-identical pictures ({limit}) are in two parts"
    )
    told += f": {plural(looks['images'], 'image')} were compared by their looks"
    if alike:
        told += (
            f". {plural(alike, 'pair')} in two parts look alike and may be copies (distance up to "
            f"{looks['alike_up_to']:g}){'' if same else _example(looks, alike)}"
        )
    return f"{told}."


def _example(looks: Mapping[str, Any], count: int) -> str:
    if not looks["pairs"]:
        return ""
    pair = looks["pairs"][0]
    named = " and ".join(
        f"{path} ({TITLES[part]})" for path, part in zip(pair["images"], pair["parts"], strict=True)
    )
    return f", {'such as ' if count > 1 else ''}{named},"


def verdict(
    split: Sequence[dict[str, str]],
    *,
    subjects_known: bool,
    looks: Mapping[str, Any] | None = None,
) -> tuple[bool, str]:
    """Judge in a sentence if the parts are separate, by subjects, files and looks.

    Args:
        split: Rows of ``split.csv``.
        subjects_known: Whether subjects are more than images.
        looks: See :func:`looks_sentence`.
    """
    separate, told = _by_names(split, subjects_known=subjects_known)
    return separate and not (looks or {}).get("same"), f"{told} {looks_sentence(looks)}"


def _by_names(split: Sequence[dict[str, str]], *, subjects_known: bool) -> tuple[bool, str]:
    pairs = shared(split)
    files = sum(pair.files for pair in pairs)
    if not subjects_known:
        what = (
            f"{plural(files, 'file')} shared by parts" if files else "No file stands in two parts"
        )
        return False, (
            f"{what}. Subjects are not known, so it cannot be shown that the parts share no "
            "person: the figures may be too good."
        )
    if all(pair.nothing for pair in pairs):
        compared = [row for row in split if row["part"] in TITLES]
        people = plural(len({row["subject"] for row in compared}), "subject")
        return True, (
            f"No subject, and no file, stands in two parts: {people} and "
            f"{plural(len(compared), 'file')} (by SHA-256) were compared."
        )
    told = [f"{pair.parts} share {listing(pair.counted)}" for pair in pairs if not pair.nothing]
    return False, (
        f"The parts are not separate: {'; '.join(told)}. The figures say nothing of people who "
        "were not seen in training."
    )
