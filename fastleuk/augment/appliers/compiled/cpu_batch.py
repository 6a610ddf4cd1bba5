"""Batches for the CPU's kernel (:mod:`.cpu`): images by their addresses."""

from __future__ import annotations

import numpy as np
from numba import carray, types
from numba.extending import intrinsic

from fastleuk.augment.appliers.compiled import cpu, numba_cache
from fastleuk.augment.appliers.compiled.cpu import (
    filter_and_write,
    framed_grid,
    mean_grey,
    warp_and_jitter,
)
from fastleuk.augment.appliers.compiled.numba_cache import announce_compiling, compiler, identity_of

IDENTITY = identity_of(numba_cache, callees=(cpu,))
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
def augment_batch(outputs, planar, table, rows, mean, factor, first, step):
    """Augment every ``step``-th image of a batch from ``first`` on, all without Python's lock.

    Args:
        outputs: ``(N, size, size, 3)`` or, if ``planar``, ``(N, 3, size, size)`` float32; written.
        planar: Which of the two.
        table: ``(N, 3)`` int64: the address of an image's ``(size, size, 3)`` uint8; the address
            and the edge of a ``(k, k)`` float32 kernel: blur and sharpness.
        rows: ``(N, ROW)`` float32, see :mod:`fastleuk.augment.appliers.row`.
        mean: ``(3,)`` float32, subtracted from the levels of each channel at last.
        factor: ``(3,)`` float32, by which the result is multiplied.
        first: The first image's number.
        step: How many take part in this batch.
    """
    size = outputs.shape[2]
    work = np.empty((3, size), f4), np.empty(size, i4), np.empty((4, size), f4)
    for i in range(first, len(outputs), step):
        address, weights, edge = table[i]
        image = carray(_pointer(address, u1), (size, size, 3))
        kernel = carray(_pointer(weights, f4), (edge, edge))
        reach = edge // 2
        canvas = np.empty((3, size + 2 * reach, size + 2 * reach), f4)
        row = rows[i]
        grid = framed_grid(image, size)
        pivot = mean_grey(grid, row, size, work)
        warp_and_jitter(grid, row, pivot, canvas, size, work)
        filter_and_write(canvas, row, kernel, mean, factor, outputs[i], planar, size, work)
