"""Formulas beside those of torchvision, where a mutation of ours had gone unnoticed."""

import dataclasses
import inspect

import numpy as np
import pytest
from scipy.ndimage import convolve1d

from fastleuk.augment import PAPER, Augment, AugmentPolicy, augment_batch, identity, matrices
from fastleuk.augment.appliers import reference
from tests.makers.augment_images import COMPILED


@pytest.mark.parametrize("shear", [(20.0, 0.0), (0.0, -15.0), (20.0, -15.0), (-7.0, 33.0)])
def test_both_shears_together_are_torchvisions(shear):
    from torchvision.transforms.functional import _get_inverse_affine_matrix

    wanted = _get_inverse_affine_matrix([0.0, 0.0], 30.0, [3.0, -2.0], 1.25, list(shear))
    found = matrices.affine_matrix(
        np.array([30.0]), np.array([[3.0, -2.0]]), np.array([1.25]), np.array([shear]), size=64
    )[0]
    # torchvision's origin is the image's centre
    to_centre = np.array([[1.0, 0, 32], [0, 1, 32], [0, 0, 1]])
    theirs = to_centre @ np.vstack([np.reshape(wanted, (2, 3)), [0, 0, 1]])
    assert found == pytest.approx(theirs @ np.linalg.inv(to_centre), abs=1e-12)


@pytest.mark.parametrize("applier", ["exact", "fused", COMPILED])
@pytest.mark.parametrize("factor", [0.0, 0.4])
def test_sharpness_below_one_smooths(applier, factor):
    image = np.random.default_rng(0).integers(60, 190, (32, 32, 3), dtype=np.uint8)
    params = dataclasses.replace(identity(1, 32), sharpness=np.array([factor]))
    found, expected = (
        augment_batch([image], params, applier=name, normalize=False)[0, 1:-1, 1:-1]
        for name in (applier, "reference")
    )
    assert np.abs(found - expected).max() <= 1.6  # torchvision truncates twice
    assert np.abs(expected - image[1:-1, 1:-1]).max() > 10


@pytest.mark.parametrize(
    ("size", "kernel_size"), [(2, 5), (3, 7), (4, 9), (4, 21), (9, 9), (9, 21)]
)
def test_kernels_wider_than_the_image_mirror_it_again_and_again(size, kernel_size):
    image = np.random.default_rng(size).integers(0, 256, (size, size, 3), dtype=np.uint8)
    params = dataclasses.replace(
        identity(1, size), kernel_size=kernel_size, sigma=np.array([kernel_size / 4])
    )
    found = reference.apply(image, params, 0)
    kernel = matrices.gaussian_kernel(params.sigma, kernel_size)[0]
    line = kernel.sum(axis=0)
    expected = image.astype(float)
    for axis in (0, 1):
        expected = convolve1d(expected, line, axis=axis, mode="mirror")
    assert np.abs(found - expected).max() <= 0.51


def test_defaults_are_those_of_torchvision():
    from torchvision.transforms import RandomResizedCrop

    ratio = inspect.signature(RandomResizedCrop).parameters["ratio"].default
    assert AugmentPolicy().crop_ratio == pytest.approx(ratio)
    assert inspect.signature(Augment).parameters["normalize"].default is True


def test_a_range_may_reach_its_limits():
    assert PAPER.replace(degrees=180).degrees == (-180.0, 180.0)
    assert AugmentPolicy(scale=(1.0, 1.0)).scale == (1.0, 1.0)
