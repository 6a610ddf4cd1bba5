"""``shards.json``: which shards a set was packed into, so that a lost one doesn't go unnoticed."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastleuk.data.manifest import Manifest
from fastleuk.errors import DataError, listed
from fastleuk.files import write_json

INDEX = "shards.json"
_FORMAT = "fastleuk shards 1"


@dataclass(frozen=True)
class ShardEntry:
    """What ``shards.json`` says of one shard."""

    name: str
    samples: int
    bytes: int
    sha256: str
    """See :func:`content_of`."""


def content_of(images: Iterable[tuple[str, str]]) -> str:
    """Hash what a shard holds: the name and the hex SHA-256 of each image, in any order."""
    return hashlib.sha256(json.dumps(sorted(images)).encode()).hexdigest()


def write_index(folder: Path, entries: Sequence[ShardEntry]) -> None:
    """Write ``shards.json`` beside the shards."""
    value = {
        "format": _FORMAT,
        "samples": sum(entry.samples for entry in entries),
        "shards": [asdict(entry) for entry in entries],
    }
    write_json(folder / INDEX, value)


def read_index(folder: Path) -> dict[str, ShardEntry] | None:
    """Read ``shards.json`` by the shards' names; None where there is none of fastleuk's.

    Raises:
        DataError: it is damaged.
    """
    path = folder / INDEX
    try:
        value: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: can't be read: {error}. Copy it again, or remove it to go without it."
        ) from error
    if not isinstance(value, dict) or value.get("format") != _FORMAT:
        return None
    try:
        entries = [
            ShardEntry(str(e["name"]), int(e["samples"]), int(e["bytes"]), str(e["sha256"]))
            for e in value["shards"]
        ]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{path}: damaged ({error!r}). Copy it again, or remove it to go without it."
        ) from error
    return {entry.name: entry for entry in entries}


def check_index(files: Sequence[Path], counts: Mapping[Path, int]) -> tuple[str, ...]:
    """Compare shards with the ``shards.json`` of their folders.

    Args:
        files: Shards to be read.
        counts: How many samples each holds.

    Returns:
        What couldn't be checked, and which shards were not asked for.

    Raises:
        DataError: a shard is missing, or isn't the one that was packed.
    """
    remarks: list[str] = []
    unchecked = 0
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        by_folder[file.parent].append(file)
    for folder, there in by_folder.items():
        index = read_index(folder)
        if index is None:
            unchecked += len(there)
            continue
        gone = [name for name in index if not (folder / name).is_file()]
        if gone:
            raise DataError(
                f"{folder}: {len(gone)} of {len(index)} shards are missing, as {INDEX} there "
                f"tells. Copy them again, or pack anew:\n{listed(gone)}"
            )
        wrong = [
            f"{file.name}: {counts[file]} samples in {file.stat().st_size} bytes, but "
            f"{entry.samples} in {entry.bytes} were packed"
            for file in there
            if (entry := index.get(file.name))
            and (counts[file], file.stat().st_size) != (entry.samples, entry.bytes)
        ]
        if wrong:
            raise DataError(
                f"{folder}: shards that are not what was packed, as {INDEX} there tells. Copy "
                f"them again, or pack anew:\n{listed(wrong)}"
            )
        asked = {file.name for file in there}
        left = len(index.keys() - asked)
        if left:
            remarks.append(f"{left} of {len(index)} shards in {folder} are not asked for")
        more = len(asked - index.keys())
        if more:
            remarks.append(f"{more} shards in {folder} are not in its {INDEX}: not checked")
    if unchecked:
        remarks.append(f"{unchecked} shards without {INDEX}: whether any is missing isn't known")
    return tuple(remarks)


def check_contents(manifest: Manifest, sha256: Sequence[str]) -> None:
    """Compare the images in shards with the hashes in ``shards.json``.

    Args:
        manifest: As found, of shards.
        sha256: Of each image's bytes; shards with an empty one, which wasn't read, are passed by.

    Raises:
        DataError: shards hold other images than were packed; they are listed.
    """
    images: dict[Path, list[tuple[str, str]]] = defaultdict(list)
    for path, digest in zip(manifest.paths, sha256, strict=True):
        shard, _, member = path.partition(".tar/")
        images[manifest.root / f"{shard}.tar"].append((member, digest))
    indices = {folder: read_index(folder) for folder in {file.parent for file in images}}
    wrong = []
    for file, pairs in images.items():
        entry = (indices[file.parent] or {}).get(file.name)
        whole = entry and len(pairs) == entry.samples and all(digest for _, digest in pairs)
        if entry and whole and content_of(pairs) != entry.sha256:
            wrong.append(file.name)
    if wrong:
        raise DataError(
            f"{manifest.root}: shards that hold other images than were packed. Copy them again, "
            f"or pack anew:\n{listed(wrong)}"
        )
