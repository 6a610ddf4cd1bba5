"""Which source pixels an output pixel is made of, where there are many of them, and edges of two
steps at once."""

import numpy as np
import pytest

from fastleuk.augment import PAPER, augment_batch, draw, identity
from fastleuk.augment.appliers import ideal
from tests.makers.augment_images import COMPILED

FAST = ["fused", COMPILED]


def levels(images, params, applier):
    return augment_batch(images, params, applier=applier, normalize=False)


@pytest.mark.parametrize("applier", FAST)
def test_large_sources_are_resized_with_every_pixel_of_theirs(applier):
    """Noise, of which sampling a few pixels would leave more than their mean leaves."""
    size, rng = 64, np.random.default_rng(1)
    shapes = [(161, 161), (320, 320), (600, 600), (161, 40), (64, 170)]
    images = [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    params = draw(PAPER.replace(p_hflip=1.0), seed=1, epoch=0, indices=np.arange(5), size=size)
    params = params.only("hflip")
    found, wanted = (levels(images, params, name) for name in (applier, "exact"))
    assert np.abs(found - wanted).max() < 1.01
    plain = levels(images, identity(5, size), applier)
    assert np.abs(found - plain[:, :, ::-1]).max() < 1.01


@pytest.mark.parametrize("applier", FAST)
def test_edges_of_several_steps_are_nearer_to_the_ideal_than_step_by_step(applier):
    """A rotated edge that is cropped and moved is resampled once by them, three times by exact:
    so they are not compared with exact there but, both, with the ideal."""
    size = 48
    shapes = [(5, 5), (28, 28), (48, 48), (70, 70), (90, 90), (110, 110), (110, 30), (20, 60)]
    images = [np.full((*shape, 3), 200, np.uint8) for shape in shapes]
    on = PAPER.replace(p_rotation=1.0, p_crop=1.0, p_affine=1.0)
    params = draw(on, seed=2, epoch=0, indices=np.arange(len(images)), size=size)
    params = params.only("hflip", "rotate", "resized_crop", "affine")
    wanted = np.stack([ideal.apply(image, params, i) for i, image in enumerate(images)])
    error, exact = (
        np.sqrt(np.mean((levels(images, params, name) - wanted) ** 2, axis=(1, 2, 3)))
        for name in (applier, "exact")
    )
    assert exact.max() > 1  # there are edges
    assert (error <= exact).all(), (error, exact)
