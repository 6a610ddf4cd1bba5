"""The nine steps as one function of one image, compiled by numba for the CPU: ``compiled``.

An output pixel is sampled once, through the product of all homographies up to the affine step,
from the source's own pixels; the jitter then does to it what torchvision does, step by step in
the drawn order, clips included. Blur and sharpness are one correlation; the perspective, where
it is on, is a second sampling. Geometry as in :mod:`fastleuk.augment.matrices`.

Pixels are worked on in rows of one colour each: such loops become vector instructions, and
three rows stay in the processor's nearest cache. All of it stands in one file because numba
keeps what it compiled until the file changes in which the function is, wherever its callees are.
"""

from __future__ import annotations

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic

from fastleuk.augment.kernel_row import (
    AFFINE,
    BRIGHTNESS,
    CONTRAST,
    CROPPED,
    HUE_SIXTHS,
    HUE_THIRDS,
    JITTER_ORDER,
    PERSPECTIVE,
    PERSPECTIVE_ON,
    SATURATION,
    SHARPNESS_ON,
    TURNED,
)

BOX_RATIO = 1.5
"""From so many source pixels for one of the output on, they are averaged in twos before."""

PIVOT_POINTS = 48
"""Contrast needs the mean grey of the whole image: from so many points along each edge."""

f4, i4, u1, u2 = np.float32, np.int32, np.uint8, np.uint16
RED, GREEN, BLUE = f4(0.2989), f4(0.587), f4(0.114)

# Not the whole of fast-math: nothing here may assume that a value is finite.
compiled = njit(
    cache=True,
    nogil=True,
    error_model="numpy",
    fastmath={"nsz", "arcp", "contract", "reassoc"},
)


@intrinsic
def _pointer(_typing, _address, dtype=None):
    """Take an int64 for the address of a value of ``dtype``."""
    pointer = types.CPointer(dtype.dtype)

    def generate(context, builder, _signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(pointer))

    return pointer(types.int64, dtype), generate


@compiled
def augment_batch(outputs, planar, places, rows, factor, offset, first, step):
    """Augment every ``step``-th image of a batch from ``first`` on, all without Python's lock.

    Args:
        outputs: ``(N, size, size, 3)`` or, if ``planar``, ``(N, 3, size, size)`` float32; written.
        planar: Which of the two.
        places: ``(N, 5)`` int64: the address of an image's bytes, its height and its width, as in
            :func:`augment_image`; or of a file's, 0 and its length, as in :func:`augment_bmp`.
            Then the address and the edge of the kernel.
        rows: ``(N, ROW)`` float32.
        factor: See :func:`augment_image`.
        offset: Likewise.
        first: The first image's number.
        step: How many take part in this batch.
    """
    for i in range(first, len(outputs), step):
        address, height, width, weights, edge = places[i]
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
        row: ``(ROW,)`` float32, see :mod:`fastleuk.augment.kernel_row`.
        kernel: ``(k, k)`` float32: blur and sharpness.
        factor: ``(3,)`` float32, by which the levels of each channel are multiplied at last.
        offset: ``(3,)`` float32, which is added then.
    """
    height, width = image.shape[:2]
    boxed = max(height, width) > BOX_RATIO * output.shape[1]
    grid = np.empty((height + 3, 3 * (width + 3)), u2)
    _frame(image.reshape(-1), 0, 3 * width, width, height, boxed, grid)
    _augment_grid(output, planar, grid, boxed, False, row, kernel, factor, offset)


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
    boxed = max(upright, width) > BOX_RATIO * output.shape[1]
    grid = np.empty((upright + 3, 3 * (width + 3)), u2)
    stride = (3 * width + 3) // 4 * 4
    if height > 0:  # the last row comes first
        start, stride = start + (height - 1) * stride, -stride
    _frame(data, start, stride, width, upright, boxed, grid)
    _augment_grid(output, planar, grid, boxed, True, row, kernel, factor, offset)


@compiled
def _augment_grid(output, planar, grid, boxed, bgr, row, kernel, factor, offset):
    size, height, width = output.shape[1], grid.shape[0] - 3, grid.shape[1] // 3 - 3
    shift, gain = (f4(1), f4(0.25)) if boxed else (f4(0.5), f4(1))
    scale = (f4(width) / f4(size), f4(height) / f4(size), shift)
    planes = np.empty((3, size), f4)
    places, shares = np.empty(size, i4), np.empty((2, size), f4)
    pivot = f4(0)
    if row[CONTRAST] != 1:
        turned = _to_grid(row[TURNED : TURNED + 9], scale)
        pivot = _mean_grey(grid, gain, bgr, turned, size, row, planes, places, shares)
    affine, reach = row[AFFINE : AFFINE + 9], kernel.shape[0] // 2
    canvas = np.empty((3, size + 2 * reach, size + 2 * reach), f4)
    through = _to_grid(_product(row[CROPPED : CROPPED + 9], affine), scale)
    for y in range(size):
        _affine_places(through, f4(1), f4(y) + f4(0.5), size, grid.shape, places, shares)
        _sample(grid.reshape(-1), grid.shape[1], gain, bgr, size, places, shares, planes)
        _jitter(planes[0], planes[1], planes[2], size, row, pivot, False)
        _onto_canvas(planes, affine, y, size, canvas, reach)
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
        _perspective_places(homography, f4(y) + f4(0.5), size, framed.shape, places, shares)
        _sample(framed.reshape(-1), framed.shape[1], f4(1), False, size, places, shares, planes)
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
def _frame(data, start, stride, width, height, boxed, grid):
    """Put rows of pixels into a black frame, or their sums over 2 x 2 (black counts outside).

    Args:
        data: uint8: row ``y`` begins at ``start + y * stride``.
        start: See there.
        stride: See there; negative where the last row comes first.
        width: In pixels.
        height: In pixels.
        boxed: Whether sums are wanted.
        grid: ``(height + 3, 3 * (width + 3))`` uint16, written.
    """
    end = 3 * width
    grid[0] = 0
    grid[height + 1 :] = 0
    if not boxed:
        for y in range(height):
            pixels, target = data[start + y * stride : start + y * stride + end], grid[y + 1]
            target[:3], target[end + 3 :] = 0, 0
            for k in range(end):
                target[k + 3] = pixels[k]
        return
    sums = np.zeros(end + 6, u2)
    for y in range(height + 1):
        upper, lower = start + max(y - 1, 0) * stride, start + min(y, height - 1) * stride
        above, below = data[upper : upper + end], data[lower : lower + end]
        one, other = i4(y > 0), i4(y < height)
        for k in range(end):
            sums[k + 3] = u2(one * i4(above[k]) + other * i4(below[k]))
        target = grid[y + 1]
        target[:3], target[end + 6 :] = 0, 0
        for k in range(end + 3):
            target[k + 3] = u2(i4(sums[k]) + i4(sums[k + 3]))


@compiled
def _product(a, b):
    """The product of two homographies whose last row is (0, 0, 1)."""
    out = np.zeros(9, f4)
    for i in range(2):
        for j in range(3):
            out[3 * i + j] = a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j]
        out[3 * i + 2] += a[3 * i + 2]
    return out


@compiled
def _to_grid(homography, scale):
    """From the canvas to columns and rows of the grid: six numbers."""
    a, b, c, d, e, f = homography[:6]
    across, down, shift = scale
    return (a * across, b * across, c * across + shift, d * down, e * down, f * down + shift)


@compiled
def _index(coordinate, last):
    """The pixel to the left: one that is there, whatever a senseless homography has given."""
    return max(min(i4(coordinate), i4(last) - i4(1)), i4(0))


@compiled
def _affine_places(matrix, step, y, count, shape, places, shares):
    """Where ``count`` points of the canvas, ``step`` apart, lie on the grid.

    Writes the index of the upper left of the four neighbours, and the shares of its right and
    of its lower neighbour. Points beyond the black frame are put onto it.
    """
    a, b, c, d, e, f = matrix
    last_x, last_y = f4(shape[1] // 3 - 1), f4(shape[0] - 1)
    for k in range(count):
        x = (f4(k) + f4(0.5)) * step
        u = max(min(a * x + b * y + c, last_x), f4(0))
        v = max(min(d * x + e * y + f, last_y), f4(0))
        i, j = _index(u, last_x), _index(v, last_y)
        places[k] = j * i4(shape[1]) + i4(3) * i
        shares[0, k], shares[1, k] = u - f4(i), v - f4(j)


@compiled
def _perspective_places(homography, y, count, shape, places, shares):
    """As :func:`_affine_places`, onto a framed grid of the canvas's own pixels."""
    last = f4(shape[0] - 1)
    for k in range(count):
        x = f4(k) + f4(0.5)
        depth = homography[6] * x + homography[7] * y + homography[8]
        u = (homography[0] * x + homography[1] * y + homography[2]) / depth + f4(0.5)
        v = (homography[3] * x + homography[4] * y + homography[5]) / depth + f4(0.5)
        u, v = max(min(u, last), f4(0)), max(min(v, last), f4(0))
        i, j = _index(u, last), _index(v, last)
        places[k] = j * i4(shape[1]) + i4(3) * i
        shares[0, k], shares[1, k] = u - f4(i), v - f4(j)


@compiled
def _sample(grid, stride, gain, bgr, count, places, shares, planes):
    """Bilinear interpolation of the flat ``grid`` at those places, times ``gain``."""
    reds, greens, blues = planes[2 if bgr else 0], planes[1], planes[0 if bgr else 2]
    across, down = shares[0], shares[1]
    for k in range(count):
        p, fx, fy = places[k], across[k], down[k]
        q = p + i4(stride)
        one = f4(grid[p]) + fx * (f4(grid[p + 3]) - f4(grid[p]))
        two = f4(grid[q]) + fx * (f4(grid[q + 3]) - f4(grid[q]))
        reds[k] = gain * (one + fy * (two - one))
        one = f4(grid[p + 1]) + fx * (f4(grid[p + 4]) - f4(grid[p + 1]))
        two = f4(grid[q + 1]) + fx * (f4(grid[q + 4]) - f4(grid[q + 1]))
        greens[k] = gain * (one + fy * (two - one))
        one = f4(grid[p + 2]) + fx * (f4(grid[p + 5]) - f4(grid[p + 2]))
        two = f4(grid[q + 2]) + fx * (f4(grid[q + 5]) - f4(grid[q + 2]))
        blues[k] = gain * (one + fy * (two - one))


@compiled
def _mean_grey(grid, gain, bgr, turned, size, row, planes, places, shares):
    """Mean grey of the flipped and rotated image after the jitter steps before contrast."""
    points, total = min(PIVOT_POINTS, size), f4(0)
    step = f4(size) / f4(points)
    for j in range(points):
        y = (f4(j) + f4(0.5)) * step
        _affine_places(turned, step, y, points, grid.shape, places, shares)
        _sample(grid.reshape(-1), grid.shape[1], gain, bgr, points, places, shares, planes)
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
def _onto_canvas(planes, affine, y, size, canvas, reach):
    """Write a row; beyond the crop, where the affine step looks at nothing, it is black."""
    u = affine[0] * f4(0.5) + affine[1] * (f4(y) + f4(0.5)) + affine[2] + f4(0.5)
    v = affine[3] * f4(0.5) + affine[4] * (f4(y) + f4(0.5)) + affine[5] + f4(0.5)
    edge, one, zero = f4(size) + f4(1), f4(1), f4(0)
    for c in range(3):
        plane, target = planes[c], canvas[c, y + reach]
        for k in range(size):
            x, z = u + affine[0] * f4(k), v + affine[3] * f4(k)
            inside = max(min(min(x, edge - x), one), zero) * max(min(min(z, edge - z), one), zero)
            target[k + reach] = plane[k] * inside


@compiled
def _mirror_edges(canvas, reach):
    """Fill the margin of the canvas as ``reflect_101``."""
    last = canvas.shape[1] - 1
    for c in range(3):
        for y in range(reach, last + 1 - reach):
            for k in range(reach):
                canvas[c, y, k] = canvas[c, y, 2 * reach - k]
                canvas[c, y, last - k] = canvas[c, y, last - 2 * reach + k]
        for k in range(reach):
            canvas[c, k] = canvas[c, 2 * reach - k]
            canvas[c, last - k] = canvas[c, last - 2 * reach + k]


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
