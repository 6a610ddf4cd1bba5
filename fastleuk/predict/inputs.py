"""From paths to images, one at a time: files, folders, patterns, manifests, shards.

Nothing is read here but folders, manifests and the headers of shards; the names of one folder are
held at once, sorted. The order is the same every time, which is what ``--resume`` goes by.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from fastleuk.csv_files import is_table
from fastleuk.data.cnmc.tree import FINAL_CROP, FINAL_SIDE, bmp_size
from fastleuk.data.derived import find_derived, is_derived_folder_name
from fastleuk.data.litter import HIDDEN_FILE, HIDDEN_FOLDER, litter_reason, path_litter_reason
from fastleuk.data.patterns import expand_pattern, is_pattern
from fastleuk.data.shards.manifest import derived_members
from fastleuk.data.shards.read import SUFFIX, Shard, image_bytes, open_shard
from fastleuk.data.tree import is_image_name
from fastleuk.errors import ConfigError, DataError, one_line
from fastleuk.predict.listing import listed_images
from fastleuk.run_folder.names import BEST, CONFIG
from fastleuk.shell import quoted

_FINAL = re.compile("test_final")
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Item:
    """An image to be predicted.

    Attributes:
        name: As it stands in the table: a path that leads to it from where the command was given.
        crop: Side in pixels of the centred square that is used; 0 for all of it.
        problem: Reason why a manifest's row names no image, or empty.
    """

    name: str
    crop: int = 0
    problem: str = ""

    @property
    def file(self) -> Path:
        """The file, or ``x.tar/member``."""
        return Path(self.name)


@dataclass
class LeftOut:
    """What was passed by in folders and shards.

    Attributes:
        endings: Files whose names don't end like an image, by ending.
        hidden: Files and folders whose names begin with a dot.
        others: Litter of systems, masks and previews, by the reason.
        examples: The first of each reason.
        cropped: Images of C-NMC's final phase, of which the centre is used as in training.
        remarks: Sentences on how manifests were read, where that may surprise.
    """

    endings: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    others: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    cropped: int = 0
    remarks: list[str] = field(default_factory=list)

    def add(self, reason: str, name: str) -> None:
        """Count a file or folder of this name."""
        if reason in (HIDDEN_FILE, HIDDEN_FOLDER):
            self.hidden += 1
            return
        self.others[reason] += 1
        self.examples.setdefault(reason, name)

    def lines(self) -> list[str]:
        """Say it, a line for each kind."""
        lines = [f"{remark}." for remark in self.remarks]
        if self.endings:
            shown = ", ".join(f"{n} {end}" for end, n in self.endings.most_common(5))
            more = ", …" if len(self.endings) > 5 else ""
            count = sum(self.endings.values())
            lines.append(f"Left out: {count} files not named like an image ({shown}{more})")
        if self.hidden:
            lines.append(f"Left out: {self.hidden} hidden files and folders")
        for reason, count in self.others.items():
            lines.append(f"Left out: {count}: {reason}, such as {one_line(self.examples[reason])}")
        if self.cropped:
            lines.append(
                f"{self.cropped} images of C-NMC's final phase of {FINAL_SIDE}x{FINAL_SIDE} "
                f"pixels: their centre of {FINAL_CROP}x{FINAL_CROP} is used, as in training"
            )
        return lines


class Inputs:
    """The images that paths name.

    Args:
        paths: Files, folders, patterns, manifest CSVs, tar shards.
        root: Folder that a manifest's paths are relative to.

    Raises:
        DataError: a path is not there, or there is no image under it.
        ConfigError: no path, ``root`` without a manifest, or a run folder among the paths.
    """

    def __init__(self, paths: Sequence[str], *, root: str | None = None) -> None:
        self._root = root
        self._litter: list[tuple[str, str]] = []
        self._places = [place for path in paths for place in _expand(path, self._litter)]
        if not self._places:
            raise ConfigError(
                "There is nothing to predict: name images, folders, a manifest or shards after "
                "the run folders."
            )
        if root and not any(is_table(place) for place in self._places):
            raise ConfigError(f"--root {root} is for a manifest CSV, and none was given.")
        for place in self._places:
            if (place / CONFIG).is_file() and (place / BEST).exists():
                raise ConfigError(f"{place} is a run folder: name runs before the images.")

    def __iter__(self) -> Iterator[Item]:
        """Yield every image, in the same order each time."""
        return self._items(LeftOut())

    def survey(self) -> tuple[int, LeftOut]:
        """Count the images, and what is left out.

        Raises:
            DataError: there is no image under a path.
        """
        left_out, total = LeftOut(), 0
        for reason, path in self._litter:
            left_out.add(reason, path)
        for place in self._places:
            count = sum(1 for _ in self._of(place, left_out))
            if not count:
                raise DataError(_nothing(place))
            total += count
        return total, left_out

    def _items(self, left_out: LeftOut) -> Iterator[Item]:
        for place in self._places:
            yield from self._of(place, left_out)

    def _of(self, place: Path, left_out: LeftOut) -> Iterator[Item]:
        if place.is_dir():
            for name in _walk(str(place), left_out, ()):
                yield _cell(name, left_out)
        elif is_table(place):
            for name, crop, problem in listed_images(place, self._root, left_out.remarks):
                yield Item(name, crop, problem)
        elif place.suffix == SUFFIX:
            yield from _members(place, left_out)
        else:
            yield _cell(str(place), left_out)


def sort_key(name: str) -> str:
    """Return a key that puts ``2.bmp`` before ``10.bmp``; a text, since it is held a million times.

    >>> sorted(["10.bmp", "2.bmp", "1.bmp"], key=sort_key)
    ['1.bmp', '2.bmp', '10.bmp']
    """
    return _NUMBER.sub(lambda found: found[0].zfill(12), name)


def _expand(path: str, litter: list[tuple[str, str]]) -> list[Path]:
    """List what a word of the command line names; put litter that a pattern meets aside."""
    place = Path(path).expanduser()
    if os.path.lexists(place):
        return [place]
    if not is_pattern(path):
        raise DataError(f"{path}: no such file or folder.")
    fixed, found = expand_pattern(str(place))
    if not found:
        raise DataError(f"{path}: nothing matches this pattern.")
    kept: list[Path] = []
    folders: set[str] = set()
    for name in sorted(found, key=sort_key):
        reason = path_litter_reason(os.path.relpath(name, fixed))
        if reason:
            litter.append((reason, name))
        elif not any(str(parent) in folders for parent in Path(name).parents):
            kept.append(Path(name))
            if os.path.isdir(name):  # what is in it is read with it
                folders.add(str(Path(name)))
    return kept


def _walk(
    folder: str,
    left_out: LeftOut,
    above: tuple[tuple[int, int], ...],
    derived: Collection[str] = (),
) -> Iterator[str]:
    """Yield the image files under a folder; links are followed, unless they lead back.

    ``derived`` are paths that are known to be masks or previews of other images.
    """
    status = os.stat(folder)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    files, folders = _entries(folder, left_out)
    paths = [os.path.join(folder, name) for name in files]
    if any(map(is_derived_folder_name, folders)):
        quiet = LeftOut()
        inside = (os.path.join(folder, name) for name in sorted(folders))
        paths += (path for each in inside for path in _walk(each, quiet, (*above, here)))
    found = {path: why for path, why in _derived(folder, paths).items() if path not in derived}
    derived = {*derived, *found} if found else derived
    for name in sorted([*files, *folders], key=sort_key):
        path = os.path.join(folder, name)
        if name in folders:
            yield from _walk(path, left_out, (*above, here), derived)
        elif path not in derived:
            yield path
    for path, reason in found.items():
        left_out.add(reason, path)


def _entries(folder: str, left_out: LeftOut) -> tuple[list[str], set[str]]:
    """List the names of image files and of folders."""
    files: list[str] = []
    folders: set[str] = set()
    try:
        with os.scandir(folder) as listing:
            for entry in listing:
                is_folder = _is_folder(entry)
                litter = litter_reason(entry.name, folder=is_folder)
                if litter:
                    left_out.add(litter, entry.path)
                elif is_folder:
                    folders.add(entry.name)
                elif is_image_name(entry.name):
                    files.append(entry.name)
                else:
                    ending = os.path.splitext(entry.name)[1].lower()
                    left_out.endings[ending or "without an ending"] += 1
    except OSError as error:
        raise DataError(
            f"{folder}: the folder can't be read: {error.strerror or error}."
        ) from error
    return files, folders


def _derived(folder: str, paths: list[str]) -> dict[str, str]:
    """Find masks and previews among paths under a folder; the reason by the path."""
    inside = {os.path.relpath(path, folder): path for path in paths}
    found = find_derived(inside, lambda name: image_bytes(Path(inside[name])).data)
    return {inside[name]: reason for name, (reason, _) in found.reasons.items()}


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _cell(name: str, left_out: LeftOut) -> Item:
    """Cut the final phase's images of C-NMC as training does."""
    final = _is_final_phase(os.path.dirname(name))
    if not final or bmp_size(Path(name)) != (FINAL_SIDE, FINAL_SIDE):
        return Item(name)
    left_out.cropped += 1
    return Item(name, FINAL_CROP)


@lru_cache(maxsize=64)
def _is_final_phase(folder: str) -> bool:
    parts = Path(os.path.abspath(folder)).parts[-3:]
    return any(_FINAL.search(part.lower()) for part in parts)


def _members(place: Path, left_out: LeftOut) -> Iterator[Item]:
    shard = open_shard(place)
    derived = derived_members(place, shard)
    for name in sorted(shard.members, key=sort_key):
        reason = path_litter_reason(name) or derived.get(name, "")
        if reason:
            left_out.add(reason, f"{place}/{name}")
        elif is_image_name(name):
            stem = name.rpartition("/")[0]
            base = name[len(stem) :].partition(".")[0]
            yield Item(f"{place}/{name}", _told_crop(shard, f"{stem}{base}.json"))
        elif not name.endswith((".json", ".cls", ".txt")):
            left_out.endings[os.path.splitext(name)[1].lower() or "without an ending"] += 1


def _told_crop(shard: Shard, name: str) -> int:
    """Return what a sample's ``.json`` says of the part that is used, as fastleuk packs it."""
    if name not in shard.members:
        return 0
    try:
        crop = json.loads(shard.read(name).tobytes()).get("crop", 0)
    except (DataError, ValueError, AttributeError, RecursionError):
        return 0
    return crop if type(crop) is int and 0 < crop <= 100_000 else 0


def _nothing(place: Path) -> str:
    hint = ""
    if place.is_dir() and next(place.glob(f"*{SUFFIX}"), None):
        hint = f" For its tar shards, give {quoted(place / f'*{SUFFIX}')}."
    return (
        f"{place}: no image in it. Images end in .bmp .png .jpg .jpeg .jfif .tif .tiff or "
        f".webp.{hint}"
    )
