"""How far other data lie from what a run was trained on."""

import dataclasses

import numpy as np
import pytest

from fastleuk.evaluation.baselines.measure import Measured
from fastleuk.evaluation.elsewhere.shift import format_shift, shift

NAMES = ("hem", "ALL")


def _measured(count, *, seed=0, **change):
    rng = np.random.default_rng(seed)
    area = rng.normal(2000, 200, count)
    plain = Measured(
        np.zeros((count, 7)), area, rng.normal((120, 60, 140), 8, (count, 3)),
        rng.uniform(0, 3, count), area / 10_000,
    )  # fmt: skip
    return dataclasses.replace(plain, **change)


def _shift(asked, *, trained=None):
    trained = trained or _measured(400)
    labels = np.arange(len(asked.area)) % 2
    return shift(trained, np.arange(len(trained.area)) % 2, asked, labels, NAMES)


def test_numbers_are_medians_percentiles_and_the_share_outside():
    trained, asked = _measured(400), _measured(90, seed=1)
    found = _shift(asked, trained=trained)["features"]["area"]
    low, high = np.percentile(trained.area, (1, 99))
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    assert found["median"] == pytest.approx(np.median(asked.area))
    assert found["training_median"] == pytest.approx(np.median(trained.area))
    assert found["outside"] == np.mean((asked.area < low) | (asked.area > high))


@pytest.mark.parametrize("trained", [20, 60, 400])
def test_data_of_one_kind_rarely_differ_however_few_were_trained_on(trained):
    told = [_shift(_measured(60, seed=n), trained=_measured(trained, seed=100 + n))
            for n in range(1, 31)]  # fmt: skip
    same = [not any(each["differs"] for each in one["features"].values()) for one in told]
    assert np.mean(same) > 0.85
    assert "lie where the training images' do" in format_shift(told[same.index(True)])


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("area", lambda m: {"area": m.area * 1.6}, "the cells are larger in pixels"),
        ("share", lambda m: {"share": m.share / 1.6}, "the cells fill less of the image"),
        ("red", lambda m: {"cell": m.cell + np.array([40, 0, 0])}, "the foreground has more red"),
        ("blue", lambda m: {"cell": m.cell - np.array([0, 0, 40])}, "the foreground has less blue"),
        ("background", lambda m: {"background": m.background + 200}, "background is brighter"),
    ],
)
def test_each_kind_of_difference_is_said_in_words(name, change, says):
    asked = _measured(90, seed=1)
    told = _shift(dataclasses.replace(asked, **change(asked)))
    assert [n for n, each in told["features"].items() if each["differs"]] == [name]
    (text,) = [line for line in told["sentences"] if line.startswith("Unlike training")]
    assert says in text
    assert text in format_shift(told)


def test_some_images_far_off_make_a_difference_though_the_median_does_not():
    asked = _measured(90, seed=1)
    area = asked.area.copy()
    area[:20] *= 3
    found = _shift(dataclasses.replace(asked, area=area))["features"]["area"]
    assert found["differs"]
    assert found["low"] < found["median"] < found["high"]


def test_a_level_more_is_none():
    black = _measured(400, background=np.zeros(400))
    told = _shift(_measured(90, background=np.full(90, 0.8)), trained=black)
    assert not told["features"]["background"]["differs"]


def test_missing_classes_and_cells_that_were_not_found():
    asked = _measured(90, area=np.where(np.arange(90) < 60, np.nan, 2000.0))
    told = shift(_measured(400), np.arange(400) % 2, asked, np.ones(90, int), NAMES)
    assert told["classes"]["hem"] == {"share": 0.0, "training_share": 0.5, "missing": True}
    assert "none" in told["features"]["area"]
    text = format_shift(told)
    assert "Not compared: a cell could be told from the rest in 30 of 90 these images only" in text
    assert "Classes: hem 0% (training 50%), ALL 100% (training 50%)." in text
