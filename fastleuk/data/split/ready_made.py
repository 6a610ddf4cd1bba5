"""The split that a data set comes with: folders such as ``train`` and ``test``."""

from __future__ import annotations

import numpy as np

from fastleuk.data.folders.parts import part_of
from fastleuk.data.manifest import Manifest
from fastleuk.data.split.draw_parts import TEST, TRAIN, UNUSED, VAL
from fastleuk.errors import DataError, listed

MODE = "folders"
_PART = {"train": TRAIN, "val": VAL, "test": TEST, "prelim": TEST}
"""By source; C-NMC's preliminary set is the test of its training set."""


def hold_out_folders(
    manifest: Manifest, groups: np.ndarray, parts: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Mark in ``parts`` what the folders say.

    Images of train that are tied to val or test by an identical or near-identical picture, and
    those of val tied to test, stay unused.

    Args:
        manifest: N images, whose sources are the parts.
        groups: (N,) int64.
        parts: (N,) int8, all unused; written to.

    Returns:
        The indices of the training images, and whether there is a validation part.

    Raises:
        DataError: no test or no train folder, or subjects that stand in several.
    """
    sources = _parts_of(manifest)
    sources[manifest.labels < 0] = UNUSED
    lacking = [name for name, part in (("train", TRAIN), ("test", TEST)) if part not in sources]
    if lacking:
        raise DataError(
            f"--split folders: {manifest.root} has no labelled image of "
            f"{' and of '.join(lacking)}; its sources are "
            f"{', '.join(sorted(set(manifest.sources)))}. It needs folders train and test; val is "
            "drawn from train where it isn't there. --layout parts with another --split merges "
            "the folders."
        )
    _refuse_shared_subjects(manifest, sources)
    test = sources == TEST
    val = (sources == VAL) & ~np.isin(groups, groups[test])
    train = (sources == TRAIN) & ~np.isin(groups, groups[test | val])
    parts[test], parts[val] = TEST, VAL
    return np.flatnonzero(train), bool(val.any())


def _refuse_shared_subjects(manifest: Manifest, sources: np.ndarray) -> None:
    where: dict[str, set[str]] = {}
    for i in np.flatnonzero(sources != UNUSED):
        where.setdefault(manifest.subjects[i], set()).add(manifest.sources[i])
    shared = [f"{s}: {', '.join(sorted(found))}" for s, found in where.items() if len(found) > 1]
    if shared:
        raise DataError(
            f"{manifest.root}: {len(shared)} subjects stand in several parts of --split folders, "
            "so that its test is no test on unseen people. --layout parts with --split subject "
            f"merges the folders and keeps each subject together:\n{listed(shared)}"
        )


def _parts_of(manifest: Manifest) -> np.ndarray:
    """Return (N,) int8: the part that each image's source means, also in a user's own words."""
    part = dict(_PART)
    for source in set(manifest.sources) - part.keys():
        found = part_of(source)
        part[source] = _PART[found[0]] if found and not found[1] else UNUSED
    return np.array([part[source] for source in manifest.sources], dtype=np.int8)


def folder_notes(manifest: Manifest, parts: np.ndarray) -> list[str]:
    """Say what such a split leaves unused, and where its validation part is from."""
    notes = []
    sources = _parts_of(manifest)
    known = manifest.labels >= 0
    tied = known & (sources != UNUSED) & (parts == UNUSED)
    if tied.any():
        notes.append(
            f"{int(tied.sum())} images of train or val are unused: an identical or near-identical "
            "picture, or a copy, ties them to another part."
        )
    other = int((known & (sources == UNUSED)).sum())
    if other:
        notes.append(f"{other} labelled images in no folder of a part are unused.")
    if VAL not in sources[known]:
        notes.append("Nothing is marked as val: the validation part is drawn from train.")
    return notes
