"""From WebDataset tar shards to a manifest: images with their labels, read where they lie."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fastleuk.data.manifest import UNLABELLED, Manifest, bad_lines, natural_key, order_classes
from fastleuk.data.shards import Shard, open_shard
from fastleuk.data.walk import Ignored, is_image_name
from fastleuk.errors import DataError, listed

Bad = tuple[tuple[str, str], ...]


def find_shards(pattern: Path) -> list[Path]:
    """Return the tar files that a path or a pattern (``shards/*.tar``) names, in natural order.

    Raises:
        DataError: there is none.
    """
    found = [pattern] if pattern.is_file() else [Path(name) for name in glob.glob(str(pattern))]
    files = sorted((f.resolve() for f in found if f.is_file()), key=lambda f: natural_key(f.name))
    if not files:
        raise DataError(
            f"{pattern}: no such shard. Give tar files made by fastleuk pack, such as "
            "'shards/*.tar' (in quotes, so that the shell leaves the star)."
        )
    return files


def shards_manifest(pattern: Path) -> tuple[Manifest, tuple[Ignored, ...], Bad]:
    """Read the shards' headers and labels; image bytes stay where they are.

    A sample is what shares a name up to its first dot: one image, and ``.json`` (``label``,
    ``subject``, ``fold``, ``source``, ``crop``, as ``fastleuk pack`` writes it) or ``.cls`` (a
    class number, as WebDataset has it; each image is then its own subject).

    Raises:
        DataError: no shard, or one that is damaged or has members that are refused.
    """
    files = find_shards(pattern)
    root = Path(os.path.commonpath([file.parent for file in files]))
    rows: list[dict[str, Any]] = []
    bad: list[tuple[str, str]] = []
    ignored: list[Ignored] = []
    for file in files:
        shard, prefix = open_shard(file), file.relative_to(root).as_posix()
        for members in _samples(shard):
            row = _row(shard, prefix, members)
            if isinstance(row, str):
                bad.append((f"{prefix}/{members[0]}", row))
            else:
                rows.append(row)
                known = {row["member"], *(m for m in members if m.endswith((".json", ".cls")))}
                others = sorted(set(members) - known)
                ignored += [Ignored(f"{prefix}/{name}", "not an image") for name in others]
    if not rows:
        raise DataError(f"{pattern}: no sample can be used:\n{listed(bad_lines(bad))}")
    return _assemble(rows, root, str(pattern)), tuple(ignored), tuple(bad)


def _samples(shard: Shard) -> Iterator[list[str]]:
    groups: dict[str, list[str]] = {}
    for name in shard.members:
        path = PurePosixPath(name)
        key = (path.parent / path.name.partition(".")[0]).as_posix()
        groups.setdefault(key, []).append(name)
    yield from groups.values()


def _row(shard: Shard, prefix: str, members: list[str]) -> dict[str, Any] | str:
    """Return what is known of a sample, or what is wrong with it."""
    images = [name for name in members if is_image_name(name)]
    if len(images) != 1:
        return f"{len(images) or 'no'} image(s) in this sample, not one"
    tables = [name for name in members if name.endswith(".json")]
    classes = [name for name in members if name.endswith(".cls")]
    path = f"{prefix}/{images[0]}"
    row: dict[str, Any] = {"member": images[0], "path": path, "subject": path, "label": None}
    row |= {"fold": -1, "source": "webdataset", "crop": 0, "synthetic": False}
    try:
        if tables:
            given = json.loads(shard.read(tables[0]).tobytes())
            row |= {key: given[key] for key in row.keys() & given.keys() - {"member", "path"}}
        elif classes:
            row["label"] = str(int(shard.read(classes[0]).tobytes()))
        else:
            return "neither a .json nor a .cls tells its label"
    except (ValueError, TypeError, AttributeError) as error:
        return f"its label can't be read: {error}"
    row["subject"] = row["subject"] or path
    kinds = {"subject": str, "source": str, "fold": int, "crop": int, "synthetic": bool}
    wrong = [key for key, kind in kinds.items() if type(row[key]) is not kind]
    if wrong or not isinstance(row["label"], str | None) or row["label"] == "":
        return f"its .json has a value of the wrong kind: {', '.join(wrong) or 'label'}"
    return row


def _assemble(rows: list[dict[str, Any]], root: Path, where: str) -> Manifest:
    rows = sorted(rows, key=lambda row: natural_key(row["path"]))
    labels = {row["label"] for row in rows} - {None, UNLABELLED}
    names = order_classes(labels, where)
    code = {name.casefold(): i for i, name in enumerate(names)}
    return Manifest(
        root=root,
        paths=tuple(row["path"] for row in rows),
        labels=np.array([code.get(str(r["label"]).casefold(), -1) for r in rows], np.int64),
        class_names=names,
        subjects=tuple(row["subject"] for row in rows),
        folds=np.array([max(-1, row["fold"]) for row in rows], np.int64),
        sources=tuple(row["source"] for row in rows),
        crops=np.array([max(0, row["crop"]) for row in rows], np.int64),
        layout="webdataset",
        synthetic=any(row["synthetic"] for row in rows),
    )
