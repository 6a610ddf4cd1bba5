"""C-NMC names in folders of the user's own: do both tell the same classes?"""

from __future__ import annotations

import os
from collections import defaultdict

from fastleuk.data.cnmc.names import CLASS_NAMES, CellName, parse_name
from fastleuk.data.cnmc.tree import names_a_part
from fastleuk.data.folders.classes import two_readings
from fastleuk.data.folders.parts import part_level, part_of
from fastleuk.data.tree import Tree


def check_names(tree: Tree, *, chosen: bool) -> tuple[str, ...]:
    """Compare a tree that is read as C-NMC with the class folders that it may be instead.

    Args:
        tree: What is there.
        chosen: The user asked for this reading: nothing is refused.

    Returns:
        What a user should know of the reading.

    Raises:
        DataError: the folders would tell other classes than the names do.
    """
    remarks = _unused_parts(tree)
    claims = _claims(tree)
    named = {folder: cells for folder, cells in claims.items() if any(c for _, c in cells)}
    if len(claims) < 2 or not named:
        return remarks
    labels = {folder: {c.label for _, c in cells if c} for folder, cells in named.items()}
    foreign = {f: cells for f, cells in claims.items() if f not in named and len(cells) > 1}
    one_to_one = all(len(found) == 1 for found in labels.values()) and len(labels) == len(
        set().union(*labels.values())
    )
    if one_to_one and not foreign:
        if len(labels) < 2:
            return remarks
        pairs = ", ".join(f"{f} = {CLASS_NAMES[min(s)]}" for f, s in sorted(labels.items()))
        return (*remarks, f"C-NMC names tell the classes: {pairs}")
    if chosen:
        return (*remarks, "C-NMC names tell the classes, the folders don't (--layout cnmc)")
    examples = [_example(folder, *cells[0]) for folder, cells in sorted(foreign.items())]
    for folder, cells in sorted(named.items()):
        by_label = {cell.label: (path, cell) for path, cell in reversed(cells) if cell}
        examples += [_example(folder, *by_label[label]) for label in sorted(by_label)]
    raise two_readings(tree, tuple(sorted(claims)), examples)


def _example(folder: str, path: str, cell: CellName | None) -> str:
    by_name = f"{CLASS_NAMES[cell.label]} by its name" if cell else "left out by its name"
    return f"{path}: {folder} by its folder, {by_name}"


def _claims(tree: Tree) -> dict[str, list[tuple[str, CellName | None]]]:
    """Return the images, with what their names say, by the folder that may be their class.

    That is the first one that they don't all share; folders that C-NMC has itself, that name a
    part of a split, or the subject, are none.
    """
    own = [path for path in tree.images if _is_own(path, tree.root.name)]
    named = [path for path in own if parse_name(path.rsplit("/", 1)[-1])]
    common = os.path.commonpath([os.path.dirname(p) or "." for p in named]) if named else ""
    prefix = f"{common}/" if common and common != "." else ""
    claims: dict[str, list[tuple[str, CellName | None]]] = defaultdict(list)
    for path in own:
        if not path.startswith(prefix):
            continue
        folders = path[len(prefix) :].split("/")[:-1]
        folder = next((name for name in folders if not part_of(name)), None)
        if folder is not None:
            claims[folder].append((path, parse_name(path.rsplit("/", 1)[-1])))
    return {
        folder: cells
        for folder, cells in claims.items()
        if not all(c and c.subject.casefold() in folder.casefold().split("_") for _, c in cells)
    }


def _is_own(path: str, root_name: str) -> bool:
    folders = [folder.casefold() for folder in path.split("/")[:-1]]
    return not names_a_part(path, root_name) and not {"all", "hem"} & set(folders)


def _unused_parts(tree: Tree) -> tuple[str, ...]:
    if any(names_a_part(path, tree.root.name) for path in tree.images):
        return ()
    level = part_level(tree.images)
    if level is None:
        return ()
    return (
        f"The folders {', '.join(sorted(level[1]))} are not used as parts; --split folders uses "
        "them",
    )
