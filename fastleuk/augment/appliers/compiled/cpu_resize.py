"""Resize plain BMPs and arrays to RGB of the output's size, compiled by numba for the CPU.

Bit for bit the result of DALI's decoder and its antialiased resize, so that images from files, from
the decoded cache and from arrays are equal. For that, weights, order of the two passes, order of
summation and rounding are DALI's (its ``dali/kernels/imgproc/resample``, read in the source and
checked by measuring): the axis first that costs less, float32 between the passes, halves rounded to
even in whole vectors of 16 and up in the rest. ``tests/loading/decode/test_bmp.py`` compares.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from fastleuk.augment.appliers.compiled import cpu_lanes, numba_cache
from fastleuk.augment.appliers.compiled.cpu_lanes import SPARE, fill, weighted_sum
from fastleuk.augment.appliers.compiled.numba_cache import compiler, identity_of
from fastleuk.data.images.bmp import HEADER, BmpLayout, read_layout
from fastleuk.errors import DataError

VECTOR = 16
"""Values that DALI rounds at once."""

ACROSS_COST, SIZE_COST = 1.4, 3.0
"""DALI's estimate of a horizontal pass in vertical ones, and of memory in multiplications."""

f4, i4, u1 = np.float32, np.int32, np.uint8

# No fast-math, nor fused multiply-add: the sums are to come out as DALI's.
IDENTITY = identity_of(cpu_lanes, numba_cache, callees=(cpu_lanes,))
compiled = compiler(IDENTITY, fastmath=())


class Taps(NamedTuple):
    """How the pixels along an axis are weighed."""

    first: np.ndarray
    """int32 ``(size,)``: the first source pixel of each of the output; those outside repeat the
    edge."""
    weights: np.ndarray
    """float32 ``(size, support)``; each row sums to 1."""


class Resize(NamedTuple):
    """How an image of one size is resized; see :func:`plan_resize`."""

    down: Taps
    across: Taps
    down_first: bool
    even: tuple[int, int]
    """The values of a row, three a pixel, from ``[0]`` to before ``[1]`` whose halves are rounded
    to even."""


@functools.lru_cache(maxsize=256)
def plan_resize(height: int, width: int, size: int) -> Resize:
    """Plan the linear, antialiased resize of ``(height, width)`` to ``(size, size)``."""
    down, across = _taps(height, size), _taps(width, size)
    supports = down.weights.shape[1], across.weights.shape[1]
    first_down = _cost(width * size, supports[0], 1) + _cost(size * size, supports[1], ACROSS_COST)
    first_across = _cost(height * size, supports[1], ACROSS_COST) + _cost(size**2, supports[0], 1)
    down_first = first_down < first_across
    if not down_first:
        return Resize(down, across, False, (0, 3 * size // VECTOR * VECTOR))
    regular = np.flatnonzero((across.first >= 0) & (across.first + supports[1] <= width))
    start, count = (int(regular[0]), len(regular)) if len(regular) else (0, 0)
    return Resize(down, across, True, (3 * start, 3 * (start + count // VECTOR * VECTOR)))


def _cost(values: int, support: int, weight: float) -> float:
    return (weight * support + SIZE_COST) * values


def _taps(count: int, size: int) -> Taps:
    """A triangle as wide as the step between output pixels, at least as that between the source's.

    All in float32 and in this order, as DALI computes it.
    """
    step = f4(count) / f4(size)
    slope = f4(2) / max(f4(1), f4(2) * (step if size < count else f4(1)))
    support = int(np.ceil(f4(2) / slope))
    left = np.arange(size, dtype=f4) * step + (f4(0.5) * step - f4(0.5) - f4(1) / slope)
    first = np.ceil(left)
    position = ((first - left)[:, None] + np.arange(support, dtype=f4)) * slope
    whole = np.floor(position)
    fraction = position - whole
    weights = np.select([whole == 0, whole == 1], [fraction, f4(1) - fraction], f4(0)).astype(f4)
    total = np.zeros(size, f4)
    for k in range(support):  # np.sum would add in pairs
        total += weights[:, k]
    return Taps(first.astype(np.int32), weights / total[:, None])


def resize_bmp(output: np.ndarray, data: np.ndarray, crop: int = 0) -> None:
    """Resize a plain BMP, or the square of ``crop`` pixels at its center.

    Args:
        output: ``(size, size, 3)`` uint8 RGB, written.
        data: uint8 ``(B,)``, the bytes of the file.
        crop: Side of the square in pixels; 0 for the whole image.

    Raises:
        DataError: the bytes are no plain BMP, or too few.
    """
    layout = read_layout(data[:HEADER].tobytes())
    if layout is None or layout.length > len(data):
        raise DataError("is no whole uncompressed BMP of 24 bits")
    start, height, width = layout.start, layout.height, layout.width
    if crop:
        height, width = min(height, crop), min(width, crop)
        start += (layout.height - height) // 2 * layout.stride + 3 * ((layout.width - width) // 2)
    resize_rows(output, data, BmpLayout(start, layout.stride, width, height))


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """Resize ``(H, W, 3)`` uint8 RGB to ``(size, size, 3)``; that size passes unchanged."""
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    output = np.empty((size, size, 3), np.uint8)
    blue_first = np.ascontiguousarray(image[:, :, ::-1]).reshape(-1)
    resize_rows(output, blue_first, BmpLayout(0, 3 * width, width, height))
    return output


def resize_rows(output: np.ndarray, data: np.ndarray, layout: BmpLayout) -> None:
    """Resize rows of pixels, blue first, or copy them where the size is that of ``output``."""
    start, stride, width, height = layout
    if output.shape[:2] == (height, width):
        _copy_rows(output, data, start, stride)
    else:
        plan = plan_resize(height, width, len(output))
        _resize_rows(output, data, start, stride, height, width, *plan)


@compiled
def level_sums(output):
    """Sum the red, the green and the blue levels of ``(H, W, 3)`` uint8: ``(3,)`` int64."""
    sums = np.zeros(3, np.int64)
    for y in range(output.shape[0]):
        red, green, blue = i4(0), i4(0), i4(0)
        for x in range(output.shape[1]):
            red += i4(output[y, x, 0])
            green += i4(output[y, x, 1])
            blue += i4(output[y, x, 2])
        sums[0] += red
        sums[1] += green
        sums[2] += blue
    return sums


@compiled
def _copy_rows(output, data, start, stride):
    """Turn rows, see :func:`_resize_rows`, into RGB of the same size."""
    height, width = output.shape[:2]
    for y in range(height):
        row = data[start + y * stride : start + y * stride + 3 * width]
        for x in range(width):
            for c in range(3):
                output[y, x, c] = row[3 * x + 2 - c]


@compiled
def _resize_rows(output, data, start, stride, height, width, down, across, down_first, even):
    """Resize rows of pixels.

    Args:
        output: ``(size, size, 3)`` uint8 RGB, written.
        data: uint8: row ``y`` of the image begins at ``start + y * stride``, blue first.
        start: See there.
        stride: See there; negative where the last row comes first.
        height: In pixels.
        width: In pixels.
        down: ``Taps`` of the vertical axis.
        across: ``Taps`` of the horizontal axis.
        down_first: Whether the vertical pass comes first.
        even: See :class:`Resize`.
    """
    if down_first:
        _down_across(output, data, start, stride, height, width, down, across, even)
    else:
        _across_down(output, data, start, stride, height, width, down, across, even)


@compiled
def _down_across(output, data, start, stride, height, width, down, across, even):
    row, total = np.zeros(3 * width + SPARE, f4), np.empty(3 * output.shape[1], f4)
    for y in range(output.shape[0]):
        fill(row, f4(0))
        for k in range(down.weights.shape[1]):
            line = start + min(max(down.first[y] + k, 0), height - 1) * stride
            source, weight = data[line : line + 3 * width], down.weights[y, k]
            for j in range(3 * width):
                row[j] += weight * f4(source[j])
        _narrow(row, width, across, total)
        _round(total, even, output[y].reshape(-1))


@compiled
def _across_down(output, data, start, stride, height, width, down, across, even):
    size = output.shape[1]
    row, narrow = np.zeros(3 * width + SPARE, f4), np.empty((height, 3 * size), f4)
    for y in range(height):
        source = data[start + y * stride : start + y * stride + 3 * width]
        for j in range(3 * width):
            row[j] = f4(source[j])
        _narrow(row, width, across, narrow[y])
    total = np.empty(3 * size, f4)
    for y in range(output.shape[0]):
        fill(total, f4(0))
        for k in range(down.weights.shape[1]):
            line, weight = narrow[min(max(down.first[y] + k, 0), height - 1)], down.weights[y, k]
            for j in range(3 * size):
                total[j] += weight * line[j]
        _round(total, even, output[y].reshape(-1))


@compiled
def _narrow(row, width, across, target):
    """Take a row, blue first, through the horizontal pass, to red first."""
    support = across.weights.shape[1]
    for x in range(len(across.first)):
        first = across.first[x]
        blue, green, red = f4(0), f4(0), f4(0)
        if first >= 0 and first + support <= width:
            blue, green, red = weighted_sum(row, i4(3) * first, across.weights, x)
        else:
            for k in range(support):
                weight, j = across.weights[x, k], 3 * min(max(first + k, 0), width - 1)
                blue += weight * row[j]
                green += weight * row[j + 1]
                red += weight * row[j + 2]
        target[3 * x], target[3 * x + 1], target[3 * x + 2] = red, green, blue


@compiled
def _round(values, even, target):
    """Round to uint8: halves to even in the one part of the row, up in the rest."""
    inner, levels = values[even[0] : even[1]], target[even[0] : even[1]]
    for j in range(len(inner)):
        levels[j] = u1(i4(min(max(np.rint(inner[j]), f4(0)), f4(255))))
    for begin, end in ((0, even[0]), (even[1], len(values))):
        for j in range(begin, end):
            level = min(max(values[j], f4(0)), f4(255))
            whole = i4(level)
            target[j] = u1(whole + i4(level - f4(whole) >= f4(0.5)))
