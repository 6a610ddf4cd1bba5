"""What the DataLoader's augmentation takes: every mode of picture, by the rules for files."""

import collections
from collections import UserDict
from pathlib import Path

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
    with pytest.raises(ConfigError, match=r"\(1, H, W\), got \(32, 32, 3\).*permute\(2, 0, 1\)"):
        pixels(torch.from_numpy(RGB))
    with pytest.raises(ConfigError, match="must be uint8"):
        pixels(torch.rand(3, 32, 32))


@pytest.mark.parametrize(
    "make",
    [
        lambda grey: grey,
        lambda grey: grey[..., None],
        lambda grey: torch.from_numpy(grey),
        lambda grey: torch.from_numpy(grey)[None],
        Image.fromarray,
    ],
    ids=["(H, W)", "(H, W, 1)", "tensor (H, W)", "tensor (1, H, W)", "PIL"],
)
def test_gray_images_are_taken_in_every_form(pixels, make):
    grey = np.asarray(GREY).copy()
    np.testing.assert_array_equal(pixels(make(grey)), np.asarray(GREY.convert("RGB")))


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("cell.png", r"the path 'cell.png'. Open it .*PIL.Image.open"),
        (Path("cell.png"), r"the path 'cell.png'. Open it .*PIL.Image.open"),
        (None, "a NoneType. A sample is"),
        ({1, 2}, "a set. A sample is"),
        (RGB.astype(np.float32), "must be uint8"),
        (torch.rand(3, 8, 8, requires_grad=True), "must be uint8"),
        (RGB.transpose(2, 0, 1), r"channels first: use transpose\(1, 2, 0\)"),
        (np.dstack([RGB, RGB[..., :1]]), r"without its alpha: image\[\.\.\., :3\]"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
    ],
    ids=["str", "Path", "None", "set", "float", "requires_grad", "CHW", "RGBA", "empty"],
)
def test_what_is_no_image_is_refused_with_the_way_out(pixels, image, says):
    with pytest.raises(ConfigError, match=says):
        pixels(image)


COLLATE = AugmentCollate(NONE, size=32, applier="reference", normalize=False)
PLANES = torch.from_numpy(RGB).permute(2, 0, 1).float()
Pair = collections.namedtuple("Pair", ["image", "label"])


@pytest.mark.parametrize(
    ("options", "rows", "wanted"),
    [
        ({}, [{"image": RGB, "label": i} for i in range(2)], {"label": torch.tensor([0, 1])}),
        (
            {"image": "pixel_values"},
            [{"label": 1.5, "pixel_values": RGB, "name": "a"}],
            {"label": torch.tensor([1.5], dtype=torch.float64), "name": ["a"]},
        ),
        ({}, [{"image": RGB, "label": None}], {"label": [None]}),
        ({}, [UserDict(image=RGB, label=1)], {"label": torch.tensor([1])}),
        ({}, [{"image": RGB}], {}),
    ],
    ids=["dicts", "another key", "None", "mapping", "image alone"],
)
def test_rows_that_are_dicts(options, rows, wanted):
    collate = AugmentCollate(NONE, size=32, applier="reference", normalize=False, **options)
    batch = collate(rows)
    key = options.get("image", "image")
    assert list(batch) == list(rows[0])  # the order of the columns, too
    assert torch.equal(batch.pop(key), torch.stack([PLANES] * len(rows)))
    for name, values in wanted.items():
        assert torch.equal(batch[name], values) if torch.is_tensor(values) else True
        assert torch.is_tensor(values) or batch[name] == values
    assert batch.keys() == wanted.keys()


def test_rows_that_are_tuples():
    images, labels, names = COLLATE([(RGB, 1, None), (RGB, 0, "a")])
    assert images.shape == (2, 3, 32, 32)
    assert labels.tolist() == [1, 0]
    assert names == [None, "a"]
    batch = COLLATE([Pair(RGB, 1)])
    assert isinstance(batch, Pair)
    assert batch.label.tolist() == [1]
    last = AugmentCollate(NONE, size=32, applier="reference", normalize=False, image=-1)
    labels, images = last([(1, RGB), (2, RGB)])
    assert labels.tolist() == [1, 2]
    assert torch.equal(images, torch.stack([PLANES, PLANES]))
    assert torch.equal(COLLATE([RGB]), PLANES[None])


@pytest.mark.parametrize(
    ("options", "rows", "says"),
    [
        ({}, [{"img": RGB, "label": 1}], r"no 'image', but 'img', 'label'.*image=\"img\""),
        ({"image": "pixels"}, [(RGB, 1)], "sample 0 is a tuple, not a dict"),
        ({"image": 5}, [(RGB, 1)], "sample 0 has 2 values"),
        ({}, [(RGB, object())], r"1: the samples' values can't be collated"),
        ({}, [], "an empty batch"),
        ({"image": 1.5}, [], "image: 1.5"),
    ],
)
def test_rows_that_do_not_fit(options, rows, says):
    with pytest.raises(ConfigError, match=says):
        AugmentCollate(NONE, size=32, applier="reference", **options)(rows)


def test_a_collate_gives_half_precision():
    batch = AugmentCollate(NONE, size=32, applier="reference", dtype=torch.float16)([RGB])
    assert batch.dtype == torch.float16
