"""The images that a run has learned from or was chosen by, and how they look."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from fastleuk.data.copies.near import SIDE, VERSION
from fastleuk.data.dataset import DataSet
from fastleuk.data.split.file import read_split, read_split_rows
from fastleuk.errors import CheckpointError, DataError
from fastleuk.evaluation.baselines.measure import Measured, measure
from fastleuk.evaluation.decision import file_hash
from fastleuk.files import write_atomically
from fastleuk.models.seen_images import KEY as SEEN
from fastleuk.models.seen_images import NO_IMAGES, SeenImages, from_json
from fastleuk.progress import progress_bar
from fastleuk.run_folder.names import SPLIT

KEPT = "seen_images.npz"
"""What is known of their looks, in the run folder: other data can be compared with them after the
images themselves have gone."""

_FORMAT = 1000 + VERSION
"""Of the file: its layout, and the version of the descriptions."""

_MEASURES = ("colours", "area", "cell", "background", "share")


@dataclass(frozen=True, eq=False, slots=True)
class Looks:
    """How K images look.

    Attributes:
        pixels: Hashes of their pixels, K.
        described: float32 ``(K, 256)``, see :func:`fastleuk.data.copies.near.describe_picture`.
        measured: Size and colours.
    """

    pixels: tuple[str, ...]
    described: np.ndarray
    measured: Measured


@dataclass(frozen=True, eq=False, slots=True)
class Seen:
    """The K images of a run's training part, and behind them those of its validation part.

    Attributes:
        paths: K.
        subjects: K.
        parts: K, ``train`` or ``val``.
        sha256: Of the files, K.
        labels: int64 ``(K,)``.
        tested: Hashes of the files of the run's own test part.
        seed: Of the split.
        looks: None where the images are gone, and were never compared with before.
        gone: Why there are no looks; else empty.
        by_weights: The images that the weights record, those of their starting weights included.
        synthetic: Drawn cells, whose names are numbers.
    """

    paths: tuple[str, ...]
    subjects: tuple[str, ...]
    parts: tuple[str, ...]
    sha256: tuple[str, ...]
    labels: np.ndarray
    tested: frozenset[str]
    seed: int
    looks: Looks | None
    gone: str = ""
    by_weights: SeenImages = NO_IMAGES
    synthetic: bool = False

    @property
    def cell_side(self) -> float:
        """Median diameter of the cells in pixels of the files; NaN where it is not known."""
        area = np.zeros(0) if self.looks is None else self.looks.measured.area
        known = area[np.isfinite(area)]
        return float(np.median(np.sqrt(4 * known / np.pi))) if len(known) else float("nan")

    @property
    def trained(self) -> np.ndarray:
        """The places, int64, of those that the run was trained on."""
        return np.array([n for n, part in enumerate(self.parts) if part == "train"], np.int64)


def read_seen(
    run_dir: Path,
    class_names: Sequence[str],
    training: Callable[[], DataSet],
    *,
    workers: int,
    metadata: Mapping[str, Any] = MappingProxyType({}),
    report: Callable[[str], None] = print,
) -> Seen:
    """Return what a run has seen, as kept in its folder or as its data are now; keep it there.

    Args:
        run_dir: The run folder.
        class_names: The run's classes.
        training: Opens the run's data.
        workers: Threads that read images.
        metadata: Of the weights.
        report: Is told how long it took.

    Raises:
        CheckpointError: ``split.csv`` is not of these classes.
        DataError: it can't be read.
    """
    rows = read_split_rows(run_dir / SPLIT)
    mine = [row for part in ("train", "val") for row in rows.values() if row["part"] == part]
    alien = {row["label"] for row in mine} - set(class_names)
    if alien:
        raise CheckpointError(
            f"{run_dir / SPLIT} has the labels {', '.join(sorted(alien))}, which the weights do "
            f"not know: {', '.join(class_names)}. The two are not of one run."
        )
    paths = tuple(row["path"] for row in mine)
    split_hash = file_hash(run_dir / SPLIT)
    looks, gone = _read(run_dir / KEPT, split_hash, len(mine)), ""
    if looks is None:
        try:
            looks = _look(run_dir, training(), paths, workers, report)
        except DataError as error:
            gone = str(error).splitlines()[0].split(". ")[0].rstrip(".:")
        else:
            _keep(run_dir / KEPT, split_hash, looks, report)
    return Seen(
        paths=paths,
        subjects=tuple(row["subject"] for row in mine),
        parts=tuple(row["part"] for row in mine),
        sha256=tuple(row["sha256"] for row in mine),
        labels=np.array([class_names.index(row["label"]) for row in mine], dtype=np.int64),
        tested=frozenset(row["sha256"] for row in rows.values() if row["part"] == "test"),
        seed=int(next(iter(rows.values()))["seed"]),
        looks=looks,
        gone=gone,
        by_weights=from_json(metadata.get(SEEN)),
        synthetic=bool(metadata.get("synthetic")),
    )


def _look(
    run_dir: Path,
    dataset: DataSet,
    paths: Sequence[str],
    workers: int,
    report: Callable[[str], None],
) -> Looks:
    read_split(run_dir / SPLIT, dataset.manifest, dataset.groups, dataset.sha256)  # the same data
    start = time.perf_counter()
    place = {path: row for row, path in enumerate(dataset.manifest.paths)}
    rows = np.array([place[path] for path in paths], dtype=np.int64)
    with progress_bar("measuring training images") as progress:
        measured = measure(dataset, workers=workers, progress=progress).take(rows)
    assert dataset.described is not None
    pixels, described = tuple(dataset.pixels[row] for row in rows), dataset.described[rows]
    report(
        f"Looked at {len(rows)} training and validation images in "
        f"{time.perf_counter() - start:.1f} s"
    )
    return Looks(pixels, described, measured)


def _keep(file: Path, split_hash: str, looks: Looks, report: Callable[[str], None]) -> None:
    arrays = {name: getattr(looks.measured, name) for name in _MEASURES}
    arrays |= {
        "format": np.array(_FORMAT),
        "split": np.array(split_hash),
        "pixels": np.array(looks.pixels),
        "described": looks.described.astype(np.float16),
    }
    try:
        write_atomically(file, lambda stream: np.savez(stream, **arrays))
    except OSError as error:
        report(f"note: {file} can't be written ({error.strerror or error}): next time they are "
               "looked at again.")  # fmt: skip


def _read(file: Path, split_hash: str, count: int) -> Looks | None:
    """Read what was kept; what is missing, damaged or of another split is made anew."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            if (int(arrays["format"]), str(arrays["split"])) != (_FORMAT, split_hash):
                return None
            measured = Measured(**{name: arrays[name] for name in _MEASURES})
            pixels, described = tuple(arrays["pixels"].tolist()), arrays["described"]
    except Exception:  # zipfile, zlib and NumPy raise many kinds on damaged files
        return None
    lengths = {len(pixels), *(len(getattr(measured, name)) for name in _MEASURES)}
    if lengths != {count} or described.shape != (count, SIDE * SIDE):
        return None
    return Looks(pixels, described.astype(np.float32), measured)
