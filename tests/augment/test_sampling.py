"""One rule for all rows: an image is resized to the output's size, then the steps sample that.

Otherwise an image's sharpness would depend on whether it is augmented, and where one class is
augmented more than the other, sharpness would give the class away.
"""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from fastleuk.augment import NONE, PAPER, augment_batch, draw, identity
from fastleuk.augment.appliers import ideal
from tests.makers.augment_images import COMPILED, demo_cells
from tests.makers.bmp_files import photo
from tests.makers.skips import needs_dali

ALL = ["reference", *(pytest.param(a, marks=needs_dali) for a in ("exact", "fused")), COMPILED]
FAST = ["fused", COMPILED]
SIZE = 64
RATIOS = (1, 1.02, 1.2, 1.49, 1.51, 1.8, 2, 450 / 224, 2.49, 2.51, 2.8, 3)
FLIPS = list(itertools.product([False, True], repeat=2))


def levels(images, params, applier):
    return augment_batch(images, params, applier=applier, normalize=False)


def flips(count, size):
    """Parameters of ``count`` images, each with none of the flips, with one, and with both."""
    across, down = np.array(FLIPS * count).T
    return dataclasses.replace(identity(len(FLIPS) * count, size), hflip=across, vflip=down)


def turned_back(pixels, size):
    """``(N, 4, size, size, 3)``: each image of :func:`flips` flipped back."""
    pixels = pixels.reshape(-1, len(FLIPS), size, size, 3)
    return np.stack(
        [
            pixels[:, k, :: -1 if down else 1, :: -1 if across else 1]
            for k, (across, down) in enumerate(FLIPS)
        ],
        axis=1,
    )


@pytest.mark.parametrize("size", [SIZE, 33])
@pytest.mark.parametrize("applier", ALL)
def test_a_flip_changes_nothing_but_the_order_of_pixels(applier, size):
    """Noise, where another filter shows most; wide, high and small sources, too."""
    edges = [round(ratio * size) for ratio in RATIOS]
    shapes = [(edge, edge) for edge in edges] + [(edge, size) for edge in edges[1:]]
    shapes += [(edges[4], edges[-1]), (size, edges[6]), (20, 150), (9, 13), (1, 1), (400, 3)]
    images = [photo(*shape) for shape in shapes]
    params = flips(len(images), size)
    found = levels([image for image in images for _ in FLIPS], params, applier)
    back = turned_back(found, size)
    np.testing.assert_array_equal(back, back[:, :1].repeat(len(FLIPS), axis=1))


@pytest.mark.parametrize("applier", ALL)
def test_sharpness_does_not_tell_augmented_images_from_the_others(applier):
    """Laplacian energy, of pictures of C-NMC's own size at the size of the network's input."""
    images, size = demo_cells(6), 224
    policy = NONE.replace(p_hflip=0.5, p_vflip=0.5)
    on = np.arange(24) % 2 == 1
    params = draw(policy, seed=1, epoch=0, indices=np.arange(24), size=size, augmented=on)
    found = levels([image for image in images for _ in range(4)], params, applier)
    energy = (ndimage.laplace(found.mean(axis=-1), axes=(1, 2)) ** 2).mean(axis=(1, 2))
    # beside the image's own sharpness, which a classifier of many epochs comes to know
    energy = energy / energy.reshape(6, 4).mean(axis=1).repeat(4)
    flipped = params.hflip | params.vflip
    assert 6 < flipped.sum() < 12
    assert roc_auc_score(flipped, energy.round(5)) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("shape", [(40, 40), (100, 100), (150, 70)])
def test_the_ideal_of_flips_is_the_flipped_resize(shape):
    image = photo(*shape)
    params = flips(1, SIZE)
    found = np.stack([ideal.apply(image, params, i) for i in range(len(FLIPS))])
    back = turned_back(found, SIZE)
    np.testing.assert_allclose(back, back[:, :1].repeat(len(FLIPS), axis=1), atol=1e-9)
    resized = levels([image], identity(1, SIZE), "reference")[0]
    assert np.abs(back[0, 0] - resized).max() < 0.51  # torchvision rounds


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
