"""Levels of folders: detect classes below patients, variants or centers, and list the readings."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from fastleuk.data.folders.parts import part_of
from fastleuk.data.labels.positive import is_healthy
from fastleuk.data.manifest import natural_key
from fastleuk.errors import one_line

Folders = Sequence[str]
"""Names of the folders above an image, from the root down."""

_NEARLY_ALL, _HALF = 0.8, 0.5
_DEEPEST = 4
_SHOWN = 6

_VARIANT = re.compile(
    r"(?:mag(?:nification)?[ _-]?)?\d{1,4}(?:[.,]\d+)?[ _-]?x|x\d{2,4}|originals?|orig|raw|"
    r"segmented|cropped|masked|gr[ae]y(?:scale)?|rgb|norm(?:ali[sz]ed)?|resized|enhanced|(?:pre)?processed|"
    r"(?:un)?stained|fold[ _-]?\d+",
    re.IGNORECASE,
)
_CLASS_WORDS = """
    all aml cll cml hem leukemia leukaemia cancer tumor tumour malignant positive pos abnormal
    infected parasitized blast blasts
"""
_CLASS_LIKE = frozenset(_CLASS_WORDS.split())


def inner_classes(images: Iterable[Folders]) -> tuple[int, tuple[str, ...]] | None:
    """Find a level whose folder names recur, as the classes do below patients or variants.

    Args:
        images: Of each image, the folders above it.

    Returns:
        The level, counted from 1, and the recurring names; None where the first level is the only
        plausible one.
    """
    rows = [folders for folders in images if folders]
    for level in range(2, _DEEPEST + 1):
        deep = [folders for folders in rows if len(folders) >= level]
        if len(deep) < 0.9 * len(rows) or not deep:
            return None
        parents: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for folders in deep:
            parents[tuple(folders[: level - 1])].add(folders[level - 1].casefold())
        names = _recurring(list(parents.values()))
        if not names:
            continue
        above = {folders[0] for folders in deep}
        if level == 2 and (_tell_classes(names) or not _tell_classes(above)):
            if all(map(_is_variant, names)) and not all(map(_is_variant, above)):
                continue  # class/magnification
        elif not (_tell_classes(names) and not _tell_classes(above)):
            continue
        spelled = {folders[level - 1] for folders in deep}
        return level, tuple(
            sorted((name for name in spelled if name.casefold() in names), key=natural_key)
        )
    return None


def _recurring(inner: Sequence[set[str]]) -> set[str]:
    """Return the names that nearly all folders hold, two each, or that many folders share."""
    total = len(inner)
    counts = Counter(name for names in inner for name in names)
    if total < 2:
        return set()
    common = {name for name, count in counts.items() if count >= max(2, _HALF * total)}
    holders = sum(len(names & common) > 1 for names in inner)
    if len(common) > 1 and (
        holders >= _NEARLY_ALL * total
        or (holders >= _HALF * total and all(names <= common for names in inner))
    ):
        return common
    # Patients of one class each: few names, each in several folders.
    shared = {name for name, count in counts.items() if count > 1}
    within = sum(names <= shared for names in inner)
    if total >= 4 and len(shared) > 1 and 2 * len(counts) <= total and within >= 0.9 * total:
        return shared
    return set()


def _is_variant(name: str) -> bool:
    return bool(_VARIANT.fullmatch(name)) or part_of(name) is not None


def _tell_classes(names: Iterable[str]) -> bool:
    """Check whether names mean healthy or ill."""
    folded = [name.casefold() for name in names]
    return any(is_healthy(name) for name in folded) or bool(_CLASS_LIKE & set(folded))


def list_readings(images: Iterable[Folders], first: int = 1) -> list[str]:
    """List the reading that each level gives, with the options that choose it.

    Args:
        images: Of each image, the folders above it.
        first: The first level that may be the classes: 2 below the parts of a split.
    """
    rows = [folders for folders in images if folders]
    deepest = min(max(map(len, rows), default=0), _DEEPEST)
    lines = []
    for level in range(deepest, first - 1, -1):
        names = {folders[level - 1] for folders in rows if len(folders) >= level}
        if len(names) < 2:
            continue
        options = f"--class-level {level}"
        found = f"{len(names)} classes ({shown(names)})"
        above = {folders[level - 2] for folders in rows if len(folders) >= level}
        if level > first and len(above) > 1:
            lines.append(
                f"{options} --subject-level {level - 1}: {found}; {len(above)} subjects "
                f"({shown(above)})"
            )
            lines.append(
                f"{options}: {found}; the folders above them are variants or sources: images of "
                "one name in several stay in one part"
            )
        else:
            lines.append(f"{options}: {found}")
    return lines


def shown(names: Iterable[str]) -> str:
    """Join the first names."""
    ordered = sorted(names, key=natural_key)
    more = ", …" if len(ordered) > _SHOWN else ""
    return one_line(", ".join(ordered[:_SHOWN])) + more
