"""From WebDataset tar shards to a manifest: images with their labels, read where they lie."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fastleuk.data.derived import find_derived
from fastleuk.data.left_out import NOT_AN_IMAGE, Ignored, bad_lines
from fastleuk.data.litter import path_litter_reason
from fastleuk.data.manifest import Manifest, natural_key, order_classes
from fastleuk.data.patterns import expand_pattern, is_pattern
from fastleuk.data.shards.index import check_index, read_index
from fastleuk.data.shards.labels import WRONG_KIND, check_labels, odd_numbers, sample_row
from fastleuk.data.shards.read import Shard, open_shard
from fastleuk.data.tree import is_image_name
from fastleuk.errors import DataError, listed

Bad = tuple[tuple[str, str], ...]


def find_shards(pattern: Path) -> list[Path]:
    """List the tar files that a path or a pattern names, in natural order.

    Patterns are those of :func:`fastleuk.data.patterns.expand_pattern`, such as ``shards/*.tar``
    and ``shards/{000..015}.tar``.

    Raises:
        DataError: there is none, or one of a range is missing.
    """
    found = [pattern]
    if not pattern.is_file() and is_pattern(str(pattern)):
        found = [Path(name) for name in expand_pattern(str(pattern))[1]]
    # A link to a shard keeps its own name: what it leads to may have none that says so.
    whole = dict.fromkeys(f.parent.resolve() / f.name for f in found if f.is_file())
    files = sorted(whole, key=lambda f: natural_key(f.name))
    if not files:
        raise DataError(
            f"{pattern}: no such shard. Give tar files made by fastleuk pack, such as "
            "'shards/*.tar' or 'shards/{000..015}.tar' (in quotes, so that the shell leaves the "
            "star and the braces)."
        )
    return files


def shards_manifest(
    pattern: Path, *, class_level: int = 0, subject_level: int = 0, least_classes: int = 2
) -> tuple[Manifest, tuple[Ignored, ...], Bad, tuple[str, ...]]:
    """Read the shards' headers and labels; image bytes stay where they are.

    A sample is what shares a name up to its first dot: one image, and its label as
    :func:`fastleuk.data.shards.labels.sample_row` finds it: by ``.json`` (``label``, ``subject``,
    ``fold``, ``source``, ``crop``, as ``fastleuk pack`` writes it), ``.cls`` or ``.txt``.

    Args:
        pattern: Such as ``shards/*.tar``.
        class_level: Level of the folders in a member's name that is its class, from 1, whatever
            else tells one; 0: none.
        subject_level: The same for the subject.
        least_classes: So many must be there.

    Returns:
        The manifest, what was ignored, (path, reason) of what can't be used, and what a user
        should know.

    Raises:
        DataError: no shard, or one that is damaged, missing or has members that are refused.
    """
    files = find_shards(pattern)
    root = Path(os.path.commonpath([file.parent for file in files]))
    rows: list[dict[str, Any]] = []
    bad: list[tuple[str, str]] = []
    ignored: list[Ignored] = []
    counts: dict[Path, int] = {}
    for file in files:
        shard, prefix = open_shard(file), file.relative_to(root).as_posix()
        counts[file] = 0
        for members in _samples(file, shard, prefix, ignored):
            counts[file] += 1
            row = _row(shard, prefix, members, class_level, subject_level)
            if isinstance(row, str):
                bad.append((f"{prefix}/{members[0]}", row))
            else:
                rows.append(row)
                endings = _ABOUT if row["told_by"] == ".txt" else _ABOUT[:-1]
                known = {row["member"], *(m for m in members if m.endswith(endings))}
                others = sorted(set(members) - known)
                ignored += [Ignored(f"{prefix}/{name}", NOT_AN_IMAGE) for name in others]
    odd = odd_numbers(rows)
    bad += [(row["path"], f"{WRONG_KIND}: label (others have words)") for row in odd]
    rows = [row for row in rows if row not in odd] if odd else rows
    remarks = check_index(files, counts)
    if not rows:
        raise DataError(f"{pattern}: no sample can be used:\n{listed(bad_lines(bad))}")
    remarks = (*check_labels(rows, str(pattern)), *remarks)
    return _assemble(rows, root, str(pattern), least_classes), tuple(ignored), tuple(bad), remarks


_ABOUT = (".json", ".cls", ".txt")


def derived_members(file: Path, shard: Shard) -> dict[str, str]:
    """Find masks and previews among the members of a shard; the reason by the name.

    Shards that fastleuk has packed hold what their data set lists: nothing is left out of them.
    """
    if file.name in (read_index(file.parent) or {}):
        return {}
    images = [name for name in shard.members if is_image_name(name)]
    images = [name for name in images if not path_litter_reason(name)]
    found = find_derived(images, lambda name: shard.read(name).data)
    return {name: reason for name, (reason, _) in found.reasons.items()}


def _samples(file: Path, shard: Shard, prefix: str, ignored: list[Ignored]) -> Iterator[list[str]]:
    groups: dict[str, list[str]] = {}
    derived = derived_members(file, shard)
    for name in shard.members:
        path = PurePosixPath(name)
        reason = path_litter_reason(name) or derived.get(name, "")
        if reason:
            ignored.append(Ignored(f"{prefix}/{name}", reason))
            continue
        key = (path.parent / path.name.partition(".")[0]).as_posix()
        groups.setdefault(key, []).append(name)
    keys = {name[: -len(path.name)] + path.name.partition(".")[0]
            for name in derived for path in [PurePosixPath(name)]}  # fmt: skip
    for key, members in groups.items():
        if key in keys and not any(map(is_image_name, members)):
            ignored += [Ignored(f"{prefix}/{name}", "of a mask or preview") for name in members]
        else:
            yield members


def _row(
    shard: Shard, prefix: str, members: list[str], class_level: int, subject_level: int
) -> dict[str, Any] | str:
    """Return what is known of a sample, or what is wrong with it."""
    images = [name for name in members if is_image_name(name)]
    if len(images) != 1:
        return f"{len(images) or 'no'} image(s) in this sample, not one"
    about = {
        ending: shard.read(name).tobytes()
        for ending in _ABOUT
        if (name := next((m for m in members if m.endswith(ending)), None))
    }
    folders = PurePosixPath(images[0]).parts[:-1]
    if len(folders) < max(class_level, subject_level):
        return f"not in a folder of level {max(class_level, subject_level)}"
    if class_level:
        about = {".cls": b"0", **about}  # without it a sample without a label is refused
    row = sample_row(about, f"{prefix}/{images[0]}")
    if isinstance(row, str):
        return row
    if class_level:
        row |= {"label": folders[class_level - 1], "number": False, "cls": None}
        row["told_by"] = f"folders of level {class_level}"
    if subject_level:
        row["subject"] = folders[subject_level - 1]
    return {**row, "member": images[0]}


def _assemble(rows: list[dict[str, Any]], root: Path, where: str, least: int) -> Manifest:
    rows = sorted(rows, key=lambda row: natural_key(row["path"]))
    names = order_classes({row["label"] for row in rows} - {None}, where, least)
    code = {name.casefold(): i for i, name in enumerate(names)} | {None: -1}
    labels = [r["label"] and r["label"].casefold() for r in rows]
    return Manifest(
        root=root,
        paths=tuple(row["path"] for row in rows),
        labels=np.array([code[label] for label in labels], np.int64),
        class_names=names,
        subjects=tuple(row["subject"] for row in rows),
        folds=np.array([row["fold"] for row in rows], np.int64),
        sources=tuple(row["source"] for row in rows),
        crops=np.array([row["crop"] for row in rows], np.int64),
        layout="webdataset",
        synthetic=any(row["synthetic"] for row in rows),
    )
