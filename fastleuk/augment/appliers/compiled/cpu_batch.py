"""Images and batches for the CPU's kernel (:mod:`.cpu`): arrays, addresses, files' bytes."""

from __future__ import annotations

import numpy as np
from numba import carray, types
from numba.extending import intrinsic

from fastleuk.augment.appliers.compiled import cpu, cpu_source, numba_cache
from fastleuk.augment.appliers.compiled.cpu import filter_and_write, mean_grey, warp_and_jitter
from fastleuk.augment.appliers.compiled.cpu_source import bmp_layout, source_of_bmp, source_of_image
from fastleuk.augment.appliers.compiled.numba_cache import announce_compiling, compiler, identity_of

IDENTITY = identity_of(numba_cache, callees=(cpu, cpu_source))
compiled = compiler(IDENTITY)
announce_compiling(__name__)

f4, i4, u1 = np.float32, np.int32, np.uint8


@intrinsic
def _pointer(_typing, _address, dtype=None):
    """Take an int64 for the address of a value of ``dtype``."""
    pointer = types.CPointer(dtype.dtype)

    def generate(context, builder, _signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(pointer))

    return pointer(types.int64, dtype), generate


@compiled
def augment_batch(outputs, planar, table, rows, factor, offset, first, step):
    """Augment every ``step``-th image of a batch from ``first`` on, all without Python's lock.

    Args:
        outputs: ``(N, size, size, 3)`` or, if ``planar``, ``(N, 3, size, size)`` float32; written.
        planar: Which of the two.
        table: ``(N, 5)`` int64: the address of an image's bytes, its height and its width, as in
            :func:`augment_image`; or of a file's, 0 and its length, as in :func:`augment_bmp`.
            Then the address and the edge of the kernel.
        rows: ``(N, ROW)`` float32.
        factor: See :func:`augment_image`.
        offset: Likewise.
        first: The first image's number.
        step: How many take part in this batch.
    """
    for i in range(first, len(outputs), step):
        address, height, width, weights, edge = table[i]
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
        row: ``(ROW,)`` float32, see :mod:`fastleuk.augment.appliers.row`.
        kernel: ``(k, k)`` float32: blur and sharpness.
        factor: ``(3,)`` float32, by which the levels of each channel are multiplied at last.
        offset: ``(3,)`` float32, which is added then.
    """
    source = source_of_image(image, output.shape[1])
    _augment(output, planar, source, False, row, kernel, factor, offset)


@compiled
def augment_bmp(output, planar, data, row, kernel, factor, offset):
    """As :func:`augment_image`, from the bytes of an uncompressed 24-bit BMP.

    A file that is anything else, or too short, leaves NaN in the output.
    """
    layout = bmp_layout(data)
    if layout[1] == 0:
        output[:] = np.nan
        return
    source = source_of_bmp(data, layout, output.shape[1])
    _augment(output, planar, source, True, row, kernel, factor, offset)


@compiled
def _augment(output, planar, source, bgr, row, kernel, factor, offset):
    """The three parts of the kernel, for one image."""
    size, reach = output.shape[1], kernel.shape[0] // 2
    work = np.empty((3, size), f4), np.empty(size, i4), np.empty((4, size), f4)
    canvas = np.empty((3, size + 2 * reach, size + 2 * reach), f4)
    pivot = mean_grey(source, bgr, row, size, work)
    warp_and_jitter(source, bgr, row, pivot, canvas, size, work)
    filter_and_write(canvas, row, kernel, factor, offset, output, planar, size, work)
