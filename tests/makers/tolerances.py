"""Every tolerance of the augmentation's tests, each with its reason. Levels are of 0-255."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """Bounds of a comparison and why they are what they are."""

    levels: float
    """Greatest difference of a pixel that is not excused."""
    excused: float
    """Share of pixels that may exceed ``levels``."""
    reason: str


ROUNDING = "torchvision rounds to whole levels after the step, DALI computes in float"
CANVAS = (
    "; torchvision darkens the one-pixel edge of the black canvas twice (fill=0 multiplies by "
    "the coverage a second time), DALI once"
)

EXACT_STEP = {
    "resize": Tolerance(
        1.0,
        0.0,
        "two passes, rounded once or twice; in the outermost two "
        "pixels torchvision leaves out what lies beyond the image, DALI repeats its edge",
    ),
    "hflip": Tolerance(0.0, 0.0, "moves pixels"),
    "vflip": Tolerance(0.0, 0.0, "moves pixels"),
    "rotate": Tolerance(1.0, 0.015, "coordinates in float32" + CANVAS),
    "brightness": Tolerance(1.0, 0.0, "torchvision truncates to whole levels"),
    "contrast": Tolerance(
        1.3,
        0.0,
        "torchvision truncates, and truncates grey before taking its mean: a bias of "
        "0.5 levels times |1 - factor|",
    ),
    "saturation": Tolerance(1.3, 0.0, "torchvision truncates the result and the grey it blends"),
    "hue": Tolerance(1.01, 0.0, "the same function in real numbers; torchvision truncates"),
    "resized_crop": Tolerance(1.0, 0.0, ROUNDING),
    "affine": Tolerance(1.0, 0.02, ROUNDING + CANVAS),
    "gaussian_blur": Tolerance(0.51, 0.0, ROUNDING),
    "adjust_sharpness": Tolerance(
        2.01,
        0.018,
        "torchvision truncates after rounding the smoothed copy; it leaves the "
        "outermost pixels (1.8 % of 224 x 224) as they are",
    ),
    "perspective": Tolerance(1.0, 0.03, ROUNDING + CANVAS),
}
"""``exact`` against torchvision, a step at a time, from images of the output size."""

NEAREST_SHARE = 0.01
"""Nearest: the share of pixels that may come from the neighbour, where source coordinates fall
within float32 of the middle between two pixels."""


@dataclass(frozen=True)
class ChainTolerance:
    """Bounds in dB and levels for the whole chain over many draws."""

    median_psnr: float
    worst_psnr: float
    median_foreground: float
    reason: str


EXACT_CHAIN = ChainTolerance(
    47.0, 41.0, 2.0, "torchvision truncates after each of the four colour steps: up to 2 levels"
)
FUSED_CHAIN = ChainTolerance(
    41.0,
    34.0,
    3.0,
    "two resamplings instead of five, a fitted hue, filter and perspective exchanged: the "
    "bounds are those of issue 3",
)

COMPILED_CHAIN = ChainTolerance(
    45.0,
    40.0,
    2.5,
    "one interpolation instead of five and no rounding: the difference from torchvision is mostly "
    "torchvision's own error",
)

GPU = Tolerance(
    1.0,
    0.001,
    "float to integer rounds half away from zero on the CPU, half to "
    "even on the GPU; fused multiply-add",
)

TRITON = Tolerance(
    0.02,
    0.002,
    "the same float32 arithmetic as the CPU's kernel (0.002 levels were found); sums are taken in "
    "another order, and where a coordinate falls on an edge it may fall on the other side",
)
"""The Triton kernels against the numba kernel."""

TRITON_GPU = Tolerance(
    0.5, 0.002, "as above; multiply-adds are fused, and exponents rounded, as the GPU does it"
)

BORDER = 1.01
"""Levels between ``fused`` or ``compiled`` and ``exact``, edges and corners included, for a
single step of the geometry: all sample the same resized image; two of them round to whole levels
at different steps: two halves, and float32."""
