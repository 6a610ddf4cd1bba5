"""The nine steps as one function of one image, compiled by numba for the CPU: ``compiled``.

An output pixel is sampled once, through the product of all homographies up to the affine step,
from the source's own pixels; the jitter then does to it what torchvision does, step by step in
the drawn order, clips included. Blur and sharpness are one correlation; the perspective, where
it is on, is a second sampling. Geometry as in :mod:`fastleuk.augment.matrices`.

Pixels are worked on in rows of one colour each: such loops become vector instructions, and
three rows stay in the processor's nearest cache. All of it stands in one file because numba
keeps what it compiled until the file changes in which the function is, wherever its callees are.
What is imported here is frozen into the machine code as well, so its values are part of the
name under which a function is kept: see :data:`IDENTITY`.
"""

from __future__ import annotations

import numpy as np
from numba import carray, types
from numba.extending import intrinsic

from fastleuk.augment import sampling
from fastleuk.augment.appliers.compiled import numba_cache
from fastleuk.augment.appliers.compiled import row as kernel_row
from fastleuk.augment.appliers.compiled.numba_cache import announce_compiling, compiler, identity_of
from fastleuk.augment.appliers.compiled.row import (
    AFFINE,
    BRIGHTNESS,
    CONTRAST,
    CROPPED,
    HUE_SIXTHS,
    HUE_THIRDS,
    JITTER_ORDER,
    MARGIN_X,
    MARGIN_Y,
    PERSPECTIVE,
    PERSPECTIVE_ON,
    SATURATION,
    SHARPNESS_ON,
    TURNED,
)
from fastleuk.augment.sampling import BOX_RATIO

PIVOT_POINTS = 48
"""Contrast needs the mean grey of the whole image: from so many points along each edge."""

IDENTITY = identity_of(kernel_row, sampling, numba_cache)
"""Of every constant that is imported here, and of how it is compiled."""

compiled = compiler(IDENTITY)
announce_compiling(__name__)

f4, i4, u1, u2 = np.float32, np.int32, np.uint8, np.uint16
RED, GREEN, BLUE = f4(0.2989), f4(0.587), f4(0.114)


@intrinsic
def _pointer(_typing, _address, dtype=None):
    """Take an int64 for the address of a value of ``dtype``."""
    pointer = types.CPointer(dtype.dtype)

    def generate(context, builder, _signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(pointer))

    return pointer(types.int64, dtype), generate


@compiled
def augment_batch(outputs, planar, pointers, rows, factor, offset, first, step):
    """Augment every ``step``-th image of a batch from ``first`` on, all without Python's lock.

    Args:
        outputs: ``(N, size, size, 3)`` or, if ``planar``, ``(N, 3, size, size)`` float32; written.
        planar: Which of the two.
        pointers: ``(N, 5)`` int64: the address of an image's bytes, its height and its width, as in
            :func:`augment_image`; or of a file's, 0 and its length, as in :func:`augment_bmp`.
            Then the address and the edge of the kernel.
        rows: ``(N, ROW)`` float32.
        factor: See :func:`augment_image`.
        offset: Likewise.
        first: The first image's number.
        step: How many take part in this batch.
    """
    for i in range(first, len(outputs), step):
        address, height, width, weights, edge = pointers[i]
        kernel = carray(_pointer(weights, f4), (edge, edge))
        if height == 0:
            data = carray(_pointer(address, u1), (width,))
            augment_bmp(outputs[i], planar, data, rows[i], kernel, factor, offset)
        else:
            image = carray(_pointer(address, u1), (height, width, 3))
            augment_image(outputs[i], planar, image, rows[i], kernel, factor, offset)


@compiled
def augment_image(output, planar, image, row, kernel, factor, offset):
    """Augment one image.

    Args:
        output: ``(size, size, 3)`` or, if ``planar``, ``(3, size, size)`` float32; written.
        planar: Which of the two.
        image: ``(H, W, 3)`` uint8.
        row: ``(ROW,)`` float32, see :mod:`fastleuk.augment.appliers.compiled.row`.
        kernel: ``(k, k)`` float32: blur and sharpness.
        factor: ``(3,)`` float32, by which the levels of each channel are multiplied at last.
        offset: ``(3,)`` float32, which is added then.
    """
    height, width = image.shape[:2]
    box = _box(height, width, output.shape[1])
    grid = np.empty((height + 3, 3 * (width + 3)), u2)
    _frame(image.reshape(-1), 0, 3 * width, width, height, box, grid)
    _augment_grid(output, planar, grid, box, False, row, kernel, factor, offset)


@compiled
def augment_bmp(output, planar, data, row, kernel, factor, offset):
    """As :func:`augment_image`, from the bytes of an uncompressed 24-bit BMP.

    A file that is anything else, or too short, leaves NaN in the output.
    """
    start, width, height = _bmp_layout(data)
    if width == 0:
        output[:] = np.nan
        return
    upright = abs(height)
    box = _box(upright, width, output.shape[1])
    grid = np.empty((upright + 3, 3 * (width + 3)), u2)
    stride = (3 * width + 3) // 4 * 4
    if height > 0:  # the last row comes first
        start, stride = start + (height - 1) * stride, -stride
    _frame(data, start, stride, width, upright, box, grid)
    _augment_grid(output, planar, grid, box, True, row, kernel, factor, offset)


@compiled
def _box(height, width, size):
    """Whether rows, and whether columns are averaged in twos, see :mod:`.sampling`."""
    return height > BOX_RATIO * size, width > BOX_RATIO * size


@compiled
def _augment_grid(output, planar, grid, box, bgr, row, kernel, factor, offset):
    size, height, width = output.shape[1], grid.shape[0] - 3, grid.shape[1] // 3 - 3
    tall, wide = f4(1) if box[0] else f4(0.5), f4(1) if box[1] else f4(0.5)
    gain = f4(0.25) / (tall * wide)  # sums of two, of four, or pixels themselves
    scale = (f4(width) / f4(size), f4(height) / f4(size), wide, tall)
    planes = np.empty((3, size), f4)
    src_index, weights = np.empty(size, i4), np.empty((4, size), f4)
    one, half = f4(1), f4(0.5)
    pivot = f4(0)
    if row[CONTRAST] != 1:
        pivot = _mean_grey(grid, gain, bgr, scale, size, row, planes, src_index, weights)
    affine, reach = row[AFFINE : AFFINE + 9], kernel.shape[0] // 2
    canvas = np.empty((3, size + 2 * reach, size + 2 * reach), f4)
    cropped, margin = row[CROPPED : CROPPED + 9], (row[MARGIN_X], row[MARGIN_Y])
    for y in range(size):
        points = size, one, f4(y) + half, size
        _affine_src_coords(affine, cropped, margin, scale, points, grid.shape, src_index, weights)
        _sample(grid.reshape(-1), grid.shape[1], gain, bgr, size, src_index, weights, planes)
        _jitter(planes[0], planes[1], planes[2], size, row, pivot, False)
        _onto_canvas(planes, weights[3], y, size, canvas, reach)
    _mirror_edges(canvas, reach)
    clips = row[SHARPNESS_ON] != 0
    if row[PERSPECTIVE_ON] == 0:
        for y in range(size):
            _filter_row(canvas, kernel, y, size, clips, planes)
            _write_row(planes, size, factor, offset, y, output, planar)
        return
    framed = np.zeros((size + 3, 3 * (size + 3)), f4)
    for y in range(size):
        _filter_row(canvas, kernel, y, size, clips, planes)
        _interleave(planes, size, framed[y + 1, 3:])
    homography = row[PERSPECTIVE : PERSPECTIVE + 9]
    for y in range(size):
        _perspective_src_coords(homography, f4(y) + half, size, framed.shape, src_index, weights)
        _sample(framed.reshape(-1), framed.shape[1], one, False, size, src_index, weights, planes)
        _write_row(planes, size, factor, offset, y, output, planar)


@compiled
def _bmp_layout(data):
    """Where the pixels begin, width, and height (negative: top row first); zeros if not plain."""
    if len(data) < 54 or data[0] != 66 or data[1] != 77:
        return 0, 0, 0
    start, header = _four_bytes(data, 10), _four_bytes(data, 14)
    width, height, planes_and_bits = _four_bytes(data, 18), _four_bytes(data, 22), data[28]
    plain = planes_and_bits == 24 and data[29] == 0 and _four_bytes(data, 30) == 0
    plain = plain and header in (40, 108, 124) and start >= 14 + header
    if not plain or not 0 < width < 1 << 15 or not 0 < abs(height) < 1 << 15:
        return 0, 0, 0
    if start + (3 * width + 3) // 4 * 4 * abs(height) > len(data):
        return 0, 0, 0
    return start, width, height


@compiled
def _four_bytes(data, at):
    value = 0
    for k in range(4):
        value |= np.int64(data[at + k]) << (8 * k)
    return value - (1 << 32) if value >= 1 << 31 else value


@compiled
def _frame(data, start, stride, width, height, box, grid):
    """Put rows of pixels, or sums of two or four, into a frame; beyond the edge is as the edge.

    Args:
        data: uint8: row ``y`` begins at ``start + y * stride``.
        start: See there.
        stride: See there; negative where the last row comes first.
        width: In pixels.
        height: In pixels.
        box: Whether neighbours in a column, and whether those in a row are added.
        grid: ``(height + 3, 3 * (width + 3))`` uint16, written. Pixel ``(y, x)`` comes to
            ``(y + 1, x + 1)``, the sum of it and the one before likewise.
    """
    end = 3 * width
    line = np.empty(end + 9, u2)
    for y in range(height + 3):
        below = start + min(max(y - 1, 0), height - 1) * stride
        above = start + min(max(y - 2, 0), height - 1) * stride
        target = line if box[1] else grid[y]
        pixels = data[below : below + end]
        if box[0]:
            others = data[above : above + end]
            for k in range(end):
                target[k + 3] = u2(i4(pixels[k]) + i4(others[k]))
        else:
            for k in range(end):
                target[k + 3] = pixels[k]
        for c in range(3):
            target[c] = target[c + 3]
            target[end + 3 + c] = target[end + c]
            target[end + 6 + c] = target[end + c]
        if box[1]:
            sums = grid[y]
            for k in range(end + 6):
                sums[k + 3] = u2(i4(line[k]) + i4(line[k + 3]))
            for c in range(3):
                sums[c] = u2(2) * line[c]


@compiled
def _index(coordinate, last):
    """The pixel to the left: one that is there, whatever a senseless homography has given."""
    return max(min(i4(coordinate), i4(last) - i4(1)), i4(0))


@compiled
def _affine_src_coords(affine, before, margin, scale, points, shape, src_index, weights):
    """Where points of the canvas, in a row, lie on the grid.

    Args:
        affine: The affine step; what it takes from beyond the crop is black.
        before: Flips, rotation and, with ``margin``, crop.
        margin: So near to the crop's edges, in pixels of the canvas, its last pixels begin.
        scale: Source pixels for one of the canvas, across and down; then the grid's origin.
        points: The canvas's size, the points' distance, their height ``y``, and how many.
        shape: Of the grid.
        src_index: Written: the index of the upper left of the four neighbours.
        weights: Written: those of its right and of its lower neighbour; how much of the point
            lies on the image, beyond which it is black, too; and how much on the crop. Either
            edge is one pixel wide, of what it is the edge of, whatever the source's size.
    """
    a, b, c, d, e, f = affine[0], affine[1], affine[2], affine[3], affine[4], affine[5]
    g, h, i, j, k, m = before[0], before[1], before[2], before[3], before[4], before[5]
    across, down, right, below = scale
    size, step, y, count = points
    last_x, last_y = f4(shape[1] // 3 - 1), f4(shape[0] - 1)
    edge, one, half, zero = f4(size), f4(1), f4(0.5), f4(0)
    for n in range(count):
        x = (f4(n) + half) * step
        p, q = a * x + b * y + c, d * x + e * y + f
        weights[3, n] = max(min(min(p, edge - p) + half, one), zero) * max(
            min(min(q, edge - q) + half, one), zero
        )
        p = max(min(p, edge - margin[0]), margin[0])
        q = max(min(q, edge - margin[1]), margin[1])
        s, t = g * p + h * q + i, j * p + k * q + m
        weights[2, n] = max(min(min(s, edge - s) + half, one), zero) * max(
            min(min(t, edge - t) + half, one), zero
        )
        u = max(min(s * across + right, last_x), zero)
        v = max(min(t * down + below, last_y), zero)
        left, upper = _index(u, last_x), _index(v, last_y)
        src_index[n] = upper * i4(shape[1]) + i4(3) * left
        weights[0, n], weights[1, n] = u - f4(left), v - f4(upper)


@compiled
def _perspective_src_coords(homography, y, count, shape, src_index, weights):
    """As :func:`_affine_src_coords`, onto a grid of the canvas's own pixels in a black frame."""
    last = f4(shape[0] - 1)
    for k in range(count):
        x = f4(k) + f4(0.5)
        depth = homography[6] * x + homography[7] * y + homography[8]
        u = (homography[0] * x + homography[1] * y + homography[2]) / depth + f4(0.5)
        v = (homography[3] * x + homography[4] * y + homography[5]) / depth + f4(0.5)
        # A point at infinity, or that no line leads to, is beyond the edge as well.
        u = min(u, last) if u > f4(0) else f4(0)
        v = min(v, last) if v > f4(0) else f4(0)
        i, j = _index(u, last), _index(v, last)
        src_index[k] = j * i4(shape[1]) + i4(3) * i
        weights[0, k], weights[1, k], weights[2, k] = u - f4(i), v - f4(j), f4(1)


@compiled
def _sample(grid, stride, gain, bgr, count, src_index, weights, planes):
    """Bilinear interpolation of the flat ``grid`` there, times ``gain``."""
    reds, greens, blues = planes[2 if bgr else 0], planes[1], planes[0 if bgr else 2]
    across, down, inside = weights[0], weights[1], weights[2]
    for k in range(count):
        p, fx, fy, factor = src_index[k], across[k], down[k], gain * inside[k]
        q = p + i4(stride)
        one = f4(grid[p]) + fx * (f4(grid[p + 3]) - f4(grid[p]))
        two = f4(grid[q]) + fx * (f4(grid[q + 3]) - f4(grid[q]))
        reds[k] = factor * (one + fy * (two - one))
        one = f4(grid[p + 1]) + fx * (f4(grid[p + 4]) - f4(grid[p + 1]))
        two = f4(grid[q + 1]) + fx * (f4(grid[q + 4]) - f4(grid[q + 1]))
        greens[k] = factor * (one + fy * (two - one))
        one = f4(grid[p + 2]) + fx * (f4(grid[p + 5]) - f4(grid[p + 2]))
        two = f4(grid[q + 2]) + fx * (f4(grid[q + 5]) - f4(grid[q + 2]))
        blues[k] = factor * (one + fy * (two - one))


@compiled
def _mean_grey(grid, gain, bgr, scale, size, row, planes, src_index, weights):
    """Mean grey of the flipped and rotated image after the jitter steps before contrast."""
    points, total = min(PIVOT_POINTS, size), f4(0)
    step, half = f4(size) / f4(points), f4(0.5)
    turned, nothing = row[TURNED : TURNED + 9], np.zeros(6, f4)
    nothing[0], nothing[4] = f4(1), f4(1)
    for j in range(points):
        line = size, step, (f4(j) + half) * step, points
        _affine_src_coords(
            nothing, turned, (half, half), scale, line, grid.shape, src_index, weights
        )
        _sample(grid.reshape(-1), grid.shape[1], gain, bgr, points, src_index, weights, planes)
        _jitter(planes[0], planes[1], planes[2], points, row, f4(0), True)
        for k in range(points):
            total += RED * planes[0, k] + GREEN * planes[1, k] + BLUE * planes[2, k]
    return total / f4(points * points)


@compiled
def _jitter(r, g, b, count, row, pivot, before_contrast):
    """The four steps in their order, in place; or only those before contrast."""
    top, zero = f4(255), f4(0)
    for slot in range(4):
        step = i4(row[JITTER_ORDER + slot])
        if step == 0:
            factor = row[BRIGHTNESS]
            for k in range(count):
                r[k] = min(r[k] * factor, top)
                g[k] = min(g[k] * factor, top)
                b[k] = min(b[k] * factor, top)
        elif step == 1:
            if before_contrast:
                return
            factor = row[CONTRAST]
            offset = (f4(1) - factor) * pivot
            for k in range(count):
                r[k] = max(min(r[k] * factor + offset, top), zero)
                g[k] = max(min(g[k] * factor + offset, top), zero)
                b[k] = max(min(b[k] * factor + offset, top), zero)
        elif step == 2:
            factor = row[SATURATION]
            for k in range(count):
                grey = (RED * r[k] + GREEN * g[k] + BLUE * b[k]) * (f4(1) - factor)
                r[k] = max(min(r[k] * factor + grey, top), zero)
                g[k] = max(min(g[k] * factor + grey, top), zero)
                b[k] = max(min(b[k] * factor + grey, top), zero)
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
def _onto_canvas(planes, inside, y, size, canvas, reach):
    """Write a row; beyond the crop, where the affine step looks at nothing, it is black."""
    for c in range(3):
        plane, target = planes[c], canvas[c, y + reach]
        for k in range(size):
            target[k + reach] = plane[k] * inside[k]


@compiled
def _mirrored(k, size):
    """``reflect_101``: where ``k`` lies in a row of ``size`` pixels that goes to and fro."""
    period = max(2 * (size - 1), 1)
    k = abs(k) % period
    return min(k, period - k)


@compiled
def _mirror_edges(canvas, reach):
    """Fill the margin of the canvas as ``reflect_101``, however narrow the image is."""
    edge = canvas.shape[1]
    size = edge - 2 * reach
    for c in range(3):
        for y in range(reach, edge - reach):
            row = canvas[c, y]
            for k in range(reach):
                row[reach - 1 - k] = row[reach + _mirrored(-1 - k, size)]
                row[edge - reach + k] = row[reach + _mirrored(size + k, size)]
        for k in range(reach):
            canvas[c, reach - 1 - k] = canvas[c, reach + _mirrored(-1 - k, size)]
            canvas[c, edge - reach + k] = canvas[c, reach + _mirrored(size + k, size)]


@compiled
def _filter_row(canvas, kernel, y, size, clips, planes):
    """Row ``y`` of the correlation with ``kernel``, clipped to the range where sharpened."""
    edge = kernel.shape[0]
    for c in range(3):
        total = planes[c]
        total[:] = 0
        for j in range(edge):
            row = canvas[c, y + j]
            if edge == 3:  # one pass over the row is twice as fast as three
                left, middle, right = kernel[j]
                for k in range(size):
                    total[k] += left * row[k] + middle * row[k + 1] + right * row[k + 2]
                continue
            for i in range(edge):
                weight = kernel[j, i]
                for k in range(size):
                    total[k] += weight * row[k + i]
        if clips:
            for k in range(size):
                total[k] = max(min(total[k], f4(255)), f4(0))


@compiled
def _write_row(planes, size, factor, offset, y, output, planar):
    """Normalise and write row ``y``."""
    for c in range(3):
        plane, times, plus = planes[c], factor[c], offset[c]
        for k in range(size):
            plane[k] = plane[k] * times + plus
    if planar:
        for c in range(3):
            output[c, y] = planes[c]
    else:
        _interleave(planes, size, output[y].reshape(-1))


@compiled
def _interleave(planes, count, target):
    """Three planes to one row of pixels."""
    for k in range(count):
        target[3 * k] = planes[0, k]
        target[3 * k + 1] = planes[1, k]
        target[3 * k + 2] = planes[2, k]
