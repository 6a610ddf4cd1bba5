"""Where the cell is, in cut-out cells, stained smears and grey images."""

import numpy as np
import pytest

from fastleuk.data.images.cell import BRIGHTNESS, CUT_OUT, STAIN, find_cell

Y, X = np.mgrid[:96, :96]


def _disc(row, column, radius):
    return (Y - row) ** 2 + (X - column) ** 2 <= radius**2


def _noisy(image, sd=4):
    noise = np.random.default_rng(0).normal(0, sd, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def _overlap(a, b):
    return (a & b).sum() / (a | b).sum()


def test_a_cell_on_black_is_what_is_not_black():
    truth = _disc(50, 44, 20)
    image = np.zeros((96, 96, 3))
    image[truth] = (120, 60, 140)
    image[_disc(50, 44, 5)] = 0  # a hole belongs to it
    found = find_cell(image.astype(np.uint8))
    assert found.how == CUT_OUT
    assert _overlap(found.mask, truth) > 0.97
    assert found.area == pytest.approx(truth.mean(), abs=0.005)


def test_in_a_smear_red_cells_that_touch_the_white_one_are_left_out():
    image = np.full((96, 96, 3), (250, 225, 205), dtype=float)
    for row, column in ((10, 20), (48, 14), (80, 70), (44, 80)):
        image[_disc(row, column, 13)] = (205, 160, 165)
    truth = _disc(46, 47, 21)
    image[truth] = (165, 130, 190)
    image[_disc(48, 45, 12)] = (90, 45, 130)
    found = find_cell(_noisy(image))
    assert found.how == STAIN
    assert _overlap(found.mask, truth) > 0.9


@pytest.mark.parametrize("inside", [40, 220])
def test_in_a_grey_image_it_is_what_differs_from_the_border(inside):
    truth = _disc(48, 52, 18)
    image = np.full((96, 96, 3), 128.0)
    image[truth] = inside
    found = find_cell(_noisy(image))
    assert found.how == BRIGHTNESS
    assert _overlap(found.mask, truth) > 0.9


def test_of_several_regions_the_middle_one_is_taken():
    image = np.zeros((96, 96, 3), dtype=np.uint8)
    image[_disc(48, 48, 12)] = 150
    image[_disc(16, 16, 14)] = 150  # a larger one in the corner
    assert _overlap(find_cell(image).mask, _disc(48, 48, 12)) > 0.9


@pytest.mark.parametrize("level", [0, 255])
def test_an_empty_image_has_no_cell(level):
    assert find_cell(np.full((32, 32, 3), level, dtype=np.uint8)) is None


def test_a_speck_is_no_cell():
    image = np.zeros((96, 96, 3), dtype=np.uint8)
    image[47:50, 47:50] = 200
    assert find_cell(image) is None
