"""Parameters that no applier could follow are refused; odd ones that are sound are followed."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastleuk.augment import NONE, PAPER, augment_batch, draw, identity, matrices, param_arrays
from fastleuk.augment.params import corners
from fastleuk.errors import ConfigError
from tests.makers.augment_images import COMPILED

FIELDS = [f.name for f in dataclasses.fields(identity(1, 2)) if f.name not in
          ("size", "interpolation", "kernel_size")]  # fmt: skip
WHOLE = ["jitter_order", "crop", "translate", "endpoints"]


def changed(name, value):
    array = np.array(getattr(identity(2, 8), name), np.float64)
    array[1].reshape(-1)[-1:] = value
    if array[1].ndim == 0:
        array[1] = value
    return {name: array}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300, -1e300])
@pytest.mark.parametrize("name", FIELDS)
def test_every_field_refuses_what_is_no_number_of_use(name, value):
    with pytest.raises(ConfigError, match=rf"{name}\[1.*must be .*got"):
        dataclasses.replace(identity(2, 8), **changed(name, value))


@pytest.mark.parametrize("name", [*WHOLE, "hflip", "vflip"])
def test_where_pixels_are_counted_fractions_are_refused(name):
    with pytest.raises(ConfigError, match=rf"{name}\[1.*got 0.5"):
        dataclasses.replace(identity(2, 8), **changed(name, 0.5))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"size": 0}, "size must be"),
        ({"size": 8.0}, "size must be a whole number"),
        ({"kernel_size": 4}, "kernel_size must be odd"),
        ({"kernel_size": 33}, "kernel_size must be .* 1 to 31"),
        ({"kernel_size": True}, "kernel_size"),
        ({"interpolation": "bicubic"}, "bilinear or nearest, got 'bicubic'"),
        ({"angle": ["a", "b"]}, "angle must hold numbers"),
        ({"scale": [1.0, 1e-300]}, r"scale\[1\] must be greater than 0"),
    ],
)
def test_options_are_checked(change, says):
    with pytest.raises(ConfigError, match=says):
        dataclasses.replace(identity(2, 8), **change)


@pytest.mark.parametrize("moments", [
    {"mean": (math.nan, 0, 0)}, {"std": (1, math.nan, 1)}, {"std": (1, math.inf, 1)},
    {"std": (1, 0, 1)}, {"mean": (0, 0)}, {"mean": ("a", 0, 0)}, {"mean": None},
])  # fmt: skip
@pytest.mark.parametrize("applier", ["reference", "exact"])
def test_means_and_deviations_are_checked(moments, applier):
    images = np.zeros((1, 8, 8, 3), np.uint8)
    with pytest.raises(ConfigError, match=f"{next(iter(moments))} must be 3 finite numbers"):
        augment_batch(images, identity(1, 8), applier=applier, **moments)


@pytest.mark.parametrize("applier", ["exact", "fused", "compiled"])
def test_a_draw_of_nothing_has_arrays_of_no_rows(applier):
    arrays = param_arrays(draw(PAPER, seed=1, epoch=0, indices=[], size=32), applier)
    assert all(len(array) == 0 for array in arrays)


@settings(max_examples=15, deadline=None)
@given(size=st.integers(1, 40), seed=st.integers(0, 10_000))
@example(size=7, seed=392)
def test_any_perspective_can_be_drawn_and_is_torchvisions_where_there_is_but_one(size, seed):
    """Size 7, seed 392 has a quadrangle whose horizon goes through the first pixel."""
    from torchvision.transforms.functional import _get_perspective_coeffs

    policy = NONE.replace(p_perspective=1.0, distortion_scale=1.0)
    params = draw(policy, seed=seed, epoch=0, indices=np.arange(8), size=size)
    found = matrices.perspective_matrix(params.endpoints, size)
    assert (np.abs(found) < 1e8).all()
    for ends, matrix in zip(params.endpoints, found, strict=True):
        start = corners(size)
        if not _solvable(ends, start):
            continue
        wanted = _get_perspective_coeffs(start.astype(int).tolist(), ends.tolist())
        assert matrix.reshape(9)[:8] == pytest.approx(wanted, rel=1e-4, abs=1e-4)


def _solvable(ends, start):
    """Whether one homography with a last number of 1 takes ``ends`` to ``start``.

    None does where corners meet or lie on one line, or where the pixel (0, 0) goes to infinity:
    torchvision's numbers are rounding errors there.
    """
    rows = []
    for (x, y), (u, v) in zip(ends, start, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    return np.linalg.cond(np.array(rows, float)) < 1e6


@pytest.mark.parametrize("applier", ["exact", "fused", COMPILED])
def test_perspectives_without_a_solution_spoil_no_batch(applier):
    """Size 5: in every batch some corners meet or lie on one line."""
    policy = NONE.replace(p_perspective=1.0, distortion_scale=1.0)
    params = draw(policy, seed=1, epoch=0, indices=np.arange(64), size=5)
    images = [np.full((5, 5, 3), 200, np.uint8)] * 64
    found = augment_batch(images, params, applier=applier, normalize=False)
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 201
