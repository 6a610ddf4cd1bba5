"""Size alone and colours alone: what they measure, what they score, and beside what."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fastleuk.errors import DataError
from fastleuk.evaluation.baselines import measure as measuring
from fastleuk.evaluation.baselines.classifiers import size_alone
from fastleuk.evaluation.baselines.comparison import (
    compare_with_baselines,
    format_comparison,
    verdict,
)
from fastleuk.evaluation.baselines.measure import Measured, measure
from fastleuk.evaluation.evaluate import evaluate_run

NAMES = ("large", "small")


@pytest.fixture(scope="module")
def measured(dataset, tmp_path_factory):
    return measure(dataset, workers=2, store=tmp_path_factory.mktemp("store"))


def test_a_cells_area_and_colour_are_measured(dataset, measured):
    """Discs on black, of 0.36 and 0.2 of 72 pixels as radius, give or take 15 %."""
    labels = dataset.manifest.labels
    for code, radius, colour in ((0, 0.36 * 72, (150, 40, 70)), (1, 0.2 * 72, (50, 50, 150))):
        area = measured.area[labels == code]
        assert np.median(area) == pytest.approx(np.pi * radius**2, rel=0.12)
        assert (area > 0.65 * np.pi * radius**2).all()
        assert np.abs(measured.cell[labels == code].mean(axis=0) - colour).max() < 14
    assert (measured.background < 3).all()
    np.testing.assert_allclose(
        measured.colours[:, 6], measured.area / 72**2, atol=0.03
    )  # what isn't black


def test_what_was_measured_is_not_read_again(dataset, measured, tmp_path, monkeypatch):
    first = measure(dataset, workers=1, store=tmp_path)
    np.testing.assert_array_equal(first.area, measured.area)

    def refuse(*_args):
        raise DataError("read again")

    monkeypatch.setattr(measuring, "decoder", lambda *_: refuse)
    np.testing.assert_array_equal(
        measure(dataset, workers=1, store=tmp_path).colours, first.colours
    )
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"damaged")
    with pytest.raises(DataError, match="read again"):
        measure(dataset, workers=1, store=tmp_path)


def test_size_alone_knows_two_sizes_and_the_middle_one_of_three():
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    area = np.exp(np.array([5.0, 6.0, 7.0])[labels] + rng.normal(0, 0.25, 300))
    chances = size_alone(area[:150], labels[:150], area[150:], 3)
    assert (chances.argmax(axis=1) == labels[150:]).mean() > 0.9
    assert chances.sum(axis=1) == pytest.approx(1)
    area[150:160] = np.nan
    assert np.isfinite(size_alone(area[:150], labels[:150], area[150:], 3)).all()


@pytest.mark.parametrize(
    ("known", "asked", "says"),
    [
        ([np.nan, np.nan, np.nan, 9], [5, 5], "in 1 of 4 training images only"),
        ([5, 6, 7, 8], [np.nan, np.nan], "in 0 of 2 evaluated images only"),
        ([5, np.nan, 7, np.nan], [5, 6], "of one class only"),
    ],
)
def test_without_cells_there_is_no_size(known, asked, says):
    told = size_alone(np.array(known, float), np.array([0, 1, 0, 1]), np.array(asked, float), 2)
    assert says in told


def _with_baselines(network, *, positive="large", seed=0):
    """Sixty known and sixty asked images of 12 subjects each; size parts the classes mostly."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(12) % 2, 5)
    subjects = np.repeat(np.arange(12), 5)

    def images():
        area = np.exp(5 + 0.5 * labels + rng.normal(0, 0.5, 60))
        return Measured(rng.normal(size=(60, 7)), area, np.zeros((60, 3)), np.zeros(60), area)

    asked = images()
    scores = {"perfect": np.clip(labels * 1.0, 0.02, 0.98), "chance": rng.uniform(0.1, 0.9, 60)}
    second = scores[network]
    told = compare_with_baselines(
        images(), labels, asked, labels, np.stack([1 - second, second], 1), subjects, NAMES,
        positive,
    )  # fmt: skip
    return told, labels, second


@pytest.mark.parametrize(("network", "beaten"), [("perfect", True), ("chance", False)])
def test_a_network_beats_size_or_that_is_not_shown(network, beaten):
    told, labels, second = _with_baselines(network)
    size = told["size"]
    auc = size["intervals"]["figures"]["auc"]["estimate"]
    assert 0.6 < auc < 0.9
    own = roc_auc_score(labels, second)
    assert size["difference"]["auc"]["estimate"] == pytest.approx(own - auc)
    assert size["difference"]["auc"]["low"] < own - auc < size["difference"]["auc"]["high"]
    assert size["beaten"] is beaten
    assert ("is not shown" in verdict(size)) is not beaten
    text = format_comparison(told)
    for name in ("size alone (logistic regression)", "colours alone (random forest)"):
        assert name in text
    assert f"{auc:.4f}" in text


def test_a_result_has_them_beside_it_and_training_images_have_none(copy):
    said = []
    figures = evaluate_run(copy, positive="large", report=said.append)
    for name in ("size", "colours"):
        assert figures["baselines"][name]["intervals"]["clusters"] == 4
        assert figures["baselines"][name]["intervals"]["figures"]["auc"]["estimate"] == 1
    assert any("size alone" in text and "is not shown" in text for text in said)
    assert "baselines" in evaluate_run(copy, part="val", report=said.append)
    assert "baselines" not in evaluate_run(copy, part="train", report=said.append)
