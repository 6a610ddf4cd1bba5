"""One walk over a folder: images, tables, and what was ignored and why."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fastleuk.data.manifest import MARKER
from fastleuk.errors import DataError, listed

IMAGE_SUFFIXES = frozenset({".bmp", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp"})

_LITTER = frozenset({"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin"})


@dataclass(frozen=True)
class Ignored:
    """A file or folder that was left out, relative to the root, and the reason."""

    path: str
    reason: str


@dataclass(frozen=True)
class Tree:
    """What a walk found. All paths are POSIX, relative to ``root``."""

    root: Path
    images: tuple[str, ...]
    tables: tuple[str, ...]
    """The ``.csv`` files."""
    folders: tuple[str, ...]
    ignored: tuple[Ignored, ...]
    synthetic: bool
    """A marker file of the demo set was met on the way."""


def is_image_name(name: str) -> bool:
    """Say whether ``name`` ends like an image that fastleuk reads."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def walk(root: Path) -> Tree:
    """Walk ``root``, an absolute folder with links resolved; linked folders are not entered.

    Raises:
        DataError: folders that can't be listed, all named.
    """
    images: list[str] = []
    tables: list[str] = []
    folders: list[str] = []
    ignored: list[Ignored] = []
    closed: list[str] = []
    synthetic = False
    for base, names, files in os.walk(root, onerror=lambda e: closed.append(str(e))):
        prefix = Path(base).relative_to(root).as_posix() + "/" if base != str(root) else ""
        ignored.extend(Ignored(prefix + n + "/", why) for n, why in _closed_folders(base, names))
        folders.extend(prefix + name for name in names)
        synthetic |= MARKER in files
        for name in sorted(set(files) - {MARKER}):
            reason = _reason(root, base, name)
            if reason:
                ignored.append(Ignored(prefix + name, reason))
            else:
                (images if is_image_name(name) else tables).append(prefix + name)
    if closed:
        raise DataError(f"{root}: folders that can't be read:\n{listed(closed)}")
    return Tree(root, tuple(images), tuple(tables), tuple(folders), tuple(ignored), synthetic)


def _closed_folders(base: str, names: list[str]) -> Iterator[tuple[str, str]]:
    """Take the folders not to be entered out of ``names`` (in place), each with its reason."""
    for name in sorted(names):
        if name.startswith("."):
            reason = "hidden folder"
        elif name.lower() in _LITTER:
            reason = "left by an operating system"
        elif os.path.islink(os.path.join(base, name)):
            reason = "a linked folder: links are not followed; name the real folder instead"
        else:
            continue
        names.remove(name)
        yield name, reason
    names.sort()


def _reason(root: Path, base: str, name: str) -> str | None:
    if name.startswith("."):
        return "hidden file"
    if name.lower() in _LITTER:
        return "left by an operating system"
    if not is_image_name(name) and not name.lower().endswith(".csv"):
        return "not an image"
    full = os.path.join(base, name)
    if os.path.islink(full) and not Path(os.path.realpath(full)).is_relative_to(root):
        return "a link that leads outside the folder"
    return None
