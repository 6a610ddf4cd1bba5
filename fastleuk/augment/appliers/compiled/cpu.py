"""The nine steps as one function of one image, compiled by numba for the CPU: ``compiled``.

The image has the output's size (:mod:`.cpu_resize` resizes it before). An output pixel is sampled
from it once, through the product of all homographies up to the affine step; the jitter then does to
it what torchvision does, step by step in the drawn order, clips included. Blur and sharpness are
one correlation; the perspective, where it is on, is a second sampling. Geometry as in
:mod:`fastleuk.augment.matrices`.

The same functions in the same order as :mod:`.gpu`, with the same arithmetic. There a block of
pixels is worked on at a time, here a row of one colour: such loops become vector instructions, and
three rows stay in the processor's nearest cache. What is imported is frozen into the machine code,
so it is part of the name under which a function is kept: see :mod:`.numba_cache`.
"""

from __future__ import annotations

import numpy as np

from fastleuk.augment.appliers import row as kernel_row
from fastleuk.augment.appliers.compiled import cpu_lanes, numba_cache
from fastleuk.augment.appliers.compiled.cpu_lanes import bilinear, copy, empty_grid, fill
from fastleuk.augment.appliers.compiled.numba_cache import announce_compiling, compiler, identity_of
from fastleuk.augment.appliers.row import (
    AFFINE,
    BRIGHTNESS,
    CONTRAST,
    FLIP_ROTATE,
    FLIP_ROTATE_CROP,
    HUE_SIXTHS,
    HUE_THIRDS,
    JITTER_ORDER,
    MARGIN_X,
    MARGIN_Y,
    PERSPECTIVE,
    PERSPECTIVE_ON,
    PIVOT_POINTS,
    SATURATION,
    SHARPNESS_ON,
)

IDENTITY = identity_of(kernel_row, numba_cache, callees=(cpu_lanes,))
"""Of every constant that is imported here, and of how it is compiled."""

compiled = compiler(IDENTITY)
announce_compiling(__name__)

f4, i4, u1 = np.float32, np.int32, np.uint8
RED, GREEN, BLUE = f4(0.2989), f4(0.587), f4(0.114)


@compiled
def framed_grid(image, size):
    """Copy an image, its last column and row repeated: each pixel has neighbors to interpolate.

    Args:
        image: ``(size, size, 3)`` uint8.
        size: Edge of the image.

    Returns:
        ``(size + 1, 3 * (size + 1))`` uint8, of :func:`.cpu_lanes.empty_grid`.
    """
    grid = empty_grid(size + 1, size + 1, u1)
    for y in range(size):
        copy(image[y].reshape(-1), grid[y])
        for c in range(3):
            grid[y, 3 * size + c] = image[y, size - 1, c]
    copy(grid[size - 1], grid[size])
    return grid


@compiled
def mean_grey(grid, row, size, work):
    """Mean grey of the flipped and rotated image after the jitter steps before contrast.

    Args:
        grid: Of :func:`framed_grid`.
        row: ``(ROW,)`` float32.
        size: Edge of the output.
        work: Room for a row: its three planes; for :func:`_interpolate` indices and weights.
    """
    if row[CONTRAST] == 1:
        return f4(0)
    planes, _, _ = work
    points, total = min(PIVOT_POINTS, size), f4(0)
    step, half = f4(size) / f4(points), f4(0.5)
    for j in range(points):
        y = (f4(j) + half) * step
        for k in range(points):
            s, t = _affine(row, FLIP_ROTATE, (f4(k) + half) * step, y)
            _sample(grid, s, t, k, size, work)
        _interpolate(grid, points, work)
        _jitter(planes[0], planes[1], planes[2], points, row, f4(0), True)
        for k in range(points):
            total += RED * planes[0, k] + GREEN * planes[1, k] + BLUE * planes[2, k]
    return total / f4(points * points)


@compiled
def warp_and_jitter(grid, row, pivot, canvas, size, work):
    """Sample the image once through flips, rotation, crop and affine; jitter; onto the canvas.

    Args:
        grid: Of :func:`framed_grid`.
        row: ``(ROW,)`` float32.
        pivot: Of :func:`mean_grey`.
        canvas: ``(3, size + 2 * reach, size + 2 * reach)`` float32, written but for its margin.
        size: Edge of the output.
        work: See :func:`mean_grey`.
    """
    planes, _, weights = work
    margin_x, margin_y = row[MARGIN_X], row[MARGIN_Y]
    edge, half, reach = f4(size), f4(0.5), (canvas.shape[1] - size) // 2
    for y in range(size):
        for x in range(size):
            u, v = _affine(row, AFFINE, f4(x) + half, f4(y) + half)
            weights[3, x] = _coverage(u, edge) * _coverage(v, edge)  # beyond the crop it is black
            u, v = max(min(u, edge - margin_x), margin_x), max(min(v, edge - margin_y), margin_y)
            s, t = _affine(row, FLIP_ROTATE_CROP, u, v)
            _sample(grid, s, t, x, size, work)
        _interpolate(grid, size, work)
        _jitter(planes[0], planes[1], planes[2], size, row, pivot, False)
        for c in range(3):
            plane, target = planes[c], canvas[c, y + reach]
            for x in range(size):
                target[x + reach] = plane[x] * weights[3, x]


@compiled
def filter_and_write(canvas, row, kernel, mean, factor, output, planar, size, work):
    """Blur and sharpness, perspective, normalisation.

    Args:
        canvas: Of :func:`warp_and_jitter`; its margin is written.
        row: ``(ROW,)`` float32.
        kernel: ``(k, k)`` float32.
        mean: ``(3,)`` float32, of the levels.
        factor: Likewise, by which what is above the mean is multiplied.
        output: ``(3, size, size)`` if ``planar``, else ``(size, size, 3)``, float32, written.
        planar: Which of the two layouts.
        size: Edge of the output.
        work: See :func:`mean_grey`.
    """
    planes, src_index, weights = work
    clips = row[SHARPNESS_ON] != 0
    _reflect_margin(canvas, kernel.shape[0] // 2)
    warped = row[PERSPECTIVE_ON] != 0
    frame = size + 3 if warped else 3
    framed = empty_grid(frame, frame, f4)
    fill(framed.reshape(-1), f4(0))  # black, one pixel wide
    for y in range(size):
        _filter(canvas, kernel, clips, y, size, planes)
        if warped:
            _interleave(planes, size, framed[y + 1, 3:])
        else:
            _write(planes, mean, factor, y, size, output, planar)
    if not warped:
        return
    last = f4(framed.shape[0] - 1)
    for y in range(size):
        for x in range(size):
            u, v = _perspective(row, PERSPECTIVE, f4(x) + f4(0.5), f4(y) + f4(0.5), last)
            i, j = _index(u, last), _index(v, last)
            src_index[x] = j * i4(framed.shape[1]) + i4(3) * i
            weights[0, x], weights[1, x], weights[2, x] = u - f4(i), v - f4(j), f4(1)
        _interpolate(framed, size, work)
        _write(planes, mean, factor, y, size, output, planar)


@compiled
def _affine(row, at, x, y):
    """Where points go by a homography whose last row is (0, 0, 1); it begins at ``row[at]``."""
    a, b, c, d, e, f = row[at], row[at + 1], row[at + 2], row[at + 3], row[at + 4], row[at + 5]
    return a * x + b * y + c, d * x + e * y + f


@compiled
def _perspective(row, at, x, y, last):
    """Where points lie on the canvas with a black frame, one pixel wide; beyond it: on it."""
    depth = row[at + 6] * x + row[at + 7] * y + row[at + 8]
    s, t = _affine(row, at, x, y)
    u, v = s / depth + f4(0.5), t / depth + f4(0.5)
    # A point at infinity, or that no line leads to, is beyond the edge as well.
    return min(u, last) if u > f4(0) else f4(0), min(v, last) if v > f4(0) else f4(0)


@compiled
def _coverage(coordinate, size):
    """How much of a pixel at ``coordinate`` lies on a canvas from 0 to ``size``."""
    return max(min(min(coordinate, size - coordinate) + f4(0.5), f4(1)), f4(0))


@compiled
def _sample(grid, s, t, k, size, work):
    """Bilinear interpolation of the image at a point; black beyond its edges.

    Here only where and how: the index and weights for the ``k``-th pixel of a row, which
    :func:`_interpolate` then makes.
    """
    _, src_index, weights = work
    last = f4(size)
    i, weights[0, k] = _src_index(s, last)
    j, weights[1, k] = _src_index(t, last)
    weights[2, k] = _coverage(s, last) * _coverage(t, last)
    src_index[k] = j * i4(grid.shape[1]) + i4(3) * i


@compiled
def _src_index(coordinate, size):
    """The pixel before a point, and the weight of the one behind it; the edge's beyond the edge."""
    src = max(min(coordinate - f4(0.5), size - f4(1)), f4(0))
    before = _index(src, size)
    return before, src - f4(before)


@compiled
def _index(coordinate, last):
    """The pixel before: one that is there, whatever a senseless homography has given."""
    return max(min(i4(coordinate), i4(last) - i4(1)), i4(0))


@compiled
def _interpolate(grid, count, work):
    """A row of pixels from the four neighbours of each point.

    Args:
        grid: Of :func:`.cpu_lanes.empty_grid`: values of pixels, three each.
        count: Pixels.
        work: The planes are written; the indices are those of the upper left neighbour; the
            weights those of its right and of its lower neighbour, and the coverage of the point.
    """
    planes, src_index, weights = work
    weight_x, weight_y, coverage = weights[0], weights[1], weights[2]
    reds, greens, blues = planes[0], planes[1], planes[2]
    values, stride = grid.reshape(-1), i4(grid.shape[1])
    for k in range(count):
        upper = src_index[k]
        reds[k], greens[k], blues[k] = bilinear(
            values, upper, upper + stride, weight_x[k], weight_y[k], coverage[k]
        )


@compiled
def _clip(value):
    return max(min(value, f4(255)), f4(0))


@compiled
def _linear(r, g, b, k, factor, offset):
    r[k] = _clip(r[k] * factor + offset)
    g[k] = _clip(g[k] * factor + offset)
    b[k] = _clip(b[k] * factor + offset)


@compiled
def _jitter(r, g, b, count, row, pivot, before_contrast):
    """The four steps in their order, in place; or only those before contrast."""
    for slot in range(4):
        step = i4(row[JITTER_ORDER + slot])
        if step == 1 and before_contrast:
            return
        if step == 0:
            factor = row[BRIGHTNESS]
            for k in range(count):
                _linear(r, g, b, k, factor, f4(0))
        elif step == 1:
            factor = row[CONTRAST]
            offset = (f4(1) - factor) * pivot
            for k in range(count):
                _linear(r, g, b, k, factor, offset)
        elif step == 2:
            factor = row[SATURATION]
            for k in range(count):
                grey = (RED * r[k] + GREEN * g[k] + BLUE * b[k]) * (f4(1) - factor)
                _linear(r, g, b, k, factor, grey)
        else:
            _shift_hue(r, g, b, count, row[HUE_SIXTHS], i4(row[HUE_THIRDS]))


@compiled
def _shift_hue(r, g, b, count, sixths, thirds):
    """See :func:`fastleuk.augment.matrices.hue_shift`."""
    if thirds != 0:
        for k in range(count):
            red, green, blue = r[k], g[k], b[k]
            r[k] = blue if thirds == 1 else green
            g[k] = red if thirds == 1 else blue
            b[k] = green if thirds == 1 else red
    if sixths == 0:
        return
    rest = f4(1) - abs(sixths)
    for k in range(count):
        red, green, blue = r[k], g[k], b[k]
        low, high = min(red, green), max(red, green)
        least, greatest = min(low, blue), max(high, blue)
        middle = max(low, min(high, blue)) * rest
        own = rest + f4(1)
        r[k] = min(max(red * own - middle + sixths * (blue - green), least), greatest)
        g[k] = min(max(green * own - middle + sixths * (red - blue), least), greatest)
        b[k] = min(max(blue * own - middle + sixths * (green - red), least), greatest)


@compiled
def _reflect(k, size):
    """``reflect_101``: 1 for -1, ``size - 2`` for ``size``, whatever the distance."""
    period = max(2 * (size - 1), 1)
    k = abs(k) % period
    return min(k, period - k)


@compiled
def _reflect_margin(canvas, reach):
    """Fill the margin of the canvas by :func:`_reflect`, however narrow the image is."""
    edge = canvas.shape[1]
    size = edge - 2 * reach
    for c in range(3):
        for y in range(reach, edge - reach):
            row = canvas[c, y]
            for k in range(reach):
                row[reach - 1 - k] = row[reach + _reflect(-1 - k, size)]
                row[edge - reach + k] = row[reach + _reflect(size + k, size)]
        for k in range(reach):
            copy(canvas[c, reach + _reflect(-1 - k, size)], canvas[c, reach - 1 - k])
            copy(canvas[c, reach + _reflect(size + k, size)], canvas[c, edge - reach + k])


@compiled
def _filter(canvas, kernel, clips, y, size, planes):
    """Row ``y`` of the correlation with ``kernel``, clipped to the range where sharpened."""
    edge = kernel.shape[0]
    for c in range(3):
        total = planes[c]
        fill(total, f4(0))
        for j in range(edge):
            row = canvas[c, y + j]
            if edge == 3:  # one pass over the row is twice as fast as three
                left, middle, right = kernel[j]
                for k in range(size):
                    total[k] += left * row[k] + middle * row[k + 1] + right * row[k + 2]
                continue
            if edge == 5:
                outer, left, middle, right, last = kernel[j]
                for k in range(size):
                    near = left * row[k + 1] + middle * row[k + 2] + right * row[k + 3]
                    total[k] += near + (outer * row[k] + last * row[k + 4])
                continue
            for i in range(edge):
                weight = kernel[j, i]
                for k in range(size):
                    total[k] += weight * row[k + i]
        if clips:
            for k in range(size):
                total[k] = _clip(total[k])


@compiled
def _write(planes, mean, factor, y, size, output, planar):
    """Normalize and write row ``y``, rounded as by DALI's ``crop_mirror_normalize``."""
    for c in range(3):
        plane, minus, times = planes[c], mean[c], factor[c]
        for k in range(size):
            plane[k] = (plane[k] - minus) * times
    if planar:
        for c in range(3):
            copy(planes[c], output[c, y])
    else:
        _interleave(planes, size, output[y].reshape(-1))


@compiled
def _interleave(planes, count, target):
    """Three planes to one row of pixels."""
    for k in range(count):
        target[3 * k] = planes[0, k]
        target[3 * k + 1] = planes[1, k]
        target[3 * k + 2] = planes[2, k]
