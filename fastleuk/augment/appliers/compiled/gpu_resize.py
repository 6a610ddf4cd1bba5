"""Resizing before the nine steps, on the GPU: linear, with antialiasing.

For every image that isn't of the output's size. The weights are those of DALI's resize and of the
CPU's: a triangle as wide as the step between output pixels, at least two pixels; beyond the image
its edge is repeated. Sums across and down are float32 and rounded once. The CPU may add up in
another order, so a value near a half may be rounded to the other level.
"""

from __future__ import annotations

import triton
import triton.language as tl

from fastleuk.augment.appliers.compiled.gpu_source import (
    HEIGHT,
    IMAGE,
    WIDTH,
    add_pixels,
    source_of,
)

ROUNDING = tl.constexpr(12582912.0)
"""1.5 * 2**23: added to a float32 from 0 to 255 it leaves no bits for a fraction."""


@triton.jit
def resize(images, targets, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """Resize images to ``SIZE`` x ``SIZE``.

    Args:
        images: ``(M, IMAGE)`` int64.
        targets: ``(M, SIZE, SIZE, 3)`` uint8, written.
        SIZE: Edge of the output.
        BLOCK: Pixels a program, a power of two.
    """
    n = tl.program_id(0)
    image = images + n * IMAGE
    source = source_of(image)
    height, width = tl.load(image + HEIGHT).to(tl.int32), tl.load(image + WIDTH).to(tl.int32)
    k = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = k < SIZE * SIZE
    left, slope_x, columns = _taps(k % SIZE, width, SIZE)
    top, slope_y, rows = _taps(k // SIZE, height, SIZE)
    r, g, b = left * 0, left * 0, left * 0
    total_x, total_y = left * 0, left * 0
    j = 0
    while j < rows:
        row, weight_y = _tap(top, slope_y, j)
        row_r, row_g, row_b = left * 0, left * 0, left * 0
        total_x = left * 0
        i = 0
        while i < columns:
            column, weight_x = _tap(left, slope_x, i)
            row_r, row_g, row_b = add_pixels(
                row_r, row_g, row_b, weight_x, source, column, row, height, width, mask
            )
            total_x += weight_x
            i += 1
        r, g, b = r + weight_y * row_r, g + weight_y * row_g, b + weight_y * row_b
        total_y += weight_y
        j += 1
    total = total_x * total_y
    target = targets + n.to(tl.int64) * (3 * SIZE * SIZE) + 3 * k
    tl.store(target, _level(r / total), mask)
    tl.store(target + 1, _level(g / total), mask)
    tl.store(target + 2, _level(b / total), mask)


@triton.jit
def _taps(k, count, SIZE: tl.constexpr):
    """Where the triangle of an output pixel begins, its slope, and how many pixels it may cover."""
    step = count.to(tl.float32) / SIZE
    reach = tl.maximum(step, 1.0)
    left = (k.to(tl.float32) + 0.5) * step - 0.5 - reach
    return left, 1 / reach, tl.ceil(2 * reach).to(tl.int32)


@triton.jit
def _tap(left, slope, k):
    """The ``k``-th pixel under a triangle, and its weight."""
    first = tl.ceil(left)
    place = (first - left + k) * slope
    return first.to(tl.int32) + k, tl.maximum(1 - tl.abs(place - 1), 0.0)


@triton.jit
def _level(value):
    """Rounded to a whole level, halves to even as DALI rounds them."""
    value = tl.minimum(tl.maximum(value, 0.0), 255.0)
    return ((value + ROUNDING) - ROUNDING).to(tl.int32).to(tl.uint8)
