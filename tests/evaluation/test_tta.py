"""Test-time augmentation: the views, and what becomes of their probabilities."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from fastleuk.errors import ConfigError
from fastleuk.evaluation import tta
from fastleuk.evaluation.metrics import calibration_error
from fastleuk.evaluation.predict import predict
from fastleuk.evaluation.tta import VIEWS, Views, rotate
from tests.makers.evaluation_tensors import BLACK, CPU, MEAN, STD, Batches, random_images


def _views(name, images):
    return list(Views(name, MEAN, STD)(images))


# Views


def _bytes(view):
    return view.numpy().tobytes()


@pytest.mark.parametrize("name", VIEWS)
def test_views_are_distinct_as_many_as_said_and_begin_with_the_image(name):
    images = random_images()
    views = _views(name, images)
    assert len(views) == VIEWS[name] == len(Views(name))
    assert torch.equal(views[0], images)
    assert len({_bytes(view.contiguous()) for view in views}) == len(views)


@pytest.mark.parametrize("name", ["flips", "d4"])
def test_flips_and_d4_are_groups(name):
    """A view of a view is a view, and every view only moves pixels."""
    images = random_images(1)
    views = _views(name, images)
    members = {_bytes(view.contiguous()) for view in views}
    for view in views:
        assert {_bytes(again.contiguous()) for again in _views(name, view)} == members
        assert torch.equal(view.flatten().sort().values, images.flatten().sort().values)


def test_flips_are_those_of_the_image_and_d4_has_the_quarter_turns():
    images = random_images(2)
    arrays = images.numpy()
    flips = {_bytes(view.contiguous()) for view in _views("flips", images)}
    assert flips == {
        np.ascontiguousarray(a).tobytes()
        for a in (arrays, arrays[..., ::-1], arrays[..., ::-1, :], arrays[..., ::-1, ::-1])
    }
    d4 = {_bytes(view.contiguous()) for view in _views("d4", images)}
    for turns in range(4):
        turned = np.rot90(arrays, turns, axes=(2, 3))
        for array in (turned, turned[..., ::-1]):
            assert np.ascontiguousarray(array).tobytes() in d4


def test_quarter_turns_are_exact_and_the_resampled_ones_turn_the_same_way():
    images = random_images()
    views = _views("8rot", images)
    for quarter in range(4):
        turned = torch.rot90(images, quarter, (2, 3))
        assert torch.equal(views[2 * quarter], turned)
        # The general rotation, at angles where the answer is known.
        resampled = tta._resample(images, 90 * quarter, BLACK)
        assert torch.allclose(resampled, turned, atol=1e-4), (resampled - turned).abs().max()


def test_45_degrees_bilinear_against_a_rotation_written_out():
    side = 9
    images = random_images(1, side)
    view = _views("8rot", images)[1][0].numpy()
    source = images[0].numpy()
    middle = (side - 1) / 2
    angle = math.radians(45)
    outside = 0
    for row in range(side):
        for column in range(side):
            # Counter-clockwise with y down: where did this pixel come from?
            right, down = column - middle, row - middle
            x = middle + math.cos(angle) * right - math.sin(angle) * down
            y = middle + math.sin(angle) * right + math.cos(angle) * down
            expected = np.zeros(3)
            for corner_y in (math.floor(y), math.floor(y) + 1):
                for corner_x in (math.floor(x), math.floor(x) + 1):
                    weight = (1 - abs(y - corner_y)) * (1 - abs(x - corner_x))
                    within = 0 <= corner_y < side and 0 <= corner_x < side
                    value = source[:, corner_y, corner_x] if within else np.array(BLACK)
                    expected += weight * value
            assert view[:, row, column] == pytest.approx(expected, abs=1e-4)
            outside += bool(x < -1 or y < -1 or x > side or y > side)
    assert outside >= 4
    assert view[:, 0, 0] == pytest.approx(BLACK, abs=1e-5)


def test_a_black_image_stays_black_at_every_angle():
    black = torch.tensor(BLACK).reshape(1, 3, 1, 1).expand(2, 3, 17, 17)
    for view in _views("8rot", black):
        assert torch.allclose(view, black, atol=1e-6)
    for degrees in (45, 135):
        assert torch.allclose(rotate(black, degrees, fill=BLACK), black, atol=1e-6)


def test_unknown_views_and_oblong_images_are_refused():
    with pytest.raises(ConfigError, match=r"none, flips, d4, 8rot\. Did you mean d4"):
        Views("d44")
    oblong = torch.zeros(1, 3, 8, 9)
    for name in ("d4", "8rot"):
        with pytest.raises(ConfigError, match=r"square images, found \(8, 9\)"):
            _views(name, oblong)
    assert len(_views("flips", oblong)) == 4


# Predictions


class _Sums(nn.Module):
    """Logits from powers of the pixels, so that moving pixels changes nothing."""

    def forward(self, images):
        flat = images.double().flatten(1)
        return torch.stack([flat.sum(1), flat.square().sum(1) / 30], dim=1).float()


class _Corner(nn.Module):
    """Logits from the upper left pixel: every flip and turn gives others."""

    def forward(self, images):
        return images[:, :2, 0, 0]


@pytest.mark.parametrize("name", ["flips", "d4"])
def test_an_invariant_model_predicts_as_without_views(name):
    loader = Batches(random_images(13), 4)
    plain = predict(_Sums(), loader, CPU)
    viewed = predict(_Sums(), loader, CPU, views=Views(name, MEAN, STD))
    assert np.array_equal(viewed.indices, np.arange(13))
    assert np.array_equal(viewed.labels, plain.labels)
    assert viewed.probabilities == pytest.approx(plain.probabilities, abs=1e-6)
    assert viewed.loss == pytest.approx(plain.loss, abs=1e-5)


def test_one_view_is_the_plain_prediction_bit_for_bit():
    loader = Batches(random_images(13), 4)
    plain = predict(_Corner(), loader, CPU)
    viewed = predict(_Corner(), loader, CPU, views=Views("none", MEAN, STD))
    assert viewed.logits.dtype == plain.logits.dtype == np.float32
    assert viewed.logits.tobytes() == plain.logits.tobytes()


@pytest.mark.parametrize("name", ["flips", "d4", "8rot"])
def test_probabilities_are_the_mean_over_the_views_whatever_the_batch_size(name):
    images = random_images(13)
    views = Views(name, MEAN, STD)
    whole = predict(_Corner(), Batches(images, 13), CPU, views=views)
    expected = np.mean(
        [torch.softmax(_Corner()(view).double(), 1).numpy() for view in views(images)], axis=0
    )
    assert whole.probabilities == pytest.approx(expected, abs=1e-12)
    for batch_size in (1, 4):
        parts = predict(_Corner(), Batches(images, batch_size), CPU, views=views)
        assert np.array_equal(parts.indices, whole.indices)
        assert parts.probabilities == pytest.approx(whole.probabilities, abs=1e-6)


def test_hopeless_views_leave_probabilities_finite():
    class Certain(nn.Module):
        def forward(self, images):
            return torch.tensor([[2000.0, -2000.0]]).expand(len(images), 2)

    views = Views("flips", MEAN, STD)
    predictions = predict(Certain(), Batches(random_images(4), 2), CPU, views=views)
    assert np.isfinite(predictions.logits).all()
    assert predictions.probabilities[:, 0] == pytest.approx(1)


def test_calibration_error_of_bins_worked_out_by_hand():
    # Two bins: .9 confident and half right, .6 confident and always right.
    positive = np.array([0.9, 0.9, 0.6, 0.6])
    chances = np.stack([1 - positive, positive], axis=1)
    labels = np.array([1, 0, 1, 1])
    assert calibration_error(labels, chances, bins=15) == pytest.approx((0.4 + 0.4) / 2)
    certain = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert calibration_error(np.array([0, 1]), certain, bins=15) == 0
    assert calibration_error(np.array([1, 0]), certain, bins=15) == 1
