"""From a folder (or a manifest CSV) to a manifest, saying what was ignored and why."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastleuk.data.cnmc_tree import cnmc_manifest, is_cnmc
from fastleuk.data.manifest import (
    Manifest,
    bad_lines,
    is_synthetic,
    natural_key,
    order_classes,
    parse_manifest,
)
from fastleuk.data.shard_manifest import shards_manifest
from fastleuk.data.shards import SUFFIX
from fastleuk.data.walk import Ignored, Tree, walk
from fastleuk.errors import ConfigError, DataError, listed

__all__ = ["Discovery", "Ignored", "discover"]

_SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


@dataclass(frozen=True)
class Discovery:
    """What :func:`discover` found."""

    manifest: Manifest
    ignored: tuple[Ignored, ...] = ()
    bad: tuple[tuple[str, str], ...] = ()
    """(path, reason) of images and rows that can't be used; ``load_dataset`` refuses or skips."""


def discover(root: Path | str, *, subject_regex: str | None = None) -> Discovery:
    """Find the images under ``root`` in any C-NMC layout, in class folders, or by a manifest CSV.

    Args:
        root: a folder, a manifest ``.csv``, or tar shards such as ``shards/*.tar``.
        subject_regex: for class folders: searched in each path relative to ``root``; its group
            named ``subject``, or its only group, is the subject.

    Raises:
        DataError: nothing there, no recognisable class, one class only, an empty class, names
            that ``subject_regex`` doesn't match, or a labels CSV that makes no sense.
        ConfigError: ``subject_regex`` is not usable, or the layout already tells the subjects.
    """
    pattern = _subject_pattern(subject_regex)
    place = Path(root).expanduser()
    if place.suffix == SUFFIX:
        _refuse_pattern(pattern, "the shards")
        manifest, ignored, bad = shards_manifest(place)
        found = Discovery(manifest, ignored, bad)
        _require_two_classes(found)
        return found
    if place.is_file() and place.suffix.lower() == ".csv":
        _refuse_pattern(pattern, "a manifest CSV")
        manifest, bad = parse_manifest(place)
        return Discovery(manifest, (), bad)
    tree = _walk(place)
    if is_cnmc(tree):
        _refuse_pattern(pattern, "the C-NMC names")
        manifest, ignored, bad = cnmc_manifest(tree)
        found = Discovery(manifest, (*tree.ignored, *ignored), bad)
    else:
        found = _class_folders(tree, pattern)
    _require_two_classes(found)
    return found


def _walk(place: Path) -> Tree:
    if not place.exists():
        raise DataError(f"{place}: no such folder. Give the folder of the images, or a manifest.")
    if not place.is_dir():
        raise DataError(f"{place}: a file. Give the folder of the images, or a manifest .csv.")
    tree = walk(place.resolve())
    if not tree.images:
        found = f"; ignored:\n{listed([f'{i.path}: {i.reason}' for i in tree.ignored])}"
        raise DataError(
            f"{place}: no image in it{found if tree.ignored else ', it is empty.'}\n"
            "Images end in .bmp .png .jpg .jpeg .tif .tiff or .webp."
        )
    return tree


def _subject_pattern(text: str | None) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ConfigError(f"--subject-regex {text!r}: not a regular expression: {error}") from error
    if "subject" not in pattern.groupindex and pattern.groups != 1:
        raise ConfigError(
            f"--subject-regex {text!r} has {pattern.groups} groups: it needs exactly one, or one "
            r"named subject, e.g. 'patient(\d+)_' or '(?P<subject>[^/_]+)_'."
        )
    return pattern


def _refuse_pattern(pattern: re.Pattern[str] | None, teller: str) -> None:
    if pattern is not None:
        raise ConfigError(f"--subject-regex is for class folders: here {teller} tell the subject.")


def _class_folders(tree: Tree, pattern: re.Pattern[str] | None) -> Discovery:
    """Read ``root/<class>/**/image``."""
    members: dict[str, list[str]] = {f: [] for f in tree.folders if "/" not in f}
    ignored = list(tree.ignored)
    ignored.extend(
        Ignored(name, "a CSV; give it as the data set to use it") for name in tree.tables
    )
    for path in tree.images:
        if "/" in path:
            members[path.split("/", 1)[0]].append(path)
        else:
            ignored.append(Ignored(path, "not in a class folder"))
    _refuse_odd_folders(tree, members)
    names = order_classes(set(members), str(tree.root))
    code = {name.casefold(): i for i, name in enumerate(names)}
    paths = sorted((p for group in members.values() for p in group), key=natural_key)
    count = len(paths)
    manifest = Manifest(
        root=tree.root,
        paths=tuple(paths),
        labels=np.array([code[p.split("/", 1)[0].casefold()] for p in paths], dtype=np.int64),
        class_names=names,
        subjects=_subjects(paths, pattern),
        folds=np.full(count, -1, dtype=np.int64),
        sources=("folder",) * count,
        crops=np.zeros(count, dtype=np.int64),
        layout="folder",
        synthetic=tree.synthetic or is_synthetic(tree.root),
    )
    return Discovery(manifest, tuple(ignored))


def _refuse_odd_folders(tree: Tree, members: dict[str, list[str]]) -> None:
    root = tree.root
    if not members:
        raise DataError(
            f"{root}: no recognisable class: {len(tree.images)} images lie directly in it. Put "
            "each class's images into a folder of its own, or write a manifest CSV with the "
            "columns path,label,subject."
        )
    if all(name.lower() in _SPLIT_NAMES for name in members):
        raise DataError(
            f"{root}: the folders {', '.join(sorted(members))} look like a ready-made split, not "
            "like classes. fastleuk splits by subject itself: name one of them, or merge them "
            "into one folder for each class, or write a manifest CSV with path,label,subject "
            "and fold."
        )
    empty = [f"{name}/" for name, paths in sorted(members.items()) if not paths]
    if empty:
        raise DataError(
            f"{root}: class folders without an image:\n{listed(empty)}\nFill them or remove them."
        )
    if len(members) == 1:
        only = next(iter(members))
        inner = sorted({p.split("/")[1] for p in members[only] if p.count("/") > 1})
        hint = f" Did you mean {root / only}, with {', '.join(inner)}?" if len(inner) > 1 else ""
        raise DataError(
            f"{root}: only one class, {only!r}. A classifier needs a folder for each of at least "
            f"two classes.{hint}"
        )


def _subjects(paths: list[str], pattern: re.Pattern[str] | None) -> tuple[str, ...]:
    if pattern is None:
        return tuple(paths)
    group: str | int = "subject" if "subject" in pattern.groupindex else 1
    found = [match.group(group) if (match := pattern.search(path)) else None for path in paths]
    missed = [path for path, subject in zip(paths, found, strict=True) if not subject]
    if missed:
        raise DataError(
            f"--subject-regex {pattern.pattern!r} finds no subject in {len(missed)} of "
            f"{len(paths)} paths:\n{listed(missed)}\nMend the expression or the names."
        )
    return tuple(subject for subject in found if subject)


def _require_two_classes(found: Discovery) -> None:
    manifest = found.manifest
    have = sorted({manifest.label_name(i) for i in manifest.labelled})
    if len(have) >= 2:
        return
    said = f"only one class, {have[0]!r}" if have else "no labelled image"
    detail = f"\nImages that can't be used:\n{listed(bad_lines(found.bad))}" if found.bad else ""
    notes = [f"{item.path}: {item.reason}" for item in found.ignored]
    detail += f"\nIgnored:\n{listed(notes, 20)}" if notes else ""
    raise DataError(
        f"{manifest.root}: {said} among {len(manifest)} images ({manifest.layout} layout). A "
        f"classifier needs images of at least two classes.{detail}"
    )
