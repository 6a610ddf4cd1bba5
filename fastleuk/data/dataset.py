"""The data set, ready to be split: discovered, verified, freed of copies, grouped by subject."""

import dataclasses
import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from fastleuk.data.copies.identical import IdenticalSet, find_identical, subject_groups
from fastleuk.data.copies.near import NearDuplicates, confirm_same, find_near_duplicates
from fastleuk.data.discover import Discovery, discover
from fastleuk.data.labels.positive import positive_class
from fastleuk.data.left_out import Ignored, bad_lines, heavy_losses
from fastleuk.data.manifest import Manifest
from fastleuk.data.shards.index import check_contents
from fastleuk.data.shards.read import image_bytes
from fastleuk.data.verify import changed_files, verify_files
from fastleuk.errors import DataError, listed
from fastleuk.files import is_utf8
from fastleuk.progress import Progress


@dataclass(frozen=True, eq=False)
class DataSet:
    """A verified data set of N images."""

    manifest: Manifest
    """Without bad files and without surplus identical copies."""
    groups: np.ndarray
    """(N,) int64: subjects that must stay together share a number."""
    sha256: tuple[str, ...]
    sizes: np.ndarray
    """(N, 2) int64: width, height in pixels."""
    identical: tuple[IdenticalSet, ...]
    """As found; their indices point into ``found``."""
    bad: tuple[tuple[str, str], ...]
    """(path, reason) of what was skipped."""
    ignored: tuple[Ignored, ...]
    found: Manifest
    """As discovered, with bad files and copies."""
    positive: str | None = None
    """The positive class, see :func:`fastleuk.data.labels.positive.positive_class`."""
    remarks: tuple[str, ...] = ()
    """How the data were read, where that may surprise."""
    notes: tuple[tuple[str, str], ...] = ()
    """(path, note) of what is used, but not as it stands: its first page, its content in spite of
    its name."""
    stamps: tuple[str, ...] = ()
    """Of the N files when they were read; empty: not known."""
    pixels: tuple[str, ...] = ()
    """Hashes of the N images' pixels, see :attr:`fastleuk.data.images.decode.Examined.pixels`."""
    described: np.ndarray | None = None
    """(N, 256) float32, see :func:`fastleuk.data.copies.near.describe_picture`."""
    near: NearDuplicates = field(default_factory=NearDuplicates)
    """Pictures that look alike, by position in ``manifest``."""

    @cached_property
    def content_hash(self) -> str:
        """Hex SHA-256 over the sorted (path, label, file hash): identifies the data set."""
        m = self.manifest
        rows = sorted((m.paths[i], m.label_name(i), self.sha256[i]) for i in range(len(m)))
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def require_unchanged(self) -> None:
        """Make sure that the files still are what was verified.

        Raises:
            DataError: some are not; they are listed.
        """
        if not self.stamps:
            return
        changed = changed_files(self.manifest, self.stamps, self.sha256)
        if changed:
            raise DataError(
                f"{self.manifest.root}: {len(changed)} file(s) have changed since they were "
                f"verified, while they were in use:\n{listed(changed, 20)}\n"
                "What was made of them is of no known data. Restore them, or start anew."
            )


def load_dataset(
    root: Path | str,
    *,
    subject_regex: str | None = None,
    positive: str | None = None,
    layout: str = "auto",
    class_level: int = 0,
    subject_level: int = 0,
    manifest_root: Path | str | None = None,
    skip_bad: bool = False,
    least_classes: int = 2,
    workers: int | None = None,
    progress: Progress | None = None,
    cache_dir: Path | None = None,
) -> DataSet:
    """Discover ``root``, read every file once, drop surplus copies, and group the subjects.

    Args:
        root: a folder, or a manifest ``.csv``.
        subject_regex: as for :func:`fastleuk.data.discover.discover`.
        positive: the positive class; by default that of the names, if they tell.
        layout: likewise.
        class_level: likewise.
        subject_level: likewise.
        manifest_root: likewise.
        skip_bad: leave bad files out instead of refusing the set.
        least_classes: likewise.
        workers: threads that read and decode.
        progress: called as ``progress(done, total)``.
        cache_dir: where verification results are kept; default the user's cache.

    Raises:
        DataError: bad files or, of a class, many that were left out (listed, unless
            ``skip_bad``), or a class without an image.
        ConfigError: ``positive`` is no class.
    """
    discovery = discover(
        root, subject_regex=subject_regex, layout=layout, class_level=class_level,
        subject_level=subject_level, manifest_root=manifest_root, least_classes=least_classes,
    )  # fmt: skip
    found = discovery.manifest
    positive = positive_class(found.class_names, positive)
    _require_utf8(root, found)
    _require_few_losses(root, discovery, skip_bad)
    result = verify_files(found, workers=workers, progress=progress, cache_dir=cache_dir)
    if found.packed:
        check_contents(found, result.sha256)
    identical = find_identical(result.pixels, found)
    broken = [(found.paths[i], reason) for i, reason in sorted(result.errors.items())]
    conflicts = _label_conflicts(found, identical)
    bad = (*discovery.bad, *broken, *((found.paths[i], why) for i, why in conflicts))
    if bad and not skip_bad:
        raise DataError(
            f"{root}: {len(bad)} file(s) that can't be used. Mend or remove them, or give "
            "--skip-bad to go on without them (fastleuk data --skip-bad lists them all):\n"
            f"{listed(bad_lines(bad))}"
        )
    drop = {i for same in identical for i in same.surplus}
    drop |= result.errors.keys() | {i for i, _ in conflicts}
    keep = np.array([i for i in range(len(found)) if i not in drop], dtype=np.int64)
    manifest = dataclasses.replace(found.take(keep), needs_pil=result.needs_pil[keep])
    if least_classes > 1:
        _require_classes(manifest, bad)
    ties = [*(same.indices for same in identical), *discovery.versions]
    described = result.described[keep]
    near = find_near_duplicates(described, subject_groups(found, ties)[keep])
    near = confirm_same(near, lambda i: image_bytes(manifest.file(i)))
    ties += [(int(keep[pair.first]), int(keep[pair.second])) for pair in near.same]
    return DataSet(
        manifest=manifest,
        groups=subject_groups(found, ties)[keep],
        sha256=tuple(result.sha256[i] for i in keep),
        sizes=result.sizes[keep],
        identical=identical,
        bad=bad,
        ignored=discovery.ignored,
        found=found,
        positive=positive,
        remarks=discovery.remarks,
        notes=tuple((found.paths[i], note) for i, note in sorted(result.notes.items())),
        stamps=tuple(result.stamps[i] for i in keep),
        pixels=tuple(result.pixels[i] for i in keep),
        described=described,
        near=near,
    )


def _require_few_losses(root: Path | str, discovery: Discovery, skip_bad: bool) -> None:
    manifest = discovery.manifest
    kept = Counter(dict.fromkeys(manifest.class_names, 0))
    kept.update(manifest.label_name(i) for i in manifest.labelled)
    lost = "" if skip_bad else heavy_losses(kept, discovery.ignored)
    if lost:
        raise DataError(f"{root}: {lost}")


def _require_utf8(root: Path | str, found: Manifest) -> None:
    """Refuse what goes into configuration, weights and tables as text: file names need not be."""
    if not is_utf8(str(root)):
        raise DataError(
            f"{str(root)!r}: the folder's path is not UTF-8, so no configuration can hold it. "
            "Rename it, or make a link to it (ln -s) and give that."
        )
    odd = [repr(name) for name in found.class_names if not is_utf8(name)]
    if odd:
        raise DataError(
            f"{root}: class names that are not UTF-8:\n{listed(odd)}\nRename these classes."
        )


def _label_conflicts(found: Manifest, identical: tuple[IdenticalSet, ...]) -> list[tuple[int, str]]:
    """Return (index, reason) of every labelled copy whose twin bears another label."""
    conflicts = []
    for same in identical:
        if not same.conflicting:
            continue
        named = [f"{found.paths[i]} ({found.label_name(i)})" for i in same.indices]
        for i, label in zip(same.indices, same.labels, strict=True):
            if label >= 0:
                others = ", ".join(n for j, n in zip(same.indices, named, strict=True) if j != i)
                reason = f"labelled {found.label_name(i)}, but identical to {others}"
                conflicts.append((i, reason))
    return conflicts


def _require_classes(manifest: Manifest, bad: tuple[tuple[str, str], ...]) -> None:
    counts = np.bincount(manifest.labels[manifest.labelled], minlength=len(manifest.class_names))
    gone = [manifest.class_names[c] for c in np.flatnonzero(counts == 0)]
    if gone:
        raise DataError(
            f"{manifest.root}: no usable image of: {', '.join(gone)}. Left out as bad:\n"
            f"{listed(bad_lines(bad))}"
        )
