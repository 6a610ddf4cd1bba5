"""Near-duplicates: pictures that look alike though their pixels differ.

A picture is described by 16 x 16 grey levels of its foreground, less their mean, at unit length;
two pictures are compared by the correlation of these, the best of the eight turns and mirrorings.
That is blind to brightness and contrast, to JPEG's losses and to a change of size as long as the
256 levels stay what they are; it isn't made for pictures that are turned by some degrees or cut.

On a black background only the bounding box of the cell counts, and the background inside it takes
the cell's mean grey: outlines, which make all cells alike, say nothing. In a small cell a few
pixels make a level, and resizing and JPEG change these: see :data:`SMALL_CELL`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fastleuk.data.images.decode import decode_rgb
from fastleuk.data.manifest import Manifest
from fastleuk.data.shards.read import image_bytes
from fastleuk.data.user_cache.arrays import keep, read_kept
from fastleuk.data.user_cache.folder import cache_root
from fastleuk.errors import DataError
from fastleuk.progress import Progress

SIDE = 16
ALIKE = 0.92
"""Of 10.7 million pairs of different malaria cells the most alike reach 0.89, of 0.3 million pairs
of white blood cells with their surroundings 0.90; copies of C-NMC's cells turned by 90 degrees,
mirrored, at half the size, brightened by 1.3 or saved as JPEG of quality 40 stay above 0.92."""

SMALL_CELL = 100
"""Pixels across, below which copies of cells on black are missed. Of C-NMC's cells, reduced to 160
pixels and more across, all copies named at :data:`ALIKE` are found; to 100-160, 21 of 22 at half
the size and 20 of 22 at quality 40; to less than 64, of 27 none at half the size or of quality 40.
Of 300 malaria cells of 50 pixels all turned copies are found, 96 % of the brightened ones, 18 % of
those of quality 40 and none at half the size."""

DARK = 24
"""Levels up to which a background counts as black: JPEG leaves some."""

SMALL = 128
"""Pictures are reduced to about this side before anything else."""

BLOCK = 2048
"""Pictures compared with all others at once."""


@dataclass(frozen=True)
class NearPair:
    """Two pictures that look alike."""

    first: int
    """Position in the manifest; ``first < second`` where both are of one."""
    second: int
    correlation: float
    """1 for pictures that differ by brightness and contrast alone, see :data:`ALIKE`."""


@dataclass(frozen=True)
class NearDuplicates:
    """What :func:`find_near_duplicates` found, the most alike first."""

    across: tuple[NearPair, ...]
    """Of different subjects: what a split by subject doesn't keep together."""
    within: int
    """Pairs of one subject."""


def find_near_duplicates(
    manifest: Manifest,
    *,
    pixels: Sequence[str],
    groups: np.ndarray,
    alike: float = ALIKE,
    workers: int | None = None,
    progress: Progress | None = None,
    cache_dir: Path | None = None,
) -> NearDuplicates:
    """Compare every picture with every other.

    Descriptions are kept by the pixels' hash, so that only new pictures are read again. Comparing
    takes time by the square of the number: a second or two for C-NMC.

    Args:
        manifest: N images, freed of identical ones.
        pixels: N hashes of their pixels.
        groups: (N,) int64, equal for the images of one subject.
        alike: The least correlation of a pair, above 0.5.
        workers: Threads that read and decode.
        progress: Called as ``progress(done, total)`` while pictures are read.
        cache_dir: Where descriptions are kept; default the user's cache.

    Raises:
        DataError: a file can't be read any more.
    """
    described = describe_all(manifest, pixels, workers, progress, cache_dir)
    pairs = sorted(
        alike_pairs(described.reshape(-1, SIDE, SIDE), alike), key=lambda p: -p.correlation
    )
    across = tuple(pair for pair in pairs if groups[pair.first] != groups[pair.second])
    return NearDuplicates(across, len(pairs) - len(across))


def describe_near(manifest: Manifest, near: NearDuplicates, limit: int = 20) -> str:
    """Return a text that lists the pairs across subjects, at most ``limit`` of them."""
    pairs = near.across
    within = f"; {near.within} more within a subject" if near.within else ""
    head = f"Near-duplicates across subjects: {len(pairs) or 'none'}{within}"
    paths, subjects = manifest.paths, manifest.subjects
    lines = []
    for pair in pairs[:limit]:
        who = f" (subjects {subjects[pair.first]}, {subjects[pair.second]})"
        who = "" if manifest.subject_is_image else who
        names = f"{paths[pair.first]} ~ {paths[pair.second]}"
        lines.append(f"  distance {1 - pair.correlation:.3f}: {names}{who}")
    if len(pairs) > limit:
        lines.append(f"  … and {len(pairs) - limit} more, less alike")
    if pairs:
        lines += [
            "  They stay in the data, and a split does not keep them together. Look at them: where",
            "  they are one picture, remove one, or give both one subject in a manifest.",
        ]
    lines += [
        f"  Distance is 1 - correlation, at most {1 - ALIKE:.2f}: found are copies turned by",
        "  quarters, mirrored, resized, brightened or saved with losses; not those turned or cut",
        "  otherwise, and hardly any resized or saved with losses of cells on black that are less",
        f"  than {SMALL_CELL} pixels across.",
    ]
    return "\n".join([head, *lines])


def describe_picture(image: Image.Image) -> np.ndarray:
    """Describe an RGB picture: float32 ``(16, 16)`` of mean 0 and length 1, or 0 if it is flat."""
    factor = max(1, min(image.size) // SMALL)
    levels = np.asarray(image.reduce(factor) if factor > 1 else image).astype(np.float32)
    grey = levels @ np.array([0.299, 0.587, 0.114], np.float32)
    brightest = levels.max(axis=2)
    edge = np.concatenate([brightest[[0, -1]].ravel(), brightest[:, [0, -1]].ravel()])
    if (edge <= DARK).mean() > 0.5:
        cell = brightest > DARK
        rows, columns = (np.flatnonzero(cell.mean(axis=axis) > 0.02) for axis in (1, 0))
        if len(rows) and len(columns):
            box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            grey, cell = grey[box], cell[box]
            grey = np.where(cell, grey, grey[cell].mean())
    tiny = Image.fromarray(grey.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BOX)
    centred = np.asarray(tiny) - np.asarray(tiny).mean()
    length = np.linalg.norm(centred)
    return centred / length if length > 1e-3 * SIDE else np.zeros_like(centred)


def alike_pairs(pictures: np.ndarray, alike: float = ALIKE) -> list[NearPair]:
    """Return the pairs of descriptions ``(N, 16, 16)`` that correlate, however turned.

    All are compared by what turning and mirroring leave as it is. In a cosine transform these
    change signs and swap rows with columns, so absolute values, the two of a swap sorted, are
    never further apart than the pictures in their best position: no pair is lost.
    """
    spectra, features = _unturned(pictures)
    found = []
    for start in range(0, len(features), BLOCK):
        part = features[start : start + BLOCK]
        near = part @ features[start:].T >= alike - 1e-4
        first, second = np.nonzero(np.triu(near, 1))
        found += list(_confirmed(spectra, spectra, first + start, second + start, alike))
    return found


def alike_across(pictures: np.ndarray, known: np.ndarray, alike: float = ALIKE) -> list[NearPair]:
    """Return the pairs of a picture and a known one that correlate, however turned.

    Args:
        pictures: Descriptions ``(N, 16, 16)``, to which ``first`` points.
        known: Descriptions ``(K, 16, 16)``, to which ``second`` points.
        alike: The least correlation of a pair, above 0.5.
    """
    (spectra, features), (others, known_features) = _unturned(pictures), _unturned(known)
    found = []
    for start in range(0, len(features), BLOCK):
        near = features[start : start + BLOCK] @ known_features.T >= alike - 1e-4
        first, second = np.nonzero(near)
        found += list(_confirmed(spectra, others, first + start, second, alike))
    return found


def _unturned(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return cosine transforms ``(N, 16, 16)``, and of them what no turn changes ``(N, 256)``."""
    basis = _cosines(SIDE)
    spectra = (basis @ pictures @ basis.T).astype(np.float32)
    size = np.abs(spectra)
    mirrored = size.transpose(0, 2, 1)
    upper = np.triu(np.ones((SIDE, SIDE), bool), 1)
    sorted_ = np.where(upper, np.maximum(size, mirrored), np.minimum(size, mirrored))
    return spectra, np.ascontiguousarray(sorted_.reshape(len(pictures), SIDE * SIDE))


def _confirmed(
    spectra: np.ndarray, others: np.ndarray, first: np.ndarray, second: np.ndarray, alike: float
) -> Iterator[NearPair]:
    """Compare candidates in all eight positions."""
    signs = (-1.0) ** np.arange(SIDE, dtype=np.float32)
    flips = [np.ones((SIDE, SIDE), np.float32), np.tile(signs, (SIDE, 1))]
    flips += [flips[1].T, flips[1] * flips[1].T]
    for start in range(0, len(first), BLOCK):
        i, j = first[start : start + BLOCK], second[start : start + BLOCK]
        best = np.full(len(i), -1, np.float32)
        for other in (others[j], others[j].transpose(0, 2, 1)):
            for flip in flips:
                np.maximum(best, np.einsum("nuv,nuv->n", spectra[i], other * flip), out=best)
        for n in np.flatnonzero(best >= alike):
            yield NearPair(int(i[n]), int(j[n]), float(min(1.0, best[n])))


def _cosines(size: int) -> np.ndarray:
    """Return the orthonormal cosine transform (DCT-II) as a matrix."""
    k, n = np.mgrid[:size, :size]
    matrix = np.cos(np.pi * k * (2 * n + 1) / (2 * size)) * np.sqrt(2 / size)
    matrix[0] /= np.sqrt(2)
    return matrix


def describe_all(
    manifest: Manifest,
    pixels: Sequence[str],
    workers: int | None = None,
    progress: Progress | None = None,
    cache_dir: Path | None = None,
) -> np.ndarray:
    """Describe every picture by :func:`describe_picture`.

    Arguments are those of :func:`find_near_duplicates`.

    Returns:
        float32 ``(N, 256)``, a row an image.

    Raises:
        DataError: a file can't be read any more.
    """
    store = _store_path(manifest.root, cache_dir)
    known = read_kept(store, SIDE * SIDE, np.float16)
    todo = [i for i, digest in enumerate(pixels) if digest not in known]
    if progress:
        progress(len(manifest) - len(todo), len(manifest))

    def one(row: int) -> np.ndarray:
        file = manifest.file(row)
        try:
            return describe_picture(decode_rgb(image_bytes(file).data)).reshape(-1)
        except Exception as error:
            raise DataError(f"{file}: can't be read as an image: {error}.") from error

    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        for done, (row, described) in enumerate(zip(todo, pool.map(one, todo), strict=True), 1):
            known[pixels[row]] = described.astype(np.float16)
            if progress:
                progress(len(manifest) - len(todo) + done, len(manifest))
    if todo:
        keep(store, known)
    rows = [known[digest] for digest in pixels]
    return np.array(rows, np.float32).reshape(-1, SIDE * SIDE)


def _store_path(root: Path, cache_dir: Path | None) -> Path:
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:24]
    return (cache_dir or cache_root()) / "near" / f"{name}-2.npz"
