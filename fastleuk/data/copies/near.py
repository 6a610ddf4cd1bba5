"""Near-duplicates: pictures that look alike though their pixels differ.

A picture is described by 16 x 16 grey levels, less their mean, at unit length; two pictures are
compared by the correlation of these, the best of the eight turns and mirrorings. That is blind to
brightness and contrast, to JPEG's losses and to a change of size as long as the 256 levels stay
what they are; it isn't made for pictures that are turned by some degrees or cut.

On a flat background (black, or any other color) only the bounding box of the cell counts, and the
description has two halves of equal weight: the levels inside the cell without its outermost pixels,
which mix with the background, and the departure of its outline from an ellipse. So a cell on white
has the description that it has on black. Cells of smooth texture are alike inside, and round cells
are alike outside; different cells are rarely both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image
from scipy import ndimage

from fastleuk.data.images.decode import decode_rgb
from fastleuk.data.manifest import Manifest
from fastleuk.errors import one_line

SIDE = 16
VERSION = 3
"""Of the description; descriptions cached under another version are not used."""

ALIKE = 0.96
"""Correlation of pictures that may be one. Of 10.7 million pairs of different malaria cells the
most alike reach 0.949, of 6.8 million pairs of demo cells 0.944, of 0.3 million pairs of white
blood cells with their surroundings 0.90, of 0.6 thousand of C-NMC's cells 0.85
(``benchmarks/near_duplicates.py``, as all figures here)."""

SAME = 0.98
"""Correlation of one picture under two names, by which subjects are tied: 2.5 times nearer than the
most alike pair of different pictures. C-NMC's cells that two subjects share reach 0.9997."""

SMALL_CELL = 100
"""Pixels across, below which copies of cells are missed more often."""

DARK = 24
"""Levels up to which a pixel differs from the background it belongs to: JPEG changes some."""

FLAT, FLAT_SHARE = 8, 0.75
"""Levels within which, and share of the border in which, a background that isn't black is flat.
Where a photograph is overexposed, up to 0.72 of the border is."""

EDGE = 0.1
"""Share of a row or column that must be of the cell for it to be inside the bounding box."""

OUTLINE = 0.06
"""Width of a cell's outline, as a share of its shorter side."""

ROUND = 2.5
"""Departure from an ellipse, as the root of summed squares over the 256 areas, below which an
outline counts for less: that of a round cell is hardly more than its pixels' corners."""

SMALL = 128
"""Pictures are reduced to about this side before anything else."""

CELLS = 1 << 25
"""Correlations in memory at once."""

COARSE = 64
"""Coefficients by which pairs are preselected, see :func:`_preselect`."""


PLACES, SAME_LEVELS = 32, 3.0
"""One picture differs at 32 x 32 places by so many levels at most, in the mean: C-NMC's cells under
two names by 0.02, a file saved with losses by about 1."""


@dataclass(frozen=True)
class NearPair:
    """Two pictures that look alike."""

    first: int
    """Position in the manifest; ``first < second`` where both are of one."""
    second: int
    correlation: float
    """1 for pictures that differ by brightness and contrast alone, see :data:`ALIKE`."""

    @property
    def distance(self) -> float:
        """1 less the correlation."""
        return 1 - self.correlation


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs of pictures that look alike, the most alike first."""

    same: tuple[NearPair, ...] = ()
    """Of different subjects and one picture (:data:`SAME`): these subjects are tied."""
    alike: tuple[NearPair, ...] = ()
    """Of different subjects and maybe one picture (:data:`ALIKE`): a tie would be a guess."""
    within: tuple[NearPair, ...] = ()
    """Of one subject, or of subjects that are tied already."""

    def between(self, parts: np.ndarray) -> list[NearPair]:
        """List the pairs whose pictures are in two different parts.

        Args:
            parts: (N,) integers, a part an image; 0 for none.
        """
        return [
            pair
            for pair in (*self.same, *self.alike, *self.within)
            if 0 != parts[pair.first] != parts[pair.second] != 0
        ]


def find_near_duplicates(
    described: np.ndarray, groups: np.ndarray, *, alike: float = ALIKE, same: float = SAME
) -> NearDuplicates:
    """Compare every picture with every other.

    Args:
        described: (N, 256) of :func:`describe_picture`.
        groups: (N,) int64, equal for images that are kept together already.
        alike: The least correlation of a pair, above 0.5.
        same: The least correlation of one picture under two names.
    """
    pairs = sorted(
        alike_pairs(described.reshape(-1, SIDE, SIDE), alike),
        key=lambda p: (-p.correlation, p.first, p.second),
    )
    apart = [pair for pair in pairs if groups[pair.first] != groups[pair.second]]
    return NearDuplicates(
        same=tuple(pair for pair in apart if pair.correlation >= same),
        alike=tuple(pair for pair in apart if pair.correlation < same),
        within=tuple(pair for pair in pairs if groups[pair.first] == groups[pair.second]),
    )


def confirm_same(near: NearDuplicates, read: Callable[[int], np.ndarray]) -> NearDuplicates:
    """Keep as one picture the pairs whose levels agree in place; the others only look alike.

    The description does without place, size and brightness of a cell, in which the cells of two
    people may differ alone: plain discs on a noisy ground, for example.

    Args:
        near: Pairs of a manifest.
        read: Returns the bytes of the image at a position.
    """

    @lru_cache(256)
    def levels(i: int) -> np.ndarray:
        small = decode_rgb(bytes(read(i))).resize((PLACES, PLACES), Image.Resampling.BOX)
        return np.asarray(small, np.float32)

    def confirmed(pair: NearPair) -> bool:
        first, second = levels(pair.first), levels(pair.second)
        turned = (np.rot90(image, k) for image in (first, first[:, ::-1]) for k in range(4))
        return min(float(np.abs(each - second).mean()) for each in turned) <= SAME_LEVELS

    same = tuple(filter(confirmed, near.same))
    doubtful = tuple(pair for pair in near.same if pair not in same)
    return replace(near, same=same, alike=doubtful + near.alike)


def describe_near(manifest: Manifest, near: NearDuplicates, limit: int = 20) -> str:
    """Format the pairs across subjects for a terminal, at most ``limit`` of each kind."""
    within = f"; {len(near.within)} more within a subject" if near.within else ""
    lines = [f"Near-duplicates across subjects: {len(near.alike) or 'none'}{within}"]
    lines += pair_lines(manifest, near.alike, limit)
    if near.alike:
        lines += [
            "  They stay in the data, and a split does not keep them together: to tie their",
            "  subjects would be a guess. Look at them: where they are one picture, remove one, or",
            "  give both one subject in a manifest.",
        ]
    lines += [
        f"  Distance is 1 - correlation, here {1 - SAME:.2f} to {1 - ALIKE:.2f}: found are copies",
        "  turned by quarters, mirrored, resized, brightened, saved with losses or laid on another",
        "  background; not those turned or cut otherwise, and fewer where cells are less than",
        f"  {SMALL_CELL} pixels across.",
    ]
    return "\n".join(lines)


def tie_lines(manifest: Manifest, near: NearDuplicates, groups: np.ndarray) -> list[str]:
    """Report for a terminal which subjects near-identical pictures tie, and which ties are a guess.

    Args:
        manifest: N images.
        near: Their pairs.
        groups: (N,) int64, after the ties.
    """
    lines = []
    if near.same:
        count = len(near.same)
        what = "pair" if count == 1 else "pairs"
        lines.append(
            f"{count} {what} of near-identical pictures under two names (distance at most "
            f"{1 - SAME:.2f}): kept in one part of every split"
        )
        if not manifest.subject_is_image:
            tied: dict[int, list[str]] = {}
            for pair in near.same:
                names = tied.setdefault(int(groups[pair.first]), [])
                for i in (pair.first, pair.second):
                    if manifest.subjects[i] not in names:
                        names.append(manifest.subjects[i])
            some = [" ~ ".join(names) for names in tied.values()]
            rest = f", and {len(some) - 10} more" if len(some) > 10 else ""
            lines[-1] += f". Subjects that count as one: {', '.join(some[:10])}{rest}"
        labels = manifest.labels
        wrong = [p for p in near.same if -1 < labels[p.first] != labels[p.second] > -1]
        if wrong:
            first = manifest.paths[wrong[0].first], manifest.paths[wrong[0].second]
            lines.append(
                f"WARNING: {len(wrong)} of these pairs have two different labels, such as "
                f"{first[0]} and {first[1]}: correct the labels"
            )
    if near.alike:
        lines.append(
            f"{len(near.alike)} more pairs of pictures of different subjects look alike (distance "
            f"up to {1 - ALIKE:.2f}). They may be copies; to tie their subjects would be a guess, "
            "so they are not tied. fastleuk data --near-duplicates lists them"
        )
    return lines


def pair_lines(manifest: Manifest, pairs: Sequence[NearPair], limit: int) -> list[str]:
    """Format pairs for a terminal, a line each, at most ``limit``."""
    paths, subjects = manifest.paths, manifest.subjects
    lines = []
    for pair in pairs[:limit]:
        who = f" (subjects {subjects[pair.first]}, {subjects[pair.second]})"
        who = "" if manifest.subject_is_image else who
        names = one_line(f"{paths[pair.first]} ~ {paths[pair.second]}")
        lines.append(f"  distance {pair.distance:.3f}: {names}{who}")
    if len(pairs) > limit:
        lines.append(f"  … and {len(pairs) - limit} more, less alike")
    return lines


def describe_picture(image: Image.Image) -> np.ndarray:
    """Describe an RGB picture: float32 ``(16, 16)`` of mean 0 and length 1, or 0 if it is flat."""
    grey, cell = _cell(image)
    if cell is None:
        return _unit(_averages(grey))
    inside = _without_outline(cell)
    levels = _unit(_averages(np.where(inside, grey - grey[inside].mean(), np.float32(0))))
    outline = _averages((~cell).astype(np.float32)) - _ellipse()
    outline -= outline.mean()
    outline /= max(ROUND, float(np.linalg.norm(outline)))
    return _unit(levels + outline) if levels.any() else levels


def _cell(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Cut out the bounding box of a cell on a flat background: its grey levels and its mask."""
    factor = max(1, min(image.size) // SMALL)
    small = image.reduce(factor) if factor > 1 else image
    grey, levels = np.asarray(small.convert("L"), np.float32), np.asarray(small, np.int16)
    background = _background(levels)
    if background is None:
        return grey, None
    apart = np.abs(levels - background)
    cell = np.maximum(np.maximum(apart[..., 0], apart[..., 1]), apart[..., 2]) > DARK
    rows, columns = (np.flatnonzero(cell.mean(axis=axis) > EDGE) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return grey, None
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return grey[box], ndimage.binary_fill_holes(cell[box])


def _background(levels: np.ndarray) -> np.ndarray | None:
    """Find the color of a flat background by the border."""
    border = np.concatenate([levels[0], levels[-1], levels[:, 0], levels[:, -1]])
    if (border.max(axis=1) <= DARK).mean() > 0.5:
        return np.zeros(3, np.int16)
    middle = np.median(border, axis=0).astype(np.int16)
    flat = (np.abs(border - middle).max(axis=1) <= FLAT).mean() > FLAT_SHARE
    return middle if flat else None


def _without_outline(cell: np.ndarray) -> np.ndarray:
    """Erode a mask by the width of its outline; a mask that vanishes is kept."""
    width = max(1, round(OUTLINE * min(cell.shape)))
    padded = ndimage.minimum_filter(np.pad(cell, width), 2 * width + 1)
    inside = padded[width:-width, width:-width]
    return inside if inside.any() else cell


def _averages(picture: np.ndarray) -> np.ndarray:
    """Average over 16 x 16 equal areas; a pixel on a border counts for both by its share."""
    height, width = picture.shape
    return _areas(height) @ picture @ _areas(width).T


@lru_cache(1024)
def _areas(size: int) -> np.ndarray:
    edges, pixel = np.linspace(0, size, SIDE + 1), np.arange(size)
    shared = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return (shared.clip(0) * (SIDE / size)).astype(np.float32)


@lru_cache(1)
def _ellipse() -> np.ndarray:
    """Compute the share of each of the 16 x 16 areas outside the inscribed ellipse."""
    fine = 16 * SIDE
    y, x = (np.mgrid[:fine, :fine] + 0.5) / fine * 2 - 1
    outside = (x**2 + y**2 > 1).astype(np.float32)
    return outside.reshape(SIDE, 16, SIDE, 16).mean(axis=(1, 3))


def _unit(picture: np.ndarray) -> np.ndarray:
    """Scale to mean 0 and length 1; a flat picture becomes 0."""
    centred = picture - picture.mean()
    length = np.linalg.norm(centred)
    flat = length <= 1e-3 * SIDE * max(1.0, 1e-2 * float(np.abs(picture).max()))
    return np.zeros_like(centred) if flat else (centred / length).astype(np.float32)


def alike_pairs(pictures: np.ndarray, alike: float = ALIKE) -> list[NearPair]:
    """Find the pairs of descriptions ``(N, 16, 16)`` that correlate, however turned.

    All are compared by what turning and mirroring leave as it is. In a cosine transform these
    change signs and swap rows with columns, so absolute values, the two of a swap sorted, are
    never further apart than the pictures in their best position: no pair is lost.
    """
    spectra, features = _unturned(pictures)
    coarse, found = _coarse(features), []
    step = max(1, CELLS // max(1, len(features)))
    for start in range(0, len(features), step):
        stop = min(start + step, len(features))
        first, second = _preselect(features[start:stop], coarse[start:stop], features[start:],
                                   coarse[start:], alike)  # fmt: skip
        later = second > first
        found += list(
            _confirmed(spectra, spectra, first[later] + start, second[later] + start, alike)
        )
    return found


def alike_across(pictures: np.ndarray, known: np.ndarray, alike: float = ALIKE) -> list[NearPair]:
    """Find the pairs of a picture and a known one that correlate, however turned.

    Args:
        pictures: Descriptions ``(N, 16, 16)``, to which ``first`` points.
        known: Descriptions ``(K, 16, 16)``, to which ``second`` points.
        alike: The least correlation of a pair, above 0.5.
    """
    (spectra, features), (others, known_features) = _unturned(pictures), _unturned(known)
    coarse, known_coarse, found = _coarse(features), _coarse(known_features), []
    step = max(1, CELLS // max(1, len(known_features)))
    for start in range(0, len(features), step):
        part = np.s_[start : start + step]
        first, second = _preselect(
            features[part], coarse[part], known_features, known_coarse, alike
        )
        found += list(_confirmed(spectra, others, first + start, second, alike))
    return found


def _coarse(features: np.ndarray) -> np.ndarray:
    """Reduce features to the lowest frequencies and, in one number, the length of the rest."""
    order = np.argsort(np.add.outer(np.arange(SIDE), np.arange(SIDE)).ravel(), kind="stable")
    low = features[:, order[:COARSE]]
    rest = np.sqrt(np.maximum(0, (features**2).sum(axis=1) - (low**2).sum(axis=1)))
    return np.concatenate([low, rest[:, None]], axis=1)


def _preselect(
    features: np.ndarray,
    coarse: np.ndarray,
    others: np.ndarray,
    other_coarse: np.ndarray,
    alike: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the pairs that may correlate: by few coefficients first, which lose none.

    The product of two remainders is at most that of their lengths (Cauchy and Schwarz).
    """
    limit = np.float32(alike - 1e-4)
    first, second = np.nonzero(coarse @ other_coarse.T >= limit)
    near = np.concatenate(
        [np.zeros(0, bool)]
        + [
            np.einsum("nk,nk->n", features[first[i : i + 8192]], others[second[i : i + 8192]])
            >= limit
            for i in range(0, len(first), 8192)
        ]
    )
    return first[near], second[near]


def _unturned(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute cosine transforms ``(N, 16, 16)``, and of them what no turn changes ``(N, 256)``."""
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
    for start in range(0, len(first), 2048):
        i, j = first[start : start + 2048], second[start : start + 2048]
        best = np.full(len(i), -1, np.float32)
        for other in (others[j], others[j].transpose(0, 2, 1)):
            for flip in flips:
                np.maximum(best, np.einsum("nuv,nuv->n", spectra[i], other * flip), out=best)
        for n in np.flatnonzero(best >= alike):
            yield NearPair(int(i[n]), int(j[n]), float(min(1.0, best[n])))


def _cosines(size: int) -> np.ndarray:
    """Compute the orthonormal cosine transform (DCT-II) as a matrix."""
    k, n = np.mgrid[:size, :size]
    matrix = np.cos(np.pi * k * (2 * n + 1) / (2 * size)) * np.sqrt(2 / size)
    matrix[0] /= np.sqrt(2)
    return matrix
