import numpy as np
import pytest
from PIL import Image

from fastleuk.augment import NONE
from fastleuk.augment.appliers.compiled.on_arrays import has_kernel
from fastleuk.augment.gallery import AMPLIFY, comparison, write_gallery
from fastleuk.errors import ConfigError
from tests.makers.augment_images import demo_cells


def test_gallery(tmp_path):
    paths = write_gallery(demo_cells(3), tmp_path / "pictures" / "steps.png", size=64)
    assert [path.name for path in paths] == ["steps.png", "steps-sheet.png"]
    steps, sheet = (np.asarray(Image.open(path)) for path in paths)
    assert steps.shape[0] > 10 * 64
    assert steps.shape[1] > (8 if has_kernel() else 6) * 64
    assert sheet.shape == (8 * 70 + 6,) * 2 + (3,)
    tiles = [
        sheet[6 + 70 * r : 70 + 70 * r, 6 + 70 * c : 70 + 70 * c]
        for r in range(8)
        for c in range(8)
    ]
    assert len({tile.tobytes() for tile in tiles}) == 64


def test_differences_are_black_where_there_are_none():
    image = np.asarray(Image.fromarray(demo_cells(1)[0]).resize((64, 64)))
    picture = np.asarray(comparison(image, NONE, 64, 0))
    assert AMPLIFY > 1
    block = picture[:, -(64 + 6) : -6]  # the last column: a difference from torchvision
    rows = (block.max(axis=(1, 2)) == 0).sum()
    assert rows == 10 * 64


def test_gallery_refuses_what_it_cannot_draw(tmp_path):
    with pytest.raises(ConfigError, match=r"\.png"):
        write_gallery(demo_cells(1), tmp_path / "steps.jpg")
    with pytest.raises(ConfigError, match="at least one"):
        write_gallery([], tmp_path / "steps.png")
