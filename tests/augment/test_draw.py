"""Drawing: reproducible whatever the batch, and distributed as torchvision's ``get_params``."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision import transforms as T

from fastleuk.augment import FLIPS_ROTATIONS, NONE, PAPER, AugmentParams, AugmentPolicy, draw
from fastleuk.augment.params import corners, identity
from fastleuk.errors import ConfigError

N, SIZE = 20_000, 224
ALPHA = 1e-4  # of one test; about thirty are made with fixed seeds
KNOWN_ANGLES = [16.9537575475, 5.3021056785]
KNOWN_CROPS = [[0, 5, 217, 163], [5, 3, 205, 221]]
FIELDS = [f.name for f in dataclasses.fields(AugmentParams)]


@pytest.fixture(scope="module")
def drawn():
    """20,000 draws of the paper's policy with every step but the flips always on."""
    on = {f.name: 1 for f in dataclasses.fields(PAPER) if f.name.startswith("p_")}
    on |= {"p_hflip": 0.5, "p_vflip": 0.5}
    return draw(PAPER.replace(**on), seed=5, epoch=0, indices=np.arange(N), size=SIZE)


def assert_equal(a: AugmentParams, b: AugmentParams) -> None:
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


@settings(max_examples=40, deadline=None)
@given(
    indices=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=20),
    seed=st.integers(0, 2**64 - 1),
    epoch=st.integers(0, 2**32),
    data=st.data(),
)
def test_a_sample_is_drawn_alike_in_any_batch(indices, seed, epoch, data):
    """Batch size, order, shard and point of resumption are all choices of which indices go
    together and in which order."""
    whole = draw(PAPER, seed=seed, epoch=epoch, indices=indices, size=SIZE)
    order = data.draw(st.permutations(range(len(indices))))
    cut = data.draw(st.integers(0, len(indices)))
    for rows in (order[:cut], order[cut:]):
        part = draw(
            PAPER, seed=seed, epoch=epoch, indices=[indices[row] for row in rows], size=SIZE
        )
        assert_equal(part, whole.take(np.array(rows, int)))


def test_streams_differ_by_seed_epoch_and_index():
    def angles(seed, epoch, start):
        indices = np.arange(start, start + 50)
        return draw(PAPER, seed=seed, epoch=epoch, indices=indices, size=SIZE).angle

    first = angles(1, 0, 0)
    for other in (angles(2, 0, 0), angles(1, 1, 0), angles(0, 1, 0), angles(1, 0, 50)):
        assert not np.intersect1d(first, other).size


def test_known_values_stay():
    """A run can be repeated with a later version: these numbers must never change."""
    params = draw(PAPER, seed=7, epoch=3, indices=[0, 2**62], size=SIZE)
    np.testing.assert_allclose(params.angle, KNOWN_ANGLES, atol=1e-9)
    np.testing.assert_array_equal(params.crop, KNOWN_CROPS)


def test_a_step_switched_off_leaves_the_others_as_they_are():
    whole = draw(PAPER, seed=1, epoch=0, indices=np.arange(200), size=SIZE)
    less = draw(
        PAPER.replace(p_crop=0, p_jitter=0), seed=1, epoch=0, indices=np.arange(200), size=SIZE
    )
    neutral = identity(200, SIZE)
    np.testing.assert_array_equal(less.crop, neutral.crop)
    np.testing.assert_array_equal(less.hue, neutral.hue)
    for name in ("hflip", "angle", "sigma", "sharpness", "endpoints", "shear"):
        np.testing.assert_array_equal(getattr(less, name), getattr(whole, name))


def test_masked_rows_are_neutral():
    mask = np.arange(20) % 2 == 0
    params = draw(PAPER, seed=1, epoch=0, indices=np.arange(20), size=SIZE, augmented=mask)
    active = np.any(list(params.active().values()), axis=0)
    np.testing.assert_array_equal(active, mask)
    none = draw(NONE, seed=1, epoch=0, indices=np.arange(20), size=SIZE)
    assert not np.any(list(none.active().values()))


def ks(sample, expected):
    result = stats.ks_2samp(sample, expected)
    assert result.pvalue > ALPHA, result


def chi_square(sample, expected):
    """Two samples of few distinct values come from one distribution."""
    values, inverse = np.unique(np.concatenate([sample, expected]), return_inverse=True)
    table = np.zeros((2, len(values)))
    np.add.at(table[0], inverse[: len(sample)], 1)
    np.add.at(table[1], inverse[len(sample) :], 1)
    common = table.sum(axis=0) >= 20
    table = np.column_stack([table[:, common], table[:, ~common].sum(axis=1)])
    result = stats.chi2_contingency(table[:, table.sum(axis=0) > 0])
    assert result.pvalue > ALPHA, result.pvalue


def theirs(get_params, count=N):
    torch.manual_seed(0)
    return [get_params() for _ in range(count)]


def test_probabilities():
    params = draw(PAPER, seed=9, epoch=0, indices=np.arange(N), size=SIZE)
    for mask, p in (
        (params.hflip, 0.5),
        (params.vflip, 0.5),
        (params.sharpness == 2, 0.3),
        (params.active()["perspective"], 0.3 * (1 - 23.0**-8)),
    ):
        assert stats.binomtest(int(mask.sum()), N, p).pvalue > ALPHA
    assert params.active()["rotate"].mean() > 0.99


def test_rotation(drawn):
    ks(drawn.angle, theirs(lambda: T.RandomRotation.get_params([-25, 25])))


def test_full_rotation():
    params = draw(FLIPS_ROTATIONS, seed=1, epoch=0, indices=np.arange(N), size=SIZE)
    assert stats.kstest(params.angle, stats.uniform(-180, 360).cdf).pvalue > ALPHA


def test_color_jitter(drawn):
    ranges = (PAPER.brightness, PAPER.contrast, PAPER.saturation, PAPER.hue)
    sample = theirs(lambda: T.ColorJitter.get_params(*map(list, ranges)))
    for i, name in enumerate(("brightness", "contrast", "saturation", "hue"), start=1):
        ks(getattr(drawn, name), [s[i] for s in sample])
    weights = np.array([1000, 100, 10, 1])
    chi_square(drawn.jitter_order @ weights, np.array([s[0].numpy() @ weights for s in sample]))


def test_resized_crop(drawn):
    image = torch.empty(3, SIZE, SIZE)
    sample = np.array(
        theirs(
            lambda: T.RandomResizedCrop.get_params(
                image, list(PAPER.crop_scale), list(PAPER.crop_ratio)
            )
        )
    )
    for axis in range(4):
        chi_square(drawn.crop[:, axis], sample[:, axis])
    ks(drawn.crop[:, 2] * drawn.crop[:, 3], sample[:, 2] * sample[:, 3])
    ks(drawn.crop[:, 3] / drawn.crop[:, 2], sample[:, 3] / sample[:, 2])


@pytest.mark.parametrize("ratio", [(1.6, 2.0), (0.4, 0.6), (0.75, 1.33)])
def test_resized_crop_falls_back_to_the_centre(ratio):
    """Areas too large for the ratio: all ten attempts fail often, or always."""
    policy = AugmentPolicy(p_crop=1, crop_scale=(0.9, 1.0), crop_ratio=ratio)
    ours = draw(policy, seed=1, epoch=0, indices=np.arange(2000), size=SIZE).crop
    image = torch.empty(3, SIZE, SIZE)
    sample = np.array(
        theirs(lambda: T.RandomResizedCrop.get_params(image, [0.9, 1.0], list(ratio)), 2000)
    )
    key = np.array([1000**3, 1000**2, 1000, 1])
    if ratio[0] > 1 or ratio[1] < 1:
        np.testing.assert_array_equal(np.unique(ours, axis=0), np.unique(sample, axis=0))
    whole = (ours @ key == SIZE * 1000 + SIZE).mean(), (sample @ key == SIZE * 1000 + SIZE).mean()
    assert abs(whole[0] - whole[1]) < 0.02


def test_affine(drawn):
    args = [0, 0], list(PAPER.translate), list(PAPER.scale), list(PAPER.shear), [SIZE, SIZE]
    sample = theirs(lambda: T.RandomAffine.get_params(*args))
    assert not drawn.affine_angle.any()
    for axis in range(2):  # whole pixels, the two outermost half as often
        chi_square(drawn.translate[:, axis], np.array([s[1][axis] for s in sample]))
    ks(drawn.scale, [s[2] for s in sample])
    ks(drawn.shear[:, 0], [s[3][0] for s in sample])
    assert not drawn.shear[:, 1].any()


def test_affine_with_all_arguments():
    policy = AugmentPolicy(p_affine=1, affine_degrees=(-5, 40), shear=(-3, 4, 5, 6))
    ours = draw(policy, seed=1, epoch=0, indices=np.arange(N), size=SIZE)
    sample = theirs(
        lambda: T.RandomAffine.get_params([-5, 40], None, None, [-3, 4, 5, 6], [SIZE, SIZE])
    )
    ks(ours.affine_angle, [s[0] for s in sample])
    for axis in range(2):
        ks(ours.shear[:, axis], [s[3][axis] for s in sample])


def test_gaussian_blur(drawn):
    ks(drawn.sigma, theirs(lambda: T.GaussianBlur.get_params(0.1, 2.0)))


@pytest.mark.parametrize("size", [224, 225])
def test_perspective(size):
    policy = AugmentPolicy(p_perspective=1, distortion_scale=0.2)
    ours = draw(policy, seed=1, epoch=0, indices=np.arange(N), size=size).endpoints
    sample = np.array(
        [s[1] for s in theirs(lambda: T.RandomPerspective.get_params(size, size, 0.2))]
    )
    for corner in range(4):
        for axis in range(2):
            chi_square(ours[:, corner, axis], sample[:, corner, axis])


def test_parameters_and_samples_are_independent(drawn):
    columns = [
        drawn.hflip,
        drawn.vflip,
        drawn.angle,
        drawn.brightness,
        drawn.contrast,
        drawn.saturation,
        drawn.hue,
        drawn.crop[:, 0],
        drawn.crop[:, 1],
        drawn.crop[:, 2] * drawn.crop[:, 3],
        drawn.crop[:, 3] / drawn.crop[:, 2],
        *drawn.translate.T,
        drawn.scale,
        drawn.shear[:, 0],
        drawn.sigma,
        *drawn.endpoints.reshape(N, 8).T,
        *drawn.jitter_order[:, :3].T,
    ]
    values = np.array(columns, float)
    ranks = stats.rankdata(values, axis=1)
    names = range(len(columns))
    related = {(7, 8), (7, 9), (8, 9), (7, 10), (8, 10)}  # a corner depends on the size of its crop
    related |= {(a, b) for a in names[-3:] for b in names[-3:]}  # a permutation
    between = np.corrcoef(ranks)
    limit = stats.norm.isf(ALPHA / 2 / between.size) / np.sqrt(N)
    for a in names:
        for b in names[:a]:
            if (b, a) not in related:
                assert abs(between[a, b]) < limit, (a, b)
    for row in ranks:  # sample i against i + 1: neighbouring counters
        assert abs(np.corrcoef(row[1:], row[:-1])[0, 1]) < limit


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"epoch": 0.5}, "epoch must be a whole number"),
        ({"indices": [-1]}, "indices"),
        ({"indices": [0.5]}, "whole numbers"),
        ({"indices": [[1]]}, "one row"),
        ({"indices": np.array([2**63], np.uint64)}, "2\\*\\*63"),
        ({"size": 0}, "size"),
        ({"augmented": [True, False]}, "mask of 1"),
    ],
)
def test_bad_arguments(changes, says):
    arguments = {"seed": 1, "epoch": 0, "indices": [0], "size": SIZE}
    with pytest.raises(ConfigError, match=says):
        draw(PAPER, **{**arguments, **changes})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"angle": [np.inf, 0]}, r"angle\[0\] must be a finite number"),
        ({"jitter_order": [[0, 1, 2, 3], [0, 0, 2, 3]]}, r"jitter_order\[1\]"),
        ({"crop": [[0, 0, 8, 8], [0, 1, 8, 8]]}, r"crop\[1\]"),
        ({"scale": [0, 1]}, "greater than 0"),
        ({"hue": [0.7, 0]}, "hue"),
        ({"sigma": np.zeros(3)}, "shape"),
    ],
)
def test_parameters_are_checked(changes, says):
    with pytest.raises(ConfigError, match=says):
        dataclasses.replace(identity(2, 8), **changes)


def test_identity_and_corners():
    assert len(identity(0, 8)) == 0
    assert corners(8).tolist() == [[0, 0], [7, 0], [7, 7], [0, 7]]
