"""Discover what a path holds (folder, manifest CSV, shards): its manifest, and what was ignored."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from fastleuk.csv_files import is_table
from fastleuk.data.cnmc.tree import cnmc_manifest, has_cnmc_folders, is_cnmc
from fastleuk.data.folders.classes import class_folders
from fastleuk.data.folders.cnmc_names import check_names
from fastleuk.data.labels.subjects import settle_subjects, subject_pattern
from fastleuk.data.left_out import Ignored, bad_lines
from fastleuk.data.manifest import Manifest
from fastleuk.data.manifest_csv import parse_manifest
from fastleuk.data.shards.manifest import shards_manifest
from fastleuk.data.shards.read import SUFFIX
from fastleuk.data.tree import Tree, read_tree
from fastleuk.errors import ConfigError, DataError, listed


@dataclass(frozen=True)
class Discovery:
    """What :func:`discover` found."""

    manifest: Manifest
    ignored: tuple[Ignored, ...] = ()
    bad: tuple[tuple[str, str], ...] = ()
    """(path, reason) of images and rows that can't be used; ``load_dataset`` refuses or skips."""
    remarks: tuple[str, ...] = ()
    """How it was read, where that may surprise."""


def discover(
    root: Path | str,
    *,
    subject_regex: str | None = None,
    layout: str = "auto",
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
        manifest_root: for a manifest: the folder that its paths are relative to.
        least_classes: so many must have images; 1 for data that are only scored.

    Raises:
        DataError: nothing there, no recognisable class, too few of them, an empty class, names
            that ``subject_regex`` doesn't match, two readings that disagree, subjects in two
            spellings, or a labels CSV that makes no sense.
        ConfigError: ``subject_regex`` is not usable, or the layout already tells the subjects.
    """
    place = Path(root).expanduser()
    found = _read(place, subject_regex, layout, manifest_root, least_classes)
    _require_classes(found, least_classes)
    return replace(found, manifest=settle_subjects(found.manifest))


def _read(
    place: Path,
    subject_regex: str | None,
    layout: str,
    manifest_root: Path | str | None,
    least_classes: int,
) -> Discovery:
    pattern = subject_pattern(subject_regex)
    if place.suffix == SUFFIX and not place.is_dir():
        _refuse_pattern(pattern, "the shards")
        _refuse_options("tar shards", layout, manifest_root)
        return Discovery(*shards_manifest(place, least_classes=least_classes))
    if is_table(place):
        _refuse_pattern(pattern, "a manifest CSV")
        _refuse_options("a manifest CSV", layout, None)
        return Discovery(*parse_manifest(place, manifest_root, least_classes=least_classes))
    _refuse_options("a folder", "auto", manifest_root)
    tree = _tree(place)
    remarks = tree.remarks()
    if layout == "parts" and has_cnmc_folders(tree):
        layout = "cnmc"
    if layout == "cnmc" or (layout == "auto" and is_cnmc(tree)):
        _refuse_pattern(pattern, "the C-NMC names", "; --layout folders takes no notice of them")
        remarks += check_names(tree, chosen=layout != "auto")
        manifest, ignored, bad = cnmc_manifest(tree)
        return Discovery(manifest, (*tree.ignored, *ignored), (*tree.bad, *bad), remarks)
    by_class = class_folders(tree, pattern, layout=layout, least_classes=least_classes)
    return Discovery(
        by_class.manifest, by_class.ignored, by_class.bad, (*remarks, *by_class.remarks)
    )


def _tree(place: Path) -> Tree:
    if not place.exists():
        raise DataError(f"{place}: no such folder. Give the folder of the images, or a manifest.")
    if not place.is_dir():
        raise DataError(f"{place}: a file. Give the folder of the images, or a manifest .csv.")
    tree = read_tree(place.resolve())
    if tree.images:
        return tree
    shards = any(item.path.endswith(SUFFIX) for item in tree.ignored)
    hint = f" For its tar shards, give '{place}/*.tar'." if shards else ""
    found = [*map(str, tree.ignored), *bad_lines(tree.bad)]
    raise DataError(
        f"{place}: no image in it{'' if found else ', it is empty'}. Images end in .bmp .png .jpg "
        f".jpeg .jfif .tif .tiff or .webp.{hint}" + (f" Ignored:\n{listed(found)}" if found else "")
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
