"""The nine steps as three Triton kernels for the GPU: ``compiled`` there.

The same functions in the same order as :mod:`.cpu`, with the same arithmetic, from the same row of
parameters. There a row of pixels is worked on at a time, here a block of them; a program works on
one image, so that the order of the jitter and the perspective are branches that all of its threads
take alike. Images of another size are resized first, by :mod:`.gpu_resize`.

Triton runs here in three ways: compiled for the GPU that is there, compiled ahead of time for any
other (no driver is needed), and interpreted with NumPy (``TRITON_INTERPRET=1``), which the tests
use. Coordinates are clamped before they become integers, for the interpreter and a GPU differ in
what they do with others. Only Triton's own functions are used, which all three know. Loops of a
length known at run time only are ``while`` loops: Triton 3.6's interpreter can't use an array of
NumPy 2.4 as the bound of a ``range``.

Every kernel writes every element of its output. Memory that torch allocates may hold NaN, and a
weight of zero doesn't cancel NaN.
"""

from __future__ import annotations

import triton
import triton.language as tl

from fastleuk.augment.appliers import row as kernel_row
from fastleuk.augment.appliers.compiled.gpu_resize import resize
from fastleuk.augment.appliers.compiled.gpu_source import IMAGE, add_pixels, source_of

__all__ = ["filter_and_write", "mean_grey", "resize", "warp_and_jitter"]

FLIP_ROTATE = tl.constexpr(kernel_row.FLIP_ROTATE)
FLIP_ROTATE_CROP = tl.constexpr(kernel_row.FLIP_ROTATE_CROP)
AFFINE = tl.constexpr(kernel_row.AFFINE)
PERSPECTIVE = tl.constexpr(kernel_row.PERSPECTIVE)
PERSPECTIVE_ON = tl.constexpr(kernel_row.PERSPECTIVE_ON)
SHARPNESS_ON = tl.constexpr(kernel_row.SHARPNESS_ON)
JITTER_ORDER = tl.constexpr(kernel_row.JITTER_ORDER)
BRIGHTNESS = tl.constexpr(kernel_row.BRIGHTNESS)
CONTRAST = tl.constexpr(kernel_row.CONTRAST)
SATURATION = tl.constexpr(kernel_row.SATURATION)
HUE_SIXTHS = tl.constexpr(kernel_row.HUE_SIXTHS)
MARGIN_X = tl.constexpr(kernel_row.MARGIN_X)
MARGIN_Y = tl.constexpr(kernel_row.MARGIN_Y)
HUE_THIRDS = tl.constexpr(kernel_row.HUE_THIRDS)
EDGE = tl.constexpr(kernel_row.ROW)
"""Behind an image's row: the edge of its kernel of blur and sharpness, odd; then its weights."""
WEIGHTS = tl.constexpr(kernel_row.ROW + 1)

RED, GREEN, BLUE = tl.constexpr(0.2989), tl.constexpr(0.587), tl.constexpr(0.114)


@triton.jit
def mean_grey(
    images,
    rows,
    pivots,
    LENGTH: tl.constexpr,
    SIZE: tl.constexpr,
    POINTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Mean grey of each flipped and rotated image after the jitter steps before contrast.

    Args:
        images: ``(N, IMAGE)`` int64, of ``(SIZE, SIZE, 3)`` uint8.
        rows: ``(N, LENGTH)`` float32.
        pivots: ``(N,)`` float32, written: 0 where contrast is off.
        LENGTH: Numbers a row.
        SIZE: Edge of the output.
        POINTS: So many along each edge are sampled.
        BLOCK: Points at a time, a power of two.
    """
    n = tl.program_id(0)
    source, row = source_of(images + n * IMAGE), rows + n * LENGTH
    total = tl.zeros((BLOCK,), tl.float32)
    if tl.load(row + CONTRAST) != 1:
        step: tl.constexpr = SIZE / POINTS
        for first in range(0, POINTS * POINTS, BLOCK):
            k = first + tl.arange(0, BLOCK)
            mask = k < POINTS * POINTS
            x = ((k % POINTS).to(tl.float32) + 0.5) * step
            y = ((k // POINTS).to(tl.float32) + 0.5) * step
            s, t = _affine(row, FLIP_ROTATE, x, y)
            r, g, b = _sample(source, s, t, mask, SIZE)
            r, g, b = _jitter(r, g, b, row, 0.0, True)
            total += tl.where(mask, RED * r + GREEN * g + BLUE * b, 0.0)
    tl.store(pivots + n, tl.sum(total, axis=0) / (POINTS * POINTS))


@triton.jit
def warp_and_jitter(
    images,
    rows,
    pivots,
    canvas,
    LENGTH: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sample each image once through flips, rotation, crop and affine; jitter; onto the canvas.

    Args:
        images: ``(N, IMAGE)`` int64, of ``(SIZE, SIZE, 3)`` uint8.
        rows: ``(N, LENGTH)`` float32.
        pivots: ``(N,)`` float32, of :func:`mean_grey`.
        canvas: ``(N, 3, SIZE, SIZE)`` float32 or float16, written.
        LENGTH: Numbers a row.
        SIZE: Edge of the output.
        BLOCK: Pixels a program, a power of two.
    """
    n = tl.program_id(0)
    source, row = source_of(images + n * IMAGE), rows + n * LENGTH
    k = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = k < SIZE * SIZE
    x, y = (k % SIZE).to(tl.float32) + 0.5, (k // SIZE).to(tl.float32) + 0.5
    u, v = _affine(row, AFFINE, x, y)
    inside = _coverage(u, SIZE) * _coverage(v, SIZE)  # beyond the crop it is black
    margin_x, margin_y = tl.load(row + MARGIN_X), tl.load(row + MARGIN_Y)
    u = tl.minimum(tl.maximum(u, margin_x), SIZE - margin_x)
    v = tl.minimum(tl.maximum(v, margin_y), SIZE - margin_y)
    s, t = _affine(row, FLIP_ROTATE_CROP, u, v)
    r, g, b = _sample(source, s, t, mask, SIZE)
    pivot = tl.load(pivots + n)
    r, g, b = _jitter(r, g, b, row, pivot, False)
    target = canvas + n.to(tl.int64) * (3 * SIZE * SIZE) + k
    kind = canvas.dtype.element_ty
    tl.store(target, (r * inside).to(kind), mask)
    tl.store(target + SIZE * SIZE, (g * inside).to(kind), mask)
    tl.store(target + 2 * SIZE * SIZE, (b * inside).to(kind), mask)


@triton.jit
def filter_and_write(
    canvas,
    rows,
    moments,
    outputs,
    LENGTH: tl.constexpr,
    SIZE: tl.constexpr,
    PLANAR: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Blur and sharpness, perspective, normalisation.

    Args:
        canvas: ``(N, 3, SIZE, SIZE)``, of :func:`warp_and_jitter`.
        rows: ``(N, LENGTH)`` float32.
        moments: ``(6,)`` float32: means of the three channels, then factors.
        outputs: ``(N, 3, SIZE, SIZE)`` if ``PLANAR``, else ``(N, SIZE, SIZE, 3)``, written.
        LENGTH: Numbers a row.
        SIZE: Edge of the output.
        PLANAR: Which of the two layouts.
        BLOCK: Pixels a program, a power of two.
    """
    n = tl.program_id(0)
    row = rows + n * LENGTH
    kernel, edge = row + WEIGHTS, tl.load(row + EDGE).to(tl.int32)
    clips = tl.load(row + SHARPNESS_ON) != 0
    k = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = k < SIZE * SIZE
    x, y = k % SIZE, k // SIZE
    base = n.to(tl.int64) * (3 * SIZE * SIZE)
    if tl.load(row + PERSPECTIVE_ON) == 0:
        r, g, b = _filter(canvas + base, kernel, edge, clips, x, y, mask, SIZE)
    else:
        s, t = x.to(tl.float32) + 0.5, y.to(tl.float32) + 0.5
        u, v = _perspective(row, PERSPECTIVE, s, t, SIZE)
        i, j = u.to(tl.int32), v.to(tl.int32)
        fx, fy = u - i.to(tl.float32), v - j.to(tl.float32)
        r = tl.zeros((BLOCK,), tl.float32)
        g = tl.zeros((BLOCK,), tl.float32)
        b = tl.zeros((BLOCK,), tl.float32)
        for corner in range(4):  # the canvas has a black frame, one pixel wide: hence the - 1
            right, below = corner % 2, corner // 2
            column, line = i + right - 1, j + below - 1
            on = mask & (column >= 0) & (column < SIZE) & (line >= 0) & (line < SIZE)
            weight = tl.where(right == 1, fx, 1 - fx) * tl.where(below == 1, fy, 1 - fy)
            weight = tl.where(on, weight, 0.0)
            column = tl.minimum(tl.maximum(column, 0), SIZE - 1)
            line = tl.minimum(tl.maximum(line, 0), SIZE - 1)
            fr, fg, fb = _filter(canvas + base, kernel, edge, clips, column, line, on, SIZE)
            r, g, b = r + weight * fr, g + weight * fg, b + weight * fb
    _write(r, g, b, moments, outputs + base, k, mask, SIZE, PLANAR)


@triton.jit
def _affine(row, AT: tl.constexpr, x, y):
    """Where points go by a homography whose last row is (0, 0, 1); it begins at ``row[AT]``."""
    a, b, c = tl.load(row + AT), tl.load(row + AT + 1), tl.load(row + AT + 2)
    d, e, f = tl.load(row + AT + 3), tl.load(row + AT + 4), tl.load(row + AT + 5)
    return a * x + b * y + c, d * x + e * y + f


@triton.jit
def _perspective(row, AT: tl.constexpr, x, y, SIZE: tl.constexpr):
    """Where points lie on the canvas with a black frame, one pixel wide; beyond it: on it."""
    depth = tl.load(row + AT + 6) * x + tl.load(row + AT + 7) * y + tl.load(row + AT + 8)
    s, t = _affine(row, AT, x, y)
    u, v = s / depth + 0.5, t / depth + 0.5
    # A point at infinity, or that no line leads to, is beyond the edge as well.
    last = SIZE + 2 - 0.001
    return tl.where(u > 0, tl.minimum(u, last), 0.0), tl.where(v > 0, tl.minimum(v, last), 0.0)


@triton.jit
def _coverage(coordinate, SIZE: tl.constexpr):
    """How much of a pixel at ``coordinate`` lies on a canvas from 0 to ``SIZE``."""
    return tl.minimum(tl.maximum(tl.minimum(coordinate, SIZE - coordinate) + 0.5, 0.0), 1.0)


@triton.jit
def _sample(source, s, t, mask, SIZE: tl.constexpr):
    """Bilinear interpolation of the source at points of the canvas; black beyond its edges."""
    coverage = _coverage(s, SIZE) * _coverage(t, SIZE)
    i, fx = _src_index(s, SIZE)
    j, fy = _src_index(t, SIZE)
    return _interpolate(source, i, j, fx, fy, coverage, mask, SIZE)


@triton.jit
def _src_index(coordinate, SIZE: tl.constexpr):
    """The pixel before a point of the canvas, and the weight of the one behind it."""
    src = tl.minimum(tl.maximum(coordinate - 0.5, -0.5), SIZE + 0.5)
    before = tl.floor(src)
    return before.to(tl.int32), src - before


@triton.jit
def _interpolate(source, i, j, fx, fy, coverage, mask, SIZE: tl.constexpr):
    """Pixels from the four neighbours of each point, times ``coverage``."""
    mask = mask & (coverage > 0)
    r, g, b = coverage * 0, coverage * 0, coverage * 0
    for row in tl.static_range(2):
        for column in tl.static_range(2):
            weight = coverage * (fy if row == 1 else 1 - fy) * (fx if column == 1 else 1 - fx)
            r, g, b = add_pixels(r, g, b, weight, source, i + column, j + row, SIZE, SIZE, mask)
    return r, g, b


@triton.jit
def _clip(value):
    return tl.minimum(tl.maximum(value, 0.0), 255.0)


@triton.jit
def _linear(r, g, b, factor, offset):
    return _clip(r * factor + offset), _clip(g * factor + offset), _clip(b * factor + offset)


@triton.jit
def _jitter(r, g, b, row, pivot, BEFORE_CONTRAST: tl.constexpr):
    """The four steps in their order; or only those before contrast."""
    going = True
    for slot in tl.static_range(4):
        step = tl.load(row + JITTER_ORDER + slot).to(tl.int32)
        if step == 1 and BEFORE_CONTRAST:
            going = False
        if going:
            if step == 0:
                factor = tl.load(row + BRIGHTNESS)
                r, g, b = _linear(r, g, b, factor, 0.0)
            elif step == 1:
                factor = tl.load(row + CONTRAST)
                offset = (1 - factor) * pivot
                r, g, b = _linear(r, g, b, factor, offset)
            elif step == 2:
                factor = tl.load(row + SATURATION)
                grey = (RED * r + GREEN * g + BLUE * b) * (1 - factor)
                r, g, b = _linear(r, g, b, factor, grey)
            else:
                r, g, b = _shift_hue(r, g, b, tl.load(row + HUE_SIXTHS), tl.load(row + HUE_THIRDS))
    return r, g, b


@triton.jit
def _shift_hue(r, g, b, sixths, thirds):
    """See :func:`fastleuk.augment.matrices.hue_shift`."""
    red = tl.where(thirds == 0, r, tl.where(thirds == 1, b, g))
    green = tl.where(thirds == 0, g, tl.where(thirds == 1, r, b))
    blue = tl.where(thirds == 0, b, tl.where(thirds == 1, g, r))
    rest = 1 - tl.abs(sixths)
    low, high = tl.minimum(red, green), tl.maximum(red, green)
    least, greatest = tl.minimum(low, blue), tl.maximum(high, blue)
    middle = tl.maximum(low, tl.minimum(high, blue)) * rest
    own = rest + 1
    r = tl.minimum(tl.maximum(red * own - middle + sixths * (blue - green), least), greatest)
    g = tl.minimum(tl.maximum(green * own - middle + sixths * (red - blue), least), greatest)
    b = tl.minimum(tl.maximum(blue * own - middle + sixths * (green - red), least), greatest)
    return r, g, b


@triton.jit
def _reflect(k, SIZE: tl.constexpr):
    """``reflect_101``: 1 for -1, ``SIZE - 2`` for ``SIZE``, whatever the distance."""
    period: tl.constexpr = 2 * (SIZE - 1) if SIZE > 1 else 1
    k = tl.abs(k) % period
    return tl.minimum(k, period - k)


@triton.jit
def _filter(canvas, kernel, edge, clips, x, y, mask, SIZE: tl.constexpr):
    """The correlation with ``kernel``, clipped to the range where sharpened."""
    reach = edge // 2
    r = x.to(tl.float32) * 0
    g, b = r, r
    j = 0
    while j < edge:
        line = _reflect(y + j - reach, SIZE) * SIZE
        i = 0
        while i < edge:
            weight = tl.load(kernel + j * edge + i)
            pixel = canvas + line + _reflect(x + i - reach, SIZE)
            r += weight * tl.load(pixel, mask, 0).to(tl.float32)
            g += weight * tl.load(pixel + SIZE * SIZE, mask, 0).to(tl.float32)
            b += weight * tl.load(pixel + 2 * SIZE * SIZE, mask, 0).to(tl.float32)
            i += 1
        j += 1
    if clips:
        r, g, b = _clip(r), _clip(g), _clip(b)
    return r, g, b


@triton.jit
def _write(r, g, b, moments, output, k, mask, SIZE: tl.constexpr, PLANAR: tl.constexpr):
    """Normalize and write, rounded as by DALI."""
    r = (r - tl.load(moments)) * tl.load(moments + 3)
    g = (g - tl.load(moments + 1)) * tl.load(moments + 4)
    b = (b - tl.load(moments + 2)) * tl.load(moments + 5)
    kind = output.dtype.element_ty
    if PLANAR:
        tl.store(output + k, r.to(kind), mask)
        tl.store(output + SIZE * SIZE + k, g.to(kind), mask)
        tl.store(output + 2 * SIZE * SIZE + k, b.to(kind), mask)
    else:
        tl.store(output + 3 * k, r.to(kind), mask)
        tl.store(output + 3 * k + 1, g.to(kind), mask)
        tl.store(output + 3 * k + 2, b.to(kind), mask)
