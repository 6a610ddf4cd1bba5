"""What the DataLoader's augmentation takes: every mode of picture, by the rules for files."""

import numpy as np
import pytest
import torch
from PIL import Image

from fastleuk.augment import NONE, Augment, AugmentCollate
from fastleuk.errors import ConfigError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)
GREY = Image.fromarray(RGB).convert("L")


@pytest.fixture(params=[Augment, AugmentCollate])
def pixels(request):
    """Images through either class, without augmentation: levels ``(32, 32, 3)``."""
    transform = request.param(NONE, size=32, applier="reference", normalize=False)

    def apply(image):
        found = transform(image) if request.param is Augment else transform([image])[0]
        return found.permute(1, 2, 0).numpy()

    return apply


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr", "RGBX"])
def test_pictures_of_8_bits_become_rgb(pixels, mode):
    image = Image.fromarray(RGB).convert(mode)
    np.testing.assert_array_equal(pixels(image), np.asarray(image.convert("RGB")))


def test_transparent_parts_are_laid_over_black(pixels):
    image = Image.fromarray(RGB).convert("RGBA")
    alpha = np.full((32, 32), 255, np.uint8)
    alpha[:, :10], alpha[:, 10:20] = 0, 128
    image.putalpha(Image.fromarray(alpha))
    found = pixels(image)
    assert not found[:, :10].any()
    np.testing.assert_allclose(found[:, 10:20], RGB[:, 10:20] * (128 / 255), atol=1)
    np.testing.assert_array_equal(found[:, 20:], RGB[:, 20:])
    image.putalpha(0)
    with pytest.raises(ConfigError, match="RGBA: every pixel is fully transparent"):
        pixels(image)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (Image.fromarray(np.full((9, 9), 4000, np.uint16)), "I;16: 16 bits a channel"),
        (Image.fromarray(np.full((9, 9), 4000, np.int32)), "mode I: 16 bits a channel"),
        (Image.fromarray(np.full((9, 9), 0.5, np.float32)), "mode F: 16 bits a channel"),
    ],
)
def test_more_than_8_bits_are_refused_and_not_clipped(pixels, image, says):
    with pytest.raises(ConfigError, match=says):
        pixels(image)


def test_a_grey_tensor_is_taken_as_rgb_and_a_wrong_one_refused(pixels):
    grey = torch.from_numpy(np.asarray(GREY).copy())
    np.testing.assert_array_equal(pixels(grey[None]), np.asarray(GREY.convert("RGB")))
    with pytest.raises(ConfigError, match=r"\(3, H, W\) or \(1, H, W\), got \(32, 32, 3\)"):
        pixels(torch.from_numpy(RGB))
    with pytest.raises(ConfigError, match="must be uint8"):
        pixels(torch.rand(3, 32, 32))
