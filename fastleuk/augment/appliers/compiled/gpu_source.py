"""Where the GPU's kernels find an image's pixels: by address, rows in either order, RGB or BGR.

What :mod:`.cpu_source` does once for a whole image is done here for every pixel that is read.
"""

from __future__ import annotations

import triton
import triton.language as tl

ADDRESS, STRIDE, HEIGHT, WIDTH, BGR = (tl.constexpr(i) for i in range(5))
IMAGE = tl.constexpr(5)
"""Where an image lies, int64: the address of its top left pixel, the bytes from a row to the next
(negative where the last row comes first), height, width, and whether blue comes first."""


@triton.jit
def source_of(image):
    """The first pixel, the bytes from row to row, whether blue comes first, height, width."""
    pixels = tl.load(image + ADDRESS).to(tl.pointer_type(tl.uint8))
    height, width = tl.load(image + HEIGHT).to(tl.int32), tl.load(image + WIDTH).to(tl.int32)
    return pixels, tl.load(image + STRIDE), tl.load(image + BGR).to(tl.int32), height, width


@triton.jit
def add_pixels(r, g, b, weight, source, column, row, mask):
    """Add ``weight`` of pixels; those beyond the image's edge are as the last within it."""
    pixels, stride, bgr, height, width = source
    column = tl.minimum(tl.maximum(column, 0), width - 1)
    row = tl.minimum(tl.maximum(row, 0), height - 1)
    pixel = pixels + row * stride + 3 * column
    r += weight * tl.load(pixel + 2 * bgr, mask, 0).to(tl.float32)
    g += weight * tl.load(pixel + 1, mask, 0).to(tl.float32)
    b += weight * tl.load(pixel + 2 - 2 * bgr, mask, 0).to(tl.float32)
    return r, g, b


@triton.jit
def half(which: tl.constexpr, weight):
    """The weight of the pixel before a point, or of the one behind it."""
    return weight if which == 1 else 1 - weight


@triton.jit
def third(which: tl.constexpr, weight, boxed):
    """The weight of the pixel before, at, or behind a point; without a box of the latter two."""
    if which == 0:
        return tl.where(boxed, 0.5 * (1 - weight), 0.0)
    if which == 1:
        return tl.where(boxed, 0.5, 1 - weight)
    return tl.where(boxed, 0.5 * weight, weight)
