"""Draw one synthetic stained lymphocyte, cut out on black like the cells of C-NMC 2019.

Everything here is invented: no picture of a patient went into it. The cells exist so that the
package can be tried, tested and demonstrated without a download; they prove nothing about leukemia.

A cell is drawn in closed form on its bounding box. Two contours in polar coordinates (cell and
nucleus) give the shape, band-passed noise gives the chromatin, and both become light by
Beer-Lambert absorption in two stains, azure and eosin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CANVAS = 450
"""Side of a training image, in pixels."""

_ANGLES = 2048
_THETA = np.linspace(0.0, 2.0 * np.pi, _ANGLES, endpoint=False)
_NOISE_SIDE = 256
_FREQUENCY_SQUARED = (
    np.fft.fftfreq(_NOISE_SIDE)[:, None] ** 2 + np.fft.rfftfreq(_NOISE_SIDE)[None, :] ** 2
)

# Optical densities (R, G, B), set by eye and by the means of real cells: a nucleus of 2.15 azure
# and 0.95 eosin has the colour (60, 25, 75).
_AZURE = np.array([0.63, 0.68, 0.51], dtype=np.float32)
_EOSIN = np.array([0.10, 0.93, 0.12], dtype=np.float32)
_CHROMATIN = np.array([0.23, 0.20, 0.08], dtype=np.float32)
_PERINUCLEAR = np.array([0.10, 0.02, -0.10], dtype=np.float32)
_GREY_CYTOPLASM = np.array([0.80, 1.05, 0.76], dtype=np.float32)
_BLUE_CYTOPLASM = np.array([1.05, 1.22, 0.62], dtype=np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class SubjectLook:
    """What all cells of one subject share: stain, focus, light, and a bias in size and texture."""

    azure: float
    """Amount of azure in the nucleus (about 2.15)."""
    eosin: float
    """Amount of eosin in the nucleus (about 0.95)."""
    light: tuple[float, float, float]
    """White level of each channel, 1 for 255."""
    focus: float
    """Standard deviation of the defocus, in pixels."""
    log_size: float
    """Bias of the natural logarithm of the cell's area."""
    log_contrast: float
    """Bias of the natural logarithm of the chromatin's contrast."""
    maturity: float
    """Bias of the cells' maturity."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CellParams:
    """All that is drawn at random about one cell but its noise; lengths are in pixels."""

    area: float
    """Area of the cell, cytoplasm included."""
    grain: float
    """Standard deviation of a chromatin clump."""
    contrast: float
    """Contrast of the chromatin, about 0.5."""
    clumping: float
    """From 0, open chromatin (symmetric noise), to 1, clumps with pale gaps between them."""
    nucleoli: int
    """Number of nucleoli."""
    elongation: float
    """Long half-axis over the mean radius, less 1."""
    irregularity: float
    """Amplitude of the nucleus's slow waves relative to its radius."""
    notch: float
    """Depth of the indentation relative to the radius; 0 for none."""
    rim: float
    """Width of the thin cytoplasm rim."""
    cap: float
    """Height of the cytoplasm cap on one side; 0 for none."""
    spikes: int
    """Number of little protrusions that the segmentation left."""
    azure: float
    eosin: float
    light: tuple[float, float, float]
    focus: float


def sample_subject(rng: np.random.Generator) -> SubjectLook:
    """Draw the look of a subject; it doesn't depend on the class."""
    light = np.exp(0.06 * rng.standard_normal() + 0.05 * rng.standard_normal(3))
    return SubjectLook(
        azure=2.15 * math.exp(0.10 * rng.standard_normal()),
        eosin=0.95 * math.exp(0.22 * rng.standard_normal()),
        light=(float(light[0]), float(light[1]), float(light[2])),
        focus=float(rng.uniform(0.9, 2.6)),
        log_size=0.08 * _within(rng.standard_normal(), 2.0),
        log_contrast=0.15 * rng.standard_normal(),
        maturity=0.18 * rng.standard_normal(),
    )


def sample_cell(rng: np.random.Generator, subject: SubjectLook, label: int) -> CellParams:
    """Draw the parameters of one cell.

    A latent maturity, of overlapping distributions in the two classes, sets chromatin, nucleoli
    and outline; the area has its own. So no single feature gives the class away, and a few cells
    can't be told at all, as in a real smear.

    Args:
        rng: Source of randomness, used up in a fixed order.
        subject: The look that the subject's cells share.
        label: 0 for hem (mature, healthy), 1 for ALL (blast).
    """
    side = 1.0 if label == 0 else -1.0
    normal, uniform = rng.standard_normal(11), rng.random(4)
    maturity = side + subject.maturity + 0.34 * normal[0]
    notched = uniform[0] < 0.32 - 0.14 * maturity
    capped = uniform[1] < 0.30
    return CellParams(
        area=32_000 * math.exp(-0.10 * side + subject.log_size + 0.175 * _within(normal[1], 2.0)),
        grain=5.0 * math.exp(0.24 * maturity + 0.12 * normal[2]),
        contrast=0.52 * math.exp(0.15 * maturity + subject.log_contrast + 0.12 * normal[3]),
        clumping=float(np.clip(0.4 + 0.24 * maturity + 0.13 * normal[4], 0.0, 1.0)),
        nucleoli=int(rng.poisson(1.3 / (1.0 + math.exp(2.2 * maturity)))),
        elongation=min(0.30, abs(0.04 + 0.07 * normal[5])),
        irregularity=0.026 * math.exp(-0.32 * maturity + 0.28 * normal[6]),
        notch=(0.12 + 0.33 * uniform[2]) if notched else 0.0,
        rim=1.6 * math.exp(-0.12 * maturity + 0.35 * normal[7]),
        cap=(8.0 + 34.0 * uniform[3] ** 2) if capped else 0.0,
        spikes=int(rng.poisson(0.8)),
        azure=subject.azure * math.exp(0.025 * normal[8]),
        eosin=subject.eosin * math.exp(0.05 * normal[9]),
        light=subject.light,
        focus=subject.focus * math.exp(0.12 * normal[10]),
    )


def _within(value: float, limit: float) -> float:
    """Clip to ±limit."""
    return max(-limit, min(limit, value))


def draw_cell(
    params: CellParams, rng: np.random.Generator, *, canvas: int = CANVAS
) -> npt.NDArray[np.uint8]:
    """Draw a synthetic cell in the middle of a black square.

    Args:
        params: The cell's parameters.
        rng: Source of the contour's phases and of the noise, used up in a fixed order.
        canvas: Side of the image, in pixels.

    Returns:
        RGB image of shape (canvas, canvas, 3), dtype uint8; background exactly 0, cell nowhere 0.
    """
    outline, nucleus = _contours(params, rng)
    limit = (canvas - 6) / 2.0
    outline = np.minimum(outline, limit)
    half = math.ceil(float(outline.max()))
    axis = np.arange(2 * half, dtype=np.float32) - np.float32(half - 0.5)
    radius = np.hypot(axis[:, None], axis[None, :])
    angle = np.arctan2(axis[:, None], axis[None, :])
    index = np.rint(angle * (_ANGLES / (2.0 * np.pi))).astype(np.intp) % _ANGLES
    to_edge = outline.astype(np.float32)[index] - radius
    depth = nucleus.astype(np.float32)[index] - radius
    inside = to_edge > 0.0
    image = np.zeros((*inside.shape, 3), dtype=np.uint8)
    density = _density(params, rng, axis, depth, to_edge)
    shade = rng.normal(0.0, 0.0004, 2).astype(np.float32)
    light = 255.0 * (1.0 + shade[0] * axis[:, None] + shade[1] * axis[None, :])
    for channel in range(3):
        level = light * np.float32(params.light[channel]) * np.exp(-density[channel])
        level += 0.5 * rng.standard_normal(level.shape, dtype=np.float32)
        image[..., channel] = np.where(inside, np.clip(np.rint(level), 1, 255), 0)
    return _centred(image, inside, canvas)


def _contours(
    params: CellParams, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Radii of cell and nucleus at each of the angles; the cell has the area asked for."""
    nucleus = 1.0 + params.elongation * np.cos(2.0 * (_THETA - rng.uniform(0.0, np.pi)))
    for mode in range(2, 8):
        amplitude = params.irregularity * rng.standard_normal() / (mode - 1) ** 0.5
        nucleus += amplitude * np.cos(mode * _THETA + rng.uniform(0.0, 2.0 * np.pi))
    notch_at, notch_width = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.16, 0.45)
    nucleus *= 1.0 - params.notch * _bump(notch_at, notch_width)
    scale = math.sqrt(params.area / math.pi)
    cap_at, cap_width = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.18, 0.5)
    rim = params.rim * (1.0 + 0.4 * np.cos(_THETA - rng.uniform(0.0, 2.0 * np.pi)))
    rim += params.cap * np.minimum(1.4 * _bump(cap_at, cap_width), 1.0)
    for mode in (9, 13, 18, 26, 37):
        amplitude = 0.45 * rng.standard_normal()
        rim += amplitude * np.cos(mode * _THETA + rng.uniform(0.0, 2.0 * np.pi))
    for _ in range(params.spikes):
        height, width = rng.uniform(3.0, 13.0), rng.uniform(0.015, 0.05)
        rim += height * _bump(rng.uniform(0.0, 2.0 * np.pi), width)
    outline = scale * nucleus + rim
    shrink = math.sqrt(params.area / (math.pi * float(np.mean(outline**2))))
    return outline * shrink, scale * nucleus * shrink


def _bump(centre: float, width: float) -> npt.NDArray[np.float64]:
    """Gaussian bump of height 1 around an angle."""
    distance = np.abs(_THETA - centre)
    return np.exp(-0.5 * (np.minimum(distance, 2.0 * np.pi - distance) / width) ** 2)


def _density(
    params: CellParams,
    rng: np.random.Generator,
    axis: npt.NDArray[np.float32],
    depth: npt.NDArray[np.float32],
    to_edge: npt.NDArray[np.float32],
) -> list[npt.NDArray[np.float32]]:
    """Optical density of each channel, from the signed distances to nucleus and cell edge."""
    softness = np.float32(0.5 + 0.6 * params.focus)
    nuclear = 1.0 / (1.0 + np.exp(-np.clip(depth / softness, -30.0, 30.0)))
    chromatin = _chromatin(params, rng, len(axis))
    for _ in range(params.nucleoli):
        chromatin -= _nucleolus(params, rng, axis)
    perinuclear = np.exp(-0.5 * ((depth - 7.0) / 7.0) ** 2)
    # The segmentation's outermost pixels are half background.
    fade = 1.0 - 0.16 * np.exp(-np.maximum(to_edge, 0.0) / (0.5 + softness))
    blueness = np.float32(rng.random())
    cytoplasm = blueness * _BLUE_CYTOPLASM + (1.0 - blueness) * _GREY_CYTOPLASM
    cytoplasm = cytoplasm * np.float32(params.azure / 2.15)
    nucleus = np.float32(params.azure) * _AZURE + np.float32(params.eosin) * _EOSIN
    # The cytoplasm is mottled too, but less.
    mottle = (0.4 + 0.6 * nuclear) * chromatin
    return [
        fade
        * (
            cytoplasm[c] * (1.0 - nuclear)
            + (nucleus[c] + _PERINUCLEAR[c] * perinuclear) * nuclear
            + _CHROMATIN[c] * mottle
        )
        for c in range(3)
    ]


def _chromatin(params: CellParams, rng: np.random.Generator, side: int) -> npt.NDArray[np.float32]:
    """Chromatin density, deviations from its mean, of shape (side, side)."""
    shape = (_NOISE_SIDE, _NOISE_SIDE // 2 + 1)
    white = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    spread = -2.0 * np.pi**2 * _FREQUENCY_SQUARED
    # Noise is drawn at half resolution: cells as blurred as these have nothing finer.
    grain, wide = params.grain / 2.0, params.grain
    band = np.exp(spread * grain**2) - np.exp(spread * wide**2)
    slow = 0.5 * np.exp(spread * 14.0**2) * 14.0 / grain
    coarse = np.fft.irfft2(white * (band + slow), s=(_NOISE_SIDE, _NOISE_SIDE))
    coarse /= coarse.std()
    # Clumps: pale spots stand out of a flat dark field.
    clumped = -(np.maximum(-coarse + 0.2, 0.0) ** 1.3)
    clumped = (clumped - clumped.mean()) / clumped.std()
    field = (1.0 - params.clumping) * coarse + params.clumping * clumped
    blur = np.exp(spread * (params.focus / 2.0) ** 2)
    field = np.fft.irfft2(np.fft.rfft2(field) * blur, s=(_NOISE_SIDE, _NOISE_SIDE))
    return np.float32(params.contrast) * _doubled(field.astype(np.float32))[:side, :side]


def _doubled(field: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Twice the size, bilinear, periodic."""
    for axis in (0, 1):
        before, after = np.roll(field, 1, axis), np.roll(field, -1, axis)
        pair = np.stack([0.75 * field + 0.25 * before, 0.75 * field + 0.25 * after])
        shape = (2 * field.shape[0], field.shape[1]) if axis == 0 else (len(field), -1)
        field = np.moveaxis(pair, 0, axis + 1).reshape(shape)
    return field


def _nucleolus(
    params: CellParams, rng: np.random.Generator, axis: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """A faint pale disc somewhere in the inner half of the nucleus."""
    cell_radius = math.sqrt(params.area / math.pi)
    distance, angle = 0.55 * cell_radius * math.sqrt(rng.random()), rng.uniform(0.0, 2.0 * np.pi)
    size, strength = rng.uniform(9.0, 16.0), rng.uniform(0.4, 1.0)
    y = (axis - np.float32(distance * math.sin(angle))) ** 2
    x = (axis - np.float32(distance * math.cos(angle))) ** 2
    squared = (y[:, None] + x[None, :]) / np.float32(size**2)
    disc: npt.NDArray[np.float32] = np.float32(strength) * np.exp(-(squared**2))
    return disc


def _centred(
    image: npt.NDArray[np.uint8], inside: npt.NDArray[np.bool_], canvas: int
) -> npt.NDArray[np.uint8]:
    """Cut the cell's bounding box out and put it in the middle of a black canvas."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    cell = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    top, left = (canvas - cell.shape[0]) // 2, (canvas - cell.shape[1]) // 2
    out = np.zeros((canvas, canvas, 3), dtype=np.uint8)
    out[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    return out
