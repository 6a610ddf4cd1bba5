"""Red, green and blue of a pixel as one vector: the innermost steps of what the CPU is to run.

The three values of a pixel lie side by side. Read one by one, each costs a load and a conversion of
its own, and that is most of what an image costs. numba has no vectors, so what is wanted is said to
LLVM: four values at once, of which the fourth, the neighbour's first, is left unused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastleuk.augment.appliers.compiled import numba_cache
from fastleuk.augment.appliers.compiled.numba_cache import announce_compiling, compiler, identity_of

IDENTITY = identity_of(numba_cache)
compiled = compiler(IDENTITY)
announce_compiling(__name__)

CHANNELS, LANES = 3, 4
SPARE = LANES - CHANNELS
"""Values behind the last pixel that are read, and not used."""

UNROLLED = range(2, 8)
"""Numbers of neighbors that :func:`weighted_sum` adds without a loop: twice as fast. Images of up
to three times the output's size have no more."""

emitted: Any = intrinsic  # whose types would have a caller pass numba's own first argument

_FLAGS = ("nsz", "contract", "reassoc")
_INT, _VECTOR = ir.IntType(32), ir.VectorType(ir.FloatType(), LANES)


@compiled
def empty_grid(height, width, dtype):
    """``(height, 3 * width)`` of ``dtype``, not set: pixels that :func:`bilinear` may read."""
    values = np.empty(height * 3 * width + SPARE, dtype)
    return values[: height * 3 * width].reshape(height, 3 * width)


@compiled
def fill(target, value):
    """Set all of a row; a slice would bring code for errors along, and time to compile it."""
    for k in range(len(target)):
        target[k] = value


@compiled
def copy(values, target):
    """Copy a row into another; see :func:`fill`."""
    for k in range(len(target)):
        target[k] = values[k]


@emitted
def bilinear(_typing, values, upper, lower, weight_x, weight_y, factor):  # noqa: ARG001
    """Three channels from four neighbours, times ``factor``.

    Args:
        values: Flat, of a grid of :func:`empty_grid`; uint8 or float32.
        upper: int32: index of the upper left neighbour's first value; nothing checks it.
        lower: Likewise, of the lower left one's.
        weight_x: float32: of the right neighbours.
        weight_y: float32: of the lower neighbours.
        factor: float32.

    Returns:
        Three float32.
    """
    signature = types.UniTuple(types.float32, CHANNELS)(
        values, types.int32, types.int32, types.float32, types.float32, types.float32
    )

    def generate(context, builder, signature, arguments):
        values, upper, lower, *weights = arguments
        array = signature.args[0]
        data = context.make_array(array)(context, builder, values).data
        across, down, factor = (_spread(builder, weight) for weight in weights)

        def pair(at):
            one, other = (_load(context, builder, array, data, at, k) for k in (0, CHANNELS))
            return _between(builder, one, other, across)

        result = _between(builder, pair(upper), pair(lower), down)
        result = builder.fmul(factor, result, flags=_FLAGS)
        return _channels(context, builder, signature, result)

    return signature, generate


@emitted
def weighted_sum(_typing, values, first, weights, row):  # noqa: ARG001
    """Three channels from neighbours in a row: added one by one, nothing fused, nothing reordered.

    Args:
        values: Flat float32: pixels, and :data:`SPARE` more values behind the last.
        first: int32: index of the first neighbour's first value; nothing checks it.
        weights: float32 ``(N, K)``, one behind the other.
        row: int64: which of the N; nothing checks it.

    Returns:
        Three float32.
    """
    signature = types.UniTuple(types.float32, CHANNELS)(values, types.int32, weights, types.int64)

    def generate(context, builder, signature, arguments):
        values, first, weights, row = arguments
        array = signature.args[0]
        data = context.make_array(array)(context, builder, values).data
        given = context.make_array(signature.args[2])(context, builder, weights)
        count = builder.extract_value(given.shape, 1)
        own = builder.gep(given.data, [builder.mul(row, count)])
        zero = _VECTOR([0.0] * LANES)
        total = cgutils.alloca_once_value(builder, zero)

        def add(so_far, index, at):
            weight = _spread(builder, builder.load(builder.gep(own, [index])))
            pixel = _load(context, builder, array, data, at, 0)
            return builder.fadd(so_far, builder.fmul(weight, pixel))

        any_count, end = builder.append_basic_block(), builder.append_basic_block()
        switch = builder.switch(count, any_count)
        for known in UNROLLED:
            block = builder.append_basic_block()
            switch.add_case(ir.Constant(count.type, known), block)
            builder.position_at_end(block)
            so_far = zero
            for k in range(known):
                at = builder.add(first, _INT(CHANNELS * k))
                so_far = add(so_far, ir.Constant(count.type, k), at)
            builder.store(so_far, total)
            builder.branch(end)
        builder.position_at_end(any_count)
        with cgutils.for_range(builder, count) as loop:
            at = builder.add(first, builder.mul(builder.trunc(loop.index, _INT), _INT(CHANNELS)))
            builder.store(add(builder.load(total), loop.index, at), total)
        builder.branch(end)
        builder.position_at_end(end)
        return _channels(context, builder, signature, builder.load(total))

    return signature, generate


def _channels(context, builder, signature, vector):
    """The three lanes that count, as a tuple."""
    channels = [builder.extract_element(vector, _INT(k)) for k in range(CHANNELS)]
    return context.make_tuple(builder, signature.return_type, channels)


def _spread(builder, value):
    """The same value in all lanes."""
    vector = builder.insert_element(_VECTOR(ir.Undefined), value, _INT(0))
    same = ir.VectorType(_INT, LANES)([0] * LANES)
    return builder.shuffle_vector(vector, _VECTOR(ir.Undefined), same)


def _load(context, builder, array, data, at, further):
    """``LANES`` values from ``data[at + further]`` on, as float."""
    dtype = array.dtype
    first = builder.gep(data, [builder.sext(builder.add(at, _INT(further)), ir.IntType(64))])
    several = ir.VectorType(context.get_data_type(dtype), LANES)
    pointer = builder.bitcast(first, several.as_pointer())
    vector = builder.load(pointer, align=dtype.bitwidth // 8)
    return builder.uitofp(vector, _VECTOR) if isinstance(dtype, types.Integer) else vector


def _between(builder, one, other, weight):
    difference = builder.fsub(other, one, flags=_FLAGS)
    return builder.fadd(one, builder.fmul(weight, difference, flags=_FLAGS), flags=_FLAGS)
