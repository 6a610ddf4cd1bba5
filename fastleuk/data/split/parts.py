"""What a split is, what its mode promises, and the check that it keeps that."""

import re
from dataclasses import dataclass

import numpy as np

from fastleuk.data.manifest import Manifest
from fastleuk.data.split.draw_parts import TEST, TRAIN, UNUSED
from fastleuk.data.split.ready_made import MODE as FOLDERS
from fastleuk.data.split.ready_made import folder_notes
from fastleuk.errors import ConfigError, DataError, listed

PARTS = ("unused", "train", "val", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """Which part each of the N images of a manifest belongs to."""

    mode: str
    """``subject``, ``fold:K``, ``kfold:I/K``, ``kfold:I/K@SEED``, ``folders`` or ``image``."""
    seed: int
    parts: np.ndarray
    """(N,) int8, index into ``PARTS``."""
    groups: np.ndarray
    """(N,) int64, the subject groups the split was made with."""
    notes: tuple[str, ...] = ()
    """What a reader of the results must know."""
    looks: tuple[str, ...] = ()
    """Of a split made before pictures were compared: tied subjects that are in several parts."""

    def indices(self, part: str) -> np.ndarray:
        """Return the (K,) int64 indices of the images of ``part``, ascending."""
        return np.flatnonzero(self.parts == PARTS.index(part))


def parse_mode(mode: str) -> int | None:
    """Return K of ``fold:K``; None for ``subject``, ``image``, ``folders`` and ``kfold:I/K``.

    Raises:
        ConfigError: it is none of these.
    """
    if mode in ("subject", "image", FOLDERS) or parse_kfold(mode) is not None:
        return None
    name, _, fold = mode.partition(":")
    if name != "fold" or not (fold.isascii() and fold.isdigit()):
        raise ConfigError(
            f"--split {mode!r}: choose subject, image, or fold:K such as fold:0 (an official "
            "fold), or kfold:I/K such as kfold:0/5 (one of five folds drawn by subject), or "
            "folders (the data's own train and test)."
        )
    return int(fold)


def parse_kfold(mode: str) -> tuple[int, int, int] | None:
    """Return (I, K, seed) of ``kfold:I/K`` (seed 0) or ``kfold:I/K@SEED``; else None.

    The folds' seed is part of the mode, so that repeated runs with seeds of their own share them.

    Raises:
        ConfigError: it begins with ``kfold`` but is none, or names no fold from 0 to K - 1.

    >>> parse_kfold("kfold:1/5@7"), parse_kfold("subject")
    ((1, 5, 7), None)
    """
    if not mode.startswith("kfold"):
        return None
    match = re.fullmatch(r"kfold:([0-9]{1,6})/([0-9]{1,6})(?:@([0-9]{1,18}))?", mode)
    if match is None:
        raise ConfigError(
            f"--split {mode!r}: write kfold:I/K, such as kfold:0/5 for the first of five folds, "
            "or kfold:I/K@SEED for another draw of the folds."
        )
    fold, folds = int(match[1]), int(match[2])
    if folds < 2 or fold >= folds:
        raise ConfigError(
            f"--split {mode!r}: K must be at least 2, and I from 0 to K - 1, such as kfold:0/5."
        )
    return fold, folds, int(match[3] or 0)


def check_split(split: Split, manifest: Manifest, groups: np.ndarray) -> None:
    """Refuse a split whose mode promises independent subjects where one crosses its parts.

    Raises:
        DataError: naming those subjects and parts; or a part that lacks a class.
    """
    assert split.parts.shape == (len(manifest),), f"{split.parts.shape}, {len(manifest)} images"
    problems = [
        f"no image of {name!r} in {part}"
        for code, name in enumerate(manifest.class_names)
        for part in PARTS[1:]
        if not np.any(manifest.labels[split.indices(part)] == code)
    ]
    if problems:
        raise DataError(
            f"--split {split.mode}: each part needs every class. Choose another split, seed or "
            f"fraction:\n{listed(problems)}"
        )
    fold = parse_mode(split.mode)
    if split.mode == "image":
        return
    if fold is not None:
        refuse_subjects_in_many_folds(manifest)
    crossing = [] if split.looks else crossing_groups(split.parts, manifest, groups)
    if crossing:
        raise DataError(
            f"--split {split.mode} promises that no subject is shared, but {len(crossing)} are. "
            f"The split file doesn't fit this data: make the split anew:\n{listed(crossing)}"
        )


def crossing_groups(parts: np.ndarray, manifest: Manifest, groups: np.ndarray) -> list[str]:
    """List the groups that are in more than one used part, by part and subject."""
    used: dict[int, dict[str, set[str]]] = {}
    for i in np.flatnonzero(parts != UNUSED):
        by_part = used.setdefault(int(groups[i]), {})
        by_part.setdefault(PARTS[parts[i]], set()).add(manifest.subjects[i])
    return [
        "; ".join(f"{part}: {', '.join(sorted(s))}" for part, s in sorted(by_part.items()))
        for by_part in used.values()
        if len(by_part) > 1
    ]


def split_notes(
    mode: str, parts: np.ndarray, manifest: Manifest, groups: np.ndarray
) -> tuple[str, ...]:
    """Say what limits the results of such a split, with counts."""
    notes = []
    if manifest.subject_is_image:
        notes.append(
            "No subject is known, so each image counts as its own: that the parts share no "
            "subject can't be promised."
        )
    elif mode == "image":
        tested = set(groups[parts == TEST])
        shared = len(tested & set(groups[parts == TRAIN]))
        notes.append(_image_note(shared, len(tested)))
    if mode == FOLDERS:
        notes += folder_notes(manifest, parts)
    if parse_mode(mode) is not None:
        known = manifest.labels >= 0
        tied = known & (manifest.folds >= 0) & (parts == UNUSED)
        if tied.any():
            people = len({manifest.subjects[i] for i in np.flatnonzero(tied)})
            notes.append(
                f"{int(tied.sum())} images of {people} subject(s) outside the test fold are "
                "unused: an identical or near-identical picture ties these subjects to it."
            )
        outside = int((known & (manifest.folds < 0)).sum())
        if outside:
            notes.append(f"{outside} labelled images in no fold are unused.")
    return tuple(notes)


def _image_note(shared: int, tested: int) -> str:
    if not shared:
        return (
            f"The image split doesn't keep subjects apart; by chance none of the {tested} subjects "
            "in test stands in train."
        )
    return (
        f"The image split leaks subjects: {shared} of the {tested} subjects in test also stand in "
        "train, so the test figures may read higher than on unseen subjects. By how much depends "
        "on the data and is not measured here; fastleuk paper measures it. (Published on C-NMC "
        "2019: above 0.95 on such splits, weighted F1 of 0.89 to 0.91 on unseen subjects.)"
    )


def refuse_subjects_in_many_folds(manifest: Manifest) -> None:
    """Raise DataError, naming them, where labelled images of a subject stand in several folds."""
    where: dict[str, set[int]] = {}
    for i in manifest.labelled:
        if manifest.folds[i] >= 0:
            where.setdefault(manifest.subjects[i], set()).add(int(manifest.folds[i]))
    crossing = [f"{s}: folds {', '.join(map(str, sorted(f)))}" for s, f in where.items()
                if len(f) > 1]  # fmt: skip
    if crossing:
        raise DataError(
            f"{manifest.root}: {len(crossing)} subjects stand in several folds. Mend the folds, or "
            f"use --split subject:\n{listed(crossing)}"
        )
