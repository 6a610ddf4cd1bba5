"""The CPU kernel's interpolation of three channels at once, against NumPy's own."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")
from numba import njit

from fastleuk.augment.appliers.compiled.cpu_lanes import bilinear, empty_grid

HEIGHT, WIDTH = 5, 4


@njit
def interpolated(grid, i, j, weight_x, weight_y, factor):
    first = np.int32(j * grid.shape[1] + 3 * i)
    below = np.int32(first + grid.shape[1])
    return bilinear(grid.reshape(-1), first, below, weight_x, weight_y, factor)


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.float32, 255)])
def test_every_pixel_the_last_included(dtype: type, top: int) -> None:
    rng = np.random.default_rng(0)
    grid = empty_grid(HEIGHT, WIDTH, dtype)
    grid[:] = rng.integers(0, top + 1, grid.shape)
    pixels = grid.reshape(HEIGHT, WIDTH, 3).astype(np.float64)
    for j in range(HEIGHT - 1):
        for i in range(WIDTH - 1):
            x, y, factor = rng.random(3).astype(np.float32)
            rows = pixels[j : j + 2, i] * (1 - x) + pixels[j : j + 2, i + 1] * x
            expected = factor * (rows[0] * (1 - y) + rows[1] * y)
            found = interpolated(grid, i, j, x, y, factor)
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_the_largest_levels_do_not_lose_their_sign() -> None:
    grid = empty_grid(2, 2, np.uint8)
    grid[:] = 255
    half = np.float32(0.5)
    assert interpolated(grid, 0, 0, half, half, np.float32(1)) == (255, 255, 255)
