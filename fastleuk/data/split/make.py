"""Make a split, in any mode: by subject, by official or drawn fold, by folder, or by image."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from fastleuk.data.manifest import Manifest
from fastleuk.data.split.draw_folds import draw_folds
from fastleuk.data.split.draw_parts import TEST, TRAIN, UNUSED, VAL, split_groups
from fastleuk.data.split.parts import (
    Split,
    check_split,
    parse_kfold,
    parse_mode,
    refuse_subjects_in_many_folds,
    split_notes,
)
from fastleuk.data.split.ready_made import MODE as FOLDERS
from fastleuk.data.split.ready_made import hold_out_folders
from fastleuk.errors import ConfigError, DataError


def make_split(
    manifest: Manifest,
    groups: np.ndarray,
    *,
    mode: str = "subject",
    val_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> Split:
    """Split the labelled images; a pure function of its arguments.

    ``subject`` shares no group between parts and comes as near to the fractions, class by class,
    as the sizes of the groups allow. ``fold:K`` tests on official fold K and draws the validation
    part by group from the other folds (``val_fraction`` of these); what is in no fold, or tied to
    the test fold by an identical or near-identical picture, is unused. ``kfold:I/K`` draws K folds
    by group from all labelled images (``@SEED`` behind it: another draw), tests on fold I, and
    draws the validation part by group from the others with ``seed``: every image is tested in one
    of the K folds. ``folders`` takes the parts that the data came with, and draws the validation
    part by group from train (``val_fraction`` of it) where there is none. ``image`` is the
    paper's: exact fractions of each class, whoever's the images are.

    Args:
        manifest: N images.
        groups: (N,) int64 from ``subject_groups``.
        mode: ``subject``, ``fold:K``, ``kfold:I/K``, ``kfold:I/K@SEED``, ``folders`` or ``image``.
        val_fraction: of all labelled images (of the other folds where there are folds).
        test_fraction: of all labelled images; not used where there are folds.
        seed: of the draw; it leaves the K folds of ``kfold`` as they are.

    Raises:
        ConfigError: an unknown mode, fractions that make no sense, or more folds than subjects.
        DataError: too few subjects or images, an unknown fold, or a subject in several folds.
    """
    fold, drawn = parse_mode(mode), parse_kfold(mode)
    held_out = fold is not None or drawn is not None or mode == FOLDERS
    _check_numbers(val_fraction, None if held_out else test_fraction, seed)
    parts = np.full(len(manifest), UNUSED, dtype=np.int8)
    fractions = [(VAL, val_fraction)]
    if fold is not None:
        drawn_from = _hold_out_fold(manifest, groups, fold, parts)
    elif drawn is not None:
        drawn_from = _hold_out_drawn_fold(manifest, groups, *drawn, parts)
    elif mode == FOLDERS:
        drawn_from, has_val = hold_out_folders(manifest, groups, parts)
        fractions = [] if has_val else fractions
    else:
        drawn_from = manifest.labelled
        fractions = [(TEST, test_fraction), (VAL, val_fraction)]
    labels, names = manifest.labels[drawn_from], manifest.class_names
    if not fractions:
        parts[drawn_from] = TRAIN
    elif mode == "image":
        parts[drawn_from] = _split_images(labels, names, fractions, seed)
    else:
        parts[drawn_from] = split_groups(labels, groups[drawn_from], names, fractions, seed)
    split = Split(mode, seed, parts, groups, split_notes(mode, parts, manifest, groups))
    check_split(split, manifest, groups)
    return split


def _check_numbers(val: float, test: float | None, seed: int) -> None:
    values = [("--val-fraction", val)] + ([] if test is None else [("--test-fraction", test)])
    for name, value in values:
        if not 0 < value < 1:
            raise ConfigError(f"{name} {value}: must lie between 0 and 1, such as 0.1.")
    if test is not None and val + test >= 1:
        raise ConfigError(f"--val-fraction {val} and --test-fraction {test} leave no training set.")
    if not 0 <= seed < 2**63:
        raise ConfigError(f"--seed {seed}: must be from 0 to 2**63 - 1.")


def _hold_out_fold(
    manifest: Manifest, groups: np.ndarray, fold: int, parts: np.ndarray
) -> np.ndarray:
    """Mark the test fold in ``parts``; return the indices that training may use."""
    known = manifest.labels >= 0
    there = sorted({int(f) for f in manifest.folds[known] if f >= 0})
    if fold not in there or len(there) < 2:
        have = f"only {', '.join(map(str, there))}" if there else "no folds"
        raise DataError(
            f"--split fold:{fold}: {manifest.root} has {have}. Testing on a fold needs it and at "
            "least one other; --split subject needs none."
        )
    refuse_subjects_in_many_folds(manifest)
    test = known & (manifest.folds == fold)
    parts[test] = TEST
    return np.flatnonzero(known & (manifest.folds >= 0) & ~np.isin(groups, groups[test]))


def _hold_out_drawn_fold(
    manifest: Manifest, groups: np.ndarray, fold: int, folds: int, seed: int, parts: np.ndarray
) -> np.ndarray:
    """Mark the test fold in ``parts``; return the indices that training may use."""
    known = manifest.labelled
    drawn = draw_folds(manifest.labels[known], groups[known], manifest.class_names, folds, seed)
    parts[known[drawn == fold]] = TEST
    return known[drawn != fold]


def _split_images(
    labels: np.ndarray,
    class_names: tuple[str, ...],
    fractions: Sequence[tuple[int, float]],
    seed: int,
) -> np.ndarray:
    parts = np.full(len(labels), TRAIN, dtype=np.int8)
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, 1], dtype=np.uint64)))
    for code, name in enumerate(class_names):
        members = rng.permutation(np.flatnonzero(labels == code))
        start = 0
        for part, fraction in fractions:
            count = max(1, _nearest(len(members) * Fraction(str(fraction))))
            parts[members[start : start + count]] = part
            start += count
        if start >= len(members):
            raise DataError(
                f"class {name!r} has {len(members)} image(s): too few for a train, a val and a "
                "test part. Add images, or remove the class."
            )
    return parts


def _nearest(value: Fraction) -> int:
    """Return the nearest whole number, halves up."""
    return int(value + Fraction(1, 2))
