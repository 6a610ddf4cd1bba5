"""Discover what a path holds (folder, manifest CSV, shards): its manifest, and what was ignored."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fastleuk.csv_files import is_table
from fastleuk.data.cnmc.tree import cnmc_manifest, has_cnmc_folders, is_cnmc
from fastleuk.data.derived import find_derived, find_versions, is_derived_folder_name
from fastleuk.data.folders.classes import class_folders
from fastleuk.data.folders.cnmc_names import check_names
from fastleuk.data.folders.parts import part_of
from fastleuk.data.labels.subjects import settle_subjects, subject_pattern
from fastleuk.data.left_out import Ignored, bad_lines
from fastleuk.data.manifest import Manifest
from fastleuk.data.manifest_csv import parse_manifest
from fastleuk.data.shards.manifest import shards_manifest
from fastleuk.data.shards.read import SUFFIX
from fastleuk.data.tree import Tree, read_tree
from fastleuk.errors import ConfigError, DataError, listed, one_line
from fastleuk.shell import quoted

Sets = tuple[tuple[int, ...], ...]
DEEPEST = 20
"""Highest level of folders that can be named."""


@dataclass(frozen=True)
class Discovery:
    """What :func:`discover` found."""

    manifest: Manifest
    ignored: tuple[Ignored, ...] = ()
    bad: tuple[tuple[str, str], ...] = ()
    """(path, reason) of images and rows that can't be used; ``load_dataset`` refuses or skips."""
    remarks: tuple[str, ...] = ()
    """How it was read, where that may surprise."""
    versions: Sets = ()
    """Images of the manifest that show one cell by their names: they stay in one part."""


def discover(
    root: Path | str,
    *,
    subject_regex: str | None = None,
    layout: str = "auto",
    class_level: int = 0,
    subject_level: int = 0,
    manifest_root: Path | str | None = None,
    least_classes: int = 2,
) -> Discovery:
    """Find the images under ``root`` in any C-NMC layout, in class folders, or by a manifest CSV.

    Args:
        root: a folder, a manifest ``.csv``, or tar shards such as ``shards/*.tar``.
        subject_regex: for class folders: searched in each path relative to ``root``, or else in
            each file name; its group named ``subject``, or its first group, is the subject.
        layout: of a folder: ``folders`` (their names are the classes), ``cnmc`` (the names of the
            files tell the classes), ``parts`` (as ``folders``, within ``train``, ``test`` and so
            on; C-NMC's own folders are as well) or ``auto``: what it looks like.
        class_level: level of the folders that are the classes, from 1, those of ``root`` itself;
            0 for what it looks like. In shards: of the members, in place of their labels.
        subject_level: level of the folders that are the subjects; 0 for none.
        manifest_root: for a manifest: the folder that its paths are relative to.
        least_classes: so many must have images; 1 for data that are only scored.

    Raises:
        DataError: nothing there, no recognisable class, too few of them, an empty class, names
            that ``subject_regex`` doesn't match, two readings that disagree, subjects in two
            spellings, or a labels CSV that makes no sense.
        ConfigError: ``subject_regex`` is not usable, or the layout already tells the subjects.
    """
    place = Path(root).expanduser()
    levels = _Levels(class_level, subject_level)
    found = _read(place, subject_regex, layout, levels, manifest_root, least_classes)
    _require_classes(found, least_classes)
    by_name = find_versions(found.manifest.paths)
    by_source = _same_in_sources(found.manifest)
    return replace(
        found,
        manifest=settle_subjects(found.manifest),
        versions=(*by_name, *by_source),
        remarks=(*found.remarks, *_on_versions(found.manifest, by_name, by_source)),
    )


def _same_in_sources(manifest: Manifest) -> Sets:
    """Find images whose paths differ in the source only: variants of a cell, without a subject.

    A source is what lies above the classes (``--class-level``); parts of a split are none.
    """
    if manifest.layout == "cnmc":
        return ()
    same: dict[str, list[int]] = defaultdict(list)
    is_part = {source: part_of(source) is not None for source in set(manifest.sources)}
    for i, source in enumerate(manifest.sources):
        inside = manifest.paths[i].rpartition(".tar/")[2]
        if is_part[source] or manifest.subjects[i] != manifest.paths[i]:
            continue
        if inside.startswith(f"{source}/"):
            same[inside[len(source) :].rpartition(".")[0].casefold()].append(i)
    return tuple(tuple(members) for members in same.values() if len(members) > 1)


def _on_versions(manifest: Manifest, by_name: Sets, by_source: Sets) -> Iterator[str]:
    if by_name:
        one, other = (one_line(manifest.paths[i]) for i in by_name[0][:2])
        yield (
            f"{sum(map(len, by_name))} images are augmented copies or versions of {len(by_name)}, "
            f"by their names (such as {one} and {other}): those of one image stay in one part"
        )
    if by_source:
        one, other = (one_line(manifest.paths[i]) for i in by_source[0][:2])
        yield (
            f"{sum(map(len, by_source))} images have their name in several of the folders above "
            f"the classes, such as {one} and {other}: they count as {len(by_source)} cells, each "
            "of which stays in one part (--subject-level names subjects instead)"
        )


@dataclass(frozen=True)
class _Levels:
    classes: int
    subjects: int

    def __post_init__(self) -> None:
        for name, level in (("class", self.classes), ("subject", self.subjects)):
            if not 0 <= level <= DEEPEST:
                raise ConfigError(f"--{name}-level {level}: must be from 0 (none) to {DEEPEST}.")
        if self.classes and self.classes == self.subjects:
            raise ConfigError(
                f"--class-level and --subject-level are both {self.classes}: one folder can't be "
                "both. Choose another level for one."
            )

    def refuse(self, teller: str, remedy: str = "") -> None:
        """Refuse levels where something else tells classes and subjects."""
        given = [
            f"--{name}-level {level}"
            for name, level in (("class", self.classes), ("subject", self.subjects))
            if level
        ]
        if given:
            raise ConfigError(
                f"{' and '.join(given)}: for class folders and shards; here {teller} the classes "
                f"and subjects{remedy}."
            )


def _read(
    place: Path,
    subject_regex: str | None,
    layout: str,
    levels: _Levels,
    manifest_root: Path | str | None,
    least_classes: int,
) -> Discovery:
    pattern = subject_pattern(subject_regex)
    if pattern is not None and levels.subjects:
        raise ConfigError(
            f"--subject-regex and --subject-level {levels.subjects} both name the subject. Give "
            "one of them."
        )
    if place.suffix == SUFFIX and not place.is_dir():
        _refuse_pattern(pattern, "the shards")
        _refuse_options("tar shards", layout, manifest_root)
        return Discovery(
            *shards_manifest(
                place,
                class_level=levels.classes,
                subject_level=levels.subjects,
                least_classes=least_classes,
            )
        )
    if is_table(place):
        _refuse_pattern(pattern, "a manifest CSV")
        _refuse_options("a manifest CSV", layout, None)
        levels.refuse("a manifest CSV tells")
        return Discovery(*parse_manifest(place, manifest_root, least_classes=least_classes))
    _refuse_options("a folder", "auto", manifest_root)
    if levels.subjects == 1 and not levels.classes:
        raise ConfigError(
            "--subject-level 1: the folders of level 1 are read as classes. Give --class-level, "
            "too, such as --class-level 2."
        )
    tree = _tree(place)
    remarks = tree.remarks()
    if layout == "parts" and has_cnmc_folders(tree):
        layout = "cnmc"
    if layout == "auto" and levels.classes:
        layout = "levels"
    if layout == "cnmc" or (layout == "auto" and is_cnmc(tree)):
        levels.refuse("the C-NMC names tell", "; --layout folders takes no notice of them")
        _refuse_pattern(pattern, "the C-NMC names", "; --layout folders takes no notice of them")
        remarks += check_names(tree, chosen=layout != "auto")
        manifest, ignored, bad = cnmc_manifest(tree)
        return Discovery(manifest, (*tree.ignored, *ignored), (*tree.bad, *bad), remarks)
    by_class = class_folders(
        tree,
        pattern,
        layout=layout,
        class_level=levels.classes,
        subject_level=levels.subjects,
        least_classes=least_classes,
    )
    return Discovery(
        by_class.manifest, by_class.ignored, by_class.bad, (*remarks, *by_class.remarks)
    )


def _tree(place: Path) -> Tree:
    if not place.exists():
        raise DataError(f"{place}: no such folder. Give the folder of the images, or a manifest.")
    if not place.is_dir():
        raise DataError(f"{place}: a file. Give the folder of the images, or a manifest .csv.")
    tree = _without_derived(read_tree(place.resolve()))
    if tree.images:
        return tree
    shards = any(item.path.endswith(SUFFIX) for item in tree.ignored)
    hint = f" For its tar shards, give {quoted(place / '*.tar')}." if shards else ""
    found = [*map(str, tree.ignored), *bad_lines(tree.bad)]
    raise DataError(
        f"{place}: no image in it{'' if found else ', it is empty'}. Images end in .bmp .png .jpg "
        f".jpeg .jfif .tif .tiff or .webp.{hint}" + (f" Ignored:\n{listed(found)}" if found else "")
    )


def _without_derived(tree: Tree) -> Tree:
    """Leave out masks and previews of other images, and the folders that hold nothing else."""
    derived = find_derived(tree.images, lambda path: (tree.root / path).read_bytes())
    images = tuple(path for path in tree.images if path not in derived.reasons)
    used = {path.split("/", 1)[0] for path in (*images, *(path for path, _ in tree.bad))}
    others = {item.path.split("/", 1)[0] for item in tree.ignored if "/" in item.path[:-1]}
    annotations = {
        name
        for name in tree.folders
        if name in others - used - set(derived.folders) and is_derived_folder_name(name)
    }
    gone = tuple(f"{place}/" for place in (*derived.folders, *annotations))
    return replace(
        tree,
        images=images,
        folders=tuple(name for name in tree.folders if not f"{name}/".startswith(gone)),
        ignored=(
            *tree.ignored,
            *derived.ignored(),
            *(Ignored(f"{name}/", "annotations without an image") for name in sorted(annotations)),
        ),
    )


def _refuse_pattern(pattern: re.Pattern[str] | None, teller: str, remedy: str = "") -> None:
    if pattern is not None:
        raise ConfigError(
            f"--subject-regex is for class folders: here {teller} tell the subject{remedy}."
        )


def _refuse_options(what: str, layout: str, manifest_root: Path | str | None) -> None:
    if layout in ("folders", "cnmc"):
        raise ConfigError(f"--layout {layout} is for a folder of images; the data are {what}.")
    if manifest_root is not None:
        raise ConfigError(
            f"--root {manifest_root} is for a manifest CSV, whose paths it completes; the data "
            f"are {what}."
        )


def _require_classes(found: Discovery, least: int) -> None:
    manifest = found.manifest
    have = sorted({manifest.label_name(i) for i in manifest.labelled})
    if len(have) >= least:
        return
    said = f"only one class, {have[0]!r}" if have else "no labelled image"
    detail = f"\nImages that can't be used:\n{listed(bad_lines(found.bad))}" if found.bad else ""
    detail += f"\nIgnored:\n{listed([*map(str, found.ignored)])}" if found.ignored else ""
    raise DataError(
        f"{manifest.root}: {said} among {len(manifest)} images ({manifest.layout} layout). A "
        f"classifier needs images of at least two classes.{detail}"
    )
