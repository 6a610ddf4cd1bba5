"""Read an image's pixels in the GPU's kernels: by address, rows in either order, RGB or BGR."""

from __future__ import annotations

import triton
import triton.language as tl

ADDRESS, STRIDE, HEIGHT, WIDTH, BGR = (tl.constexpr(i) for i in range(5))
IMAGE = tl.constexpr(5)
"""Where an image lies, int64: the address of its top left pixel, the bytes from a row to the next
(negative where the last row comes first), height, width, and whether blue comes first."""


@triton.jit
def source_of(image):
    """The first pixel, the bytes from row to row, whether blue comes first."""
    pixels = tl.load(image + ADDRESS).to(tl.pointer_type(tl.uint8))
    return pixels, tl.load(image + STRIDE), tl.load(image + BGR).to(tl.int32)


@triton.jit
def add_pixels(r, g, b, weight, source, column, row, height, width, mask):
    """Add ``weight`` of pixels; those beyond the image's edge are as the last within it."""
    pixels, stride, bgr = source
    column = tl.minimum(tl.maximum(column, 0), width - 1)
    row = tl.minimum(tl.maximum(row, 0), height - 1)
    pixel = pixels + row * stride + 3 * column
    r += weight * tl.load(pixel + 2 * bgr, mask, 0).to(tl.float32)
    g += weight * tl.load(pixel + 1, mask, 0).to(tl.float32)
    b += weight * tl.load(pixel + 2 - 2 * bgr, mask, 0).to(tl.float32)
    return r, g, b
