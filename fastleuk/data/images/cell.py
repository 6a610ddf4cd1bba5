"""Where the cell is in an image, found without a network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BLACK = 10
"""Levels up to which a pixel is background of a cell that was cut out."""

SMALLEST, LARGEST = 0.01, 0.95
"""Shares of the image between which a region can be a cell."""

_SEPARATE = 0.6
"""Least share of the variance that a threshold must explain (Otsu's eta squared)."""

CUT_OUT, STAIN, BRIGHTNESS = "not black", "stain (blue less red)", "unlike the border"


@dataclass(frozen=True, eq=False, slots=True)
class Cell:
    """The cell of an image.

    Attributes:
        mask: bool ``(H, W)``.
        how: What told it from the rest.
    """

    mask: np.ndarray
    how: str

    @property
    def area(self) -> float:
        """Its share of the image, 0 to 1."""
        return float(self.mask.mean())


def find_cell(image: np.ndarray) -> Cell | None:
    """Find the cell in the middle of an image.

    A cell that was cut out lies on black. In a stained smear nuclei and cytoplasm of white cells
    are bluer than red cells and background: Otsu's threshold of blue less red. Else what differs
    from the image's border in brightness. Of the regions, a large one near the middle is taken,
    and its holes are filled.

    Args:
        image: uint8 ``(H, W, 3)``, RGB.

    Returns:
        None where no region is between :data:`SMALLEST` and :data:`LARGEST` of the image.
    """
    wide = image.astype(np.int16)
    border = np.concatenate([wide[0], wide[-1], wide[:, 0], wide[:, -1]])
    if (border.max(axis=1) <= BLACK).mean() > 0.5:
        brightest = np.maximum(np.maximum(wide[..., 0], wide[..., 1]), wide[..., 2])
        return _middle(brightest > BLACK, CUT_OUT)
    stain = wide[..., 2] - wide[..., 0]
    threshold, separate = _otsu(stain)
    if separate >= _SEPARATE and np.ptp(stain) >= 40:
        found = _middle(stain > threshold, STAIN)
        if found is not None:
            return found
    off = np.abs(wide.mean(axis=2) - np.median(border.mean(axis=1)))
    return _middle(off > _otsu(off)[0], BRIGHTNESS)


def _otsu(values: np.ndarray) -> tuple[float, float]:
    """Return Otsu's threshold and the share of the variance between the two sides of it."""
    counts, edges = np.histogram(values, bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    share = counts.cumsum() / counts.sum()
    mass = (counts * centres).cumsum() / counts.sum()
    within = share * (1 - share)
    between = np.where(
        within > 0, (mass[-1] * share - mass) ** 2 / np.where(within > 0, within, 1), 0
    )
    best = int(between.argmax())
    variance = float(values.var())
    return float(edges[best + 1]), float(between[best] / variance) if variance else 0.0


def _middle(wanted: np.ndarray, how: str) -> Cell | None:
    """Return the region that is large and near the middle, with its holes filled."""
    from scipy import ndimage

    regions, count = ndimage.label(ndimage.binary_opening(wanted))
    if not count:
        return None
    best = 1
    if count > 1:
        numbers = np.arange(1, count + 1)
        areas = ndimage.sum_labels(wanted, regions, numbers)
        centres = np.array(ndimage.center_of_mass(wanted, regions, numbers))
        side = np.array(wanted.shape)
        distance = np.linalg.norm((centres - (side - 1) / 2) / side, axis=1)
        best = 1 + int(np.argmax(areas / (1 + (distance / 0.15) ** 2)))
    mask = ndimage.binary_fill_holes(regions == best)
    return Cell(mask, how) if SMALLEST <= mask.mean() <= LARGEST else None
