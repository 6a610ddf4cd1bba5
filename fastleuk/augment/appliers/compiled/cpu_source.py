"""Where the CPU's kernel finds an image's pixels: a frame around them, from arrays and from BMPs.

What :mod:`.gpu_source` does for every pixel that is read is done here once for the whole image:
rows that may come bottom-up, neighbours averaged in twos, the last pixel repeated beyond the edge.
"""

from __future__ import annotations

import numpy as np

from fastleuk.augment import sampling
from fastleuk.augment.appliers.compiled import cpu_lanes, numba_cache
from fastleuk.augment.appliers.compiled.cpu_lanes import empty_grid
from fastleuk.augment.appliers.compiled.numba_cache import announce_compiling, compiler, identity_of
from fastleuk.augment.sampling import BOX_RATIO

IDENTITY = identity_of(sampling, numba_cache, callees=(cpu_lanes,))
compiled = compiler(IDENTITY)
announce_compiling(__name__)

f4, i4, u2 = np.float32, np.int32, np.uint16


@compiled
def source_of_image(image, size):
    """The pixels of an image as :func:`fastleuk.augment.appliers.compiled.cpu._sample` reads them.

    Args:
        image: ``(H, W, 3)`` uint8.
        size: Edge of the output.

    Returns:
        The grid, see :func:`_frame`; the factor that makes levels of its values; source pixels for
        one of the canvas, across and down, then the grid's origin.
    """
    height, width = image.shape[:2]
    box = _box(height, width, size)
    grid = empty_grid(height + 3, width + 3, u2)
    _frame(image.reshape(-1), 0, 3 * width, width, height, box, grid)
    return _source(grid, box, height, width, size)


@compiled
def source_of_bmp(data, layout, size):
    """As :func:`source_of_image`, from the bytes of an uncompressed 24-bit BMP; blue comes first.

    Args:
        data: uint8, the whole file.
        layout: Of :func:`bmp_layout`, not zeros.
        size: Edge of the output.
    """
    start, width, height = layout
    upright = abs(height)
    box = _box(upright, width, size)
    grid = empty_grid(upright + 3, width + 3, u2)
    stride = (3 * width + 3) // 4 * 4
    if height > 0:  # the last row comes first
        start, stride = start + (height - 1) * stride, -stride
    _frame(data, start, stride, width, upright, box, grid)
    return _source(grid, box, upright, width, size)


@compiled
def bmp_layout(data):
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
def _box(height, width, size):
    """Whether rows, and whether columns are averaged in twos, see :mod:`.sampling`."""
    return height > BOX_RATIO * size, width > BOX_RATIO * size


@compiled
def _source(grid, box, height, width, size):
    tall, wide = f4(1) if box[0] else f4(0.5), f4(1) if box[1] else f4(0.5)
    gain = f4(0.25) / (tall * wide)  # sums of two, of four, or pixels themselves
    return grid, gain, (f4(width) / f4(size), f4(height) / f4(size), wide, tall)


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
