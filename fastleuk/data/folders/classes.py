"""Class folders: ``root/<class>/**/image``, or with a part of a ready-made split above or below."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Collection

import numpy as np

from fastleuk.data.cnmc.names import CLASS_NAMES, parse_name
from fastleuk.data.folders.levels import inner_classes, list_readings, shown
from fastleuk.data.folders.parts import part_level
from fastleuk.data.labels.subjects import level_subjects, match_subjects
from fastleuk.data.left_out import LOST, Ignored
from fastleuk.data.manifest import Manifest, is_synthetic, natural_key, order_classes
from fastleuk.data.tree import Tree
from fastleuk.errors import DataError, listed

Bad = tuple[tuple[str, str], ...]
_LOOSE = "not in a class folder"


@dataclasses.dataclass(frozen=True)
class FolderSet:
    """What the folders tell."""

    manifest: Manifest
    ignored: tuple[Ignored, ...]
    bad: Bad
    remarks: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Row:
    path: str
    label: str
    """``""``: unknown."""
    source: str


def class_folders(
    tree: Tree,
    pattern: re.Pattern[str] | None,
    *,
    layout: str,
    class_level: int = 0,
    subject_level: int = 0,
    least_classes: int = 2,
) -> FolderSet:
    """Read class folders.

    Args:
        tree: What is there.
        pattern: Of the subject; None: each image is its own, or, where all names are C-NMC's,
            these tell it.
        layout: ``auto``, ``folders`` (each folder is a class, whatever its name) or ``parts``
            (folders such as ``train`` are parts, and become the images' source).
        class_level: Level of the folders that are classes, from 1, the root's own; 0: the first
            one, or refused where a deeper one is as plausible.
        subject_level: Level of the folders that are subjects; 0: none.
        least_classes: So many must be there.

    Raises:
        DataError: what is there is no set of class folders, or may be read in two ways.
    """
    ignored = list(tree.ignored)
    ignored += [Ignored(name, "a CSV; give it as the data set to use it") for name in tree.tables]
    level = part_level(tree.images) if layout != "folders" else None
    remarks: list[str] = []
    if layout == "parts":
        if level is None:
            raise _no_parts(tree)
        if not class_level:
            _refuse_inner_classes(tree, subject_level, level[1] if level[0] == 0 else ())
        rows = _part_rows(tree, *level, class_level, ignored)
    elif class_level > 1:
        if level is not None and level[0] == 0:
            remarks.append(
                f"The folders {', '.join(sorted(level[1]))} are not used as parts; --split folders "
                "uses them"
            )
        rows = _level_rows(tree, class_level, subject_level, ignored)
    else:
        if level is not None and level[0] == 0 and not class_level:
            raise _ready_made(tree, level[1])
        if level is not None and level[0] == 1:
            remarks.append(
                f"The folders {', '.join(sorted(level[1]))} in the classes are not used as parts; "
                "--split folders uses them"
            )
        elif layout == "auto":
            _refuse_inner_classes(tree, subject_level)
        rows = _class_rows(tree, ignored, least_classes)
    names = order_classes({row.label for row in rows} - {""}, str(tree.root), least_classes)
    rows, bad, said = _against_names(tree, rows, names, chosen=layout != "auto" or class_level > 0)
    rows.sort(key=lambda row: natural_key(row.path))
    paths = tuple(row.path for row in rows)
    subjects, how = _subjects(paths, pattern, subject_level)
    if class_level > 1:
        remarks.append(f"Classes by the folders of level {class_level} (--class-level)")
    code = {name.casefold(): i for i, name in enumerate(names)} | {"": -1}
    manifest = Manifest(
        root=tree.root,
        paths=paths,
        labels=np.array([code[row.label.casefold()] for row in rows], dtype=np.int64),
        class_names=names,
        subjects=subjects,
        folds=np.full(len(rows), -1, dtype=np.int64),
        sources=tuple(row.source for row in rows),
        crops=np.zeros(len(rows), dtype=np.int64),
        layout="folder",
        synthetic=tree.synthetic or is_synthetic(tree.root),
    )
    place = 1 if layout == "parts" and level is not None and level[0] == 0 else 0
    place = class_level - 1 if class_level else place
    return FolderSet(
        manifest,
        tuple(_with_class(item, place) for item in ignored),
        bad,
        (*remarks, *said, *how),
    )


def _with_class(item: Ignored, level: int) -> Ignored:
    """Add the class that lacks an image that was left out."""
    folders = item.path.split("/")[:-1]
    if item.reason not in LOST or len(folders) <= level:
        return item
    return dataclasses.replace(item, lost_by=folders[level])


def _class_rows(tree: Tree, ignored: list[Ignored], least: int) -> list[_Row]:
    members: dict[str, list[str]] = {f: [] for f in tree.folders if "/" not in f}
    for path in (*tree.images, *(path for path, _ in tree.bad)):
        if "/" in path:
            members[path.split("/", 1)[0]].append(path)
    ignored += [Ignored(path, _LOOSE) for path in tree.images if "/" not in path]
    _refuse_odd_folders(tree, members, least)
    missing = {path for path, _ in tree.bad}
    return [
        _Row(path, name, "folder")
        for name, paths in members.items()
        for path in paths
        if path not in missing
    ]


def _level_rows(
    tree: Tree, class_level: int, subject_level: int, ignored: list[Ignored]
) -> list[_Row]:
    """Take the folders of one level as the classes; those above, but subjects, are the source."""
    rows: list[_Row] = []
    for path in tree.images:
        folders = path.split("/")[:-1]
        if len(folders) < class_level:
            ignored.append(Ignored(path, f"not in a folder of level {class_level} (--class-level)"))
            continue
        above = [name for i, name in enumerate(folders[: class_level - 1], 1) if i != subject_level]
        rows.append(_Row(path, folders[class_level - 1], "/".join(above) or "folder"))
    if not rows:
        raise DataError(
            f"{tree.root}: --class-level {class_level}: no image lies so deep. The levels are:\n"
            + listed(list_readings(path.split("/")[:-1] for path in tree.images))
        )
    return rows


def _refuse_inner_classes(
    tree: Tree, subject_level: int, below_parts: Collection[str] = ()
) -> None:
    """Refuse folders of which an inner level is as plausible for the classes as the first."""
    folders = [path.split("/")[:-1] for path in tree.images]
    first = 1
    if below_parts:
        folders = [names for names in folders if names and names[0] in below_parts]
        first = 2
    found = inner_classes(names[first - 1 :] for names in folders)
    if found is None or subject_level == found[0] + first - 1:
        return
    level, inner = found
    outer = {names[first - 1] for names in folders if len(names) >= first}
    raise DataError(
        f"{tree.root}: {len(outer)} folders ({shown(outer)}) hold the same folders "
        f"({shown(inner)}), so either may be the classes. Choose a reading:\n"
        f"{listed(list_readings(folders, first))}\n"
        f"(--subject-level {first - 1 + level} with --class-level {first}: the inner folders are "
        "the subjects)"
    )


def _part_rows(
    tree: Tree, level: int, parts: dict[str, str], class_level: int, ignored: list[Ignored]
) -> list[_Row]:
    rows: list[_Row] = []
    with_classes = {
        parts[p.split("/")[0]]
        for p in tree.images
        if level == 0 and p.count("/") > 1 and p.split("/")[0] in parts
    }
    for path in tree.images:
        folders = path.split("/")[:-1]
        part = parts.get(folders[level]) if len(folders) > level else None
        if part is None:
            ignored.append(Ignored(path, "not in a folder of a part"))
        elif class_level and len(folders) >= class_level:
            rows.append(_Row(path, folders[class_level - 1], part))
        elif class_level:
            ignored.append(Ignored(path, f"not in a folder of level {class_level} (--class-level)"))
        elif level == 1:
            rows.append(_Row(path, folders[0], part))
        elif len(folders) > 1:
            rows.append(_Row(path, folders[1], part))
        elif cell := parse_name(path.rsplit("/", 1)[-1]):
            rows.append(_Row(path, CLASS_NAMES[cell.label], part))
        elif part in with_classes:
            ignored.append(Ignored(path, _LOOSE))
        else:
            rows.append(_Row(path, "", part))
    return rows


def _no_parts(tree: Tree) -> DataError:
    tops = sorted({p.split("/", 1)[0] for p in tree.images if "/" in p})
    return DataError(
        f"{tree.root}: no folders of a ready-made split. --split folders (or --layout parts) needs "
        "train and test, and perhaps val, each with a folder for each class, or each class with "
        f"these folders; there are:\n{listed(tops)}"
    )


def _ready_made(tree: Tree, parts: dict[str, str]) -> DataError:
    named = ", ".join(f"{name} ({part})" for name, part in sorted(parts.items()))
    return DataError(
        f"{tree.root}: the folders {named} look like a ready-made split, not like classes. "
        "--split folders takes them as the parts; --layout parts merges them, so that fastleuk "
        "splits by itself; --layout folders takes them as classes."
    )


def _against_names(
    tree: Tree, rows: list[_Row], names: tuple[str, ...], *, chosen: bool
) -> tuple[list[_Row], Bad, list[str]]:
    """Compare the folders' labels with those of C-NMC names, if there are any."""
    said: dict[str, dict[int, list[_Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        cell = parse_name(row.path.rsplit("/", 1)[-1])
        if cell is not None and row.label:
            said[row.label.casefold()][cell.label].append(row)
    if not said:
        return rows, tree.bad, []
    count = sum(len(found) for by_label in said.values() for found in by_label.values())
    if not chosen and names == CLASS_NAMES:
        wrong = {
            row.path: f"the name contradicts the folder {row.label!r}"
            for folder, by_label in said.items()
            for label, found in by_label.items()
            for row in found
            if CLASS_NAMES[label].casefold() != folder
        }
        kept = [row for row in rows if row.path not in wrong]
        return kept, (*tree.bad, *wrong.items()), []
    torn = {folder: by_label for folder, by_label in said.items() if len(by_label) > 1}
    if torn and not chosen:
        examples = [
            f"{row.path}: {row.label} by its folder, {CLASS_NAMES[label]} by its name"
            for by_label in torn.values()
            for label, found in by_label.items()
            for row in found[:5]
        ]
        raise two_readings(tree, names, examples)
    note = f"{count} files bear C-NMC names; the labels are those of the folders"
    return rows, tree.bad, [note]


def two_readings(tree: Tree, names: tuple[str, ...], examples: list[str]) -> DataError:
    """Return the refusal of a set whose folders and C-NMC names tell different classes."""
    return DataError(
        f"{tree.root}: folders and file names disagree on the classes. Choose a reading: "
        f"--layout folders (classes {', '.join(names)}) or --layout cnmc (classes hem, ALL, as the "
        f"UID_ names say; what bears no such name is left out):\n{listed(examples)}"
    )


def _subjects(
    paths: tuple[str, ...], pattern: re.Pattern[str] | None, subject_level: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if subject_level:
        return level_subjects(paths, subject_level)
    if pattern is not None:
        return match_subjects(paths, pattern)
    cells = [parse_name(path.rsplit("/", 1)[-1]) for path in paths]
    told = tuple(cell.subject for cell in cells if cell is not None)
    if len(told) < len(paths):
        return paths, ()
    return told, ("All files bear C-NMC names: these tell the subjects",)


def _refuse_odd_folders(tree: Tree, members: dict[str, list[str]], least: int) -> None:
    root = tree.root
    if not any(members.values()):
        raise DataError(
            f"{root}: no recognisable class: {len(tree.images)} images lie directly in it. Put "
            "each class's images into a folder of its own, or write a manifest CSV with the "
            "columns path,label,subject."
        )
    empty = [
        f"{name}/{_inside(tree, name)}" for name, paths in sorted(members.items()) if not paths
    ]
    if empty:
        raise DataError(
            f"{root}: class folders without an image. Fill them or remove them:\n{listed(empty)}"
        )
    if len(members) < least:
        only = next(iter(members))
        inner = sorted({p.split("/")[1] for p in members[only] if p.count("/") > 1})
        hint = f" Did you mean {root / only}, with {', '.join(inner)}?" if len(inner) > 1 else ""
        readings = list_readings(path.split("/")[:-1] for path in members[only])
        hint += f" Or read it as it is:\n{listed(readings)}" if readings else ""
        raise DataError(
            f"{root}: only one class, {only!r}. A classifier needs a folder for each of at least "
            f"two classes.{hint}"
        )


def _inside(tree: Tree, name: str) -> str:
    """Say what a folder without images holds instead."""
    there = [item for item in tree.ignored if item.path.startswith(f"{name}/")]
    if not there:
        return ""
    return f": {len(there)} ignored, such as {there[0]}"
