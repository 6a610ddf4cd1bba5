"""Resizing before the nine steps, on the GPU: linear, with antialiasing.

For images that are not augmented, and for those that :func:`.sampling.is_resized_first`. The same
weights as DALI's resize and :mod:`fastleuk.loading.decode.resize_kernel`, in one pass instead of
two: a level may be rounded the other way.
"""

from __future__ import annotations

import triton
import triton.language as tl

from fastleuk.augment.appliers.compiled.gpu_source import IMAGE, add_pixels, source_of


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
    source = source_of(images + n * IMAGE)
    _, _, _, height, width = source
    k = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = k < SIZE * SIZE
    left, slope_x, columns = _taps(k % SIZE, width, SIZE)
    top, slope_y, rows = _taps(k // SIZE, height, SIZE)
    r, g, b = left * 0, left * 0, left * 0
    total = left * 0
    for j in range(rows):
        row, weight_y = _tap(top, slope_y, j)
        for i in range(columns):
            column, weight_x = _tap(left, slope_x, i)
            total += weight_y * weight_x
            r, g, b = add_pixels(r, g, b, weight_y * weight_x, source, column, row, mask)
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
    """Rounded to a whole level."""
    return tl.minimum(tl.maximum(value + 0.5, 0.0), 255.0).to(tl.int32).to(tl.uint8)
