"""DALI and torchvision resize alike, but for the border of an image that is reduced."""

import numpy as np
import pytest
import torch

from fastleuk.augment.appliers import reference
from tests.makers.resizing import border_levels
from tests.makers.skips import needs_dali

SIZE = 32


def by_dali(image):
    from nvidia.dali import Pipeline, fn

    from fastleuk.augment.appliers.exact import resize

    pipeline = Pipeline(batch_size=1, num_threads=1, device_id=None)
    with pipeline:
        pipeline.set_outputs(
            resize(fn.external_source(source=lambda: [image], batch=True, layout="HWC"), SIZE)
        )
    pipeline.build()
    return np.asarray(pipeline.run()[0][0]).astype(int)


def by_torchvision(image):
    resized = reference.resize(torch.from_numpy(image).permute(2, 0, 1), SIZE)
    return resized.permute(1, 2, 0).numpy().astype(int)


@needs_dali
@pytest.mark.parametrize("shape", [(40, 38), (64, 64), (33, 40), (40, 8), (8, 13), (20, 31)])
def test_resized_images_differ_at_the_border_of_what_is_reduced_and_nowhere_else(shape):
    rng = np.random.default_rng(sum(shape))
    image = (255 * rng.integers(0, 2, (*shape, 3))).astype(np.uint8)
    apart = np.abs(by_dali(image) - by_torchvision(image))
    assert apart[1:-1, 1:-1].max() <= 1
    assert apart.max() <= border_levels(shape, SIZE)


@needs_dali
def test_the_bound_at_the_border_is_one_that_images_reach():
    """White at the corner and black beside it, at half the size: torchvision sees more black."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[0, 0] = 255
    apart = np.abs(by_dali(image) - by_torchvision(image))
    assert 0.4 * border_levels((64, 64), SIZE) < apart.max() <= border_levels((64, 64), SIZE)
