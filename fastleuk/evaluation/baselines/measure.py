"""Size and colours of every image of a data set, kept by the files' hashes."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastleuk.data.dataset import DataSet
from fastleuk.data.images.cell import find_cell
from fastleuk.data.user_cache.arrays import keep, read_kept
from fastleuk.data.user_cache.folder import cache_root
from fastleuk.loading.prepare import decoder
from fastleuk.progress import Progress, no_progress

SIDE = 64
"""Edge in pixels at which images are measured."""

_COLUMNS = 12
_VERSION = 1


@dataclass(frozen=True, eq=False, slots=True)
class Measured:
    """What was measured of N images.

    Attributes:
        colours: float64 ``(N, 7)``: mean and deviation of each channel where the image isn't
            black, and the share that isn't; see :func:`colour_statistics`.
        area: float64 ``(N,)``, pixels of the file that the cell covers; NaN where no cell could be
            told from the rest.
        cell: float64 ``(N, 3)``, the cell's mean colour; NaN likewise.
        background: float64 ``(N,)``, mean level of the rest, 0 to 255; NaN likewise.
        share: float64 ``(N,)``, ``area`` as a share of the image; NaN likewise.
    """

    colours: np.ndarray
    area: np.ndarray
    cell: np.ndarray
    background: np.ndarray
    share: np.ndarray

    def take(self, rows: np.ndarray) -> Measured:
        """Return that of some images."""
        fields = dataclasses.fields(self)
        return Measured(*(getattr(self, field.name)[rows] for field in fields))


def measure(
    dataset: DataSet, *, workers: int, progress: Progress = no_progress, store: Path | None = None
) -> Measured:
    """Measure every image of a data set; what has been measured before is not read again.

    Args:
        dataset: ``N`` images.
        workers: Threads that read and decode.
        progress: Called as ``progress(done, total)``.
        store: Folder where measures are kept; default the user's cache.

    Raises:
        DataError: an image can't be read any more.
    """
    manifest = dataset.manifest
    keys = [f"{a}:{b}" for a, b in zip(dataset.sha256, manifest.crops.tolist(), strict=True)]
    file = _store_file(dataset, store)
    known = read_kept(file, _COLUMNS, np.float64)
    todo = np.array([row for row, key in enumerate(keys) if key not in known], dtype=np.int64)
    progress(len(keys) - len(todo), len(keys))
    decode = decoder(dataset, SIDE, "torchvision", workers)
    done = 0
    for images, _ in decode(todo) if len(todo) else ():
        for image in images:
            known[keys[todo[done]]] = _measures(np.asarray(image))
            done += 1
        progress(len(keys) - len(todo) + done, len(keys))
    if len(todo):
        keep(file, known)
    values = np.array([known[key] for key in keys]).reshape(-1, _COLUMNS)
    pixels = _shown(dataset).prod(axis=1)
    share = values[:, 7]
    return Measured(values[:, :7], share * pixels, values[:, 8:11], values[:, 11], share)


def _shown(dataset: DataSet) -> np.ndarray:
    """Return width and height of what is shown of each image, ``(N, 2)``."""
    crops = dataset.manifest.crops[:, None]
    return np.where(crops > 0, np.minimum(dataset.sizes, crops), dataset.sizes)


def _measures(image: np.ndarray) -> np.ndarray:
    found = find_cell(image)
    if found is None:
        return np.concatenate([colour_statistics(image), np.full(5, np.nan)])
    inside, outside = image[found.mask], image[~found.mask]
    return np.concatenate(
        [colour_statistics(image), [found.area], inside.mean(axis=0), [outside.mean()]]
    )


def colour_statistics(image: np.ndarray) -> np.ndarray:
    """Mean and deviation of each channel where an image isn't black, and the share that isn't.

    Args:
        image: uint8 ``(H, W, 3)``.

    Returns:
        float64 ``(7,)``; zeros of a black image.
    """
    pixels = image.reshape(-1, 3).astype(np.float64)
    shown = pixels[pixels.sum(axis=1) > 0]
    if not len(shown):
        return np.zeros(7)
    return np.concatenate([shown.mean(axis=0), shown.std(axis=0), [len(shown) / len(pixels)]])


def _store_file(dataset: DataSet, store: Path | None) -> Path:
    name = hashlib.sha256(os.fsencode(dataset.manifest.root)).hexdigest()[:24]
    return (store or cache_root() / "measured") / f"{name}-{_VERSION}.npz"
