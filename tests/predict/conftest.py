"""Runs and images that the tests of predicting share."""

import numpy as np
import pytest
from PIL import Image

from tests.makers.untrained_runs import untrained_run


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Two runs of the same classes, of different networks and sizes."""
    base = tmp_path_factory.mktemp("runs")
    return [
        untrained_run(base / "one"),
        untrained_run(base / "two", seed=1, backbone="test_resnet", size=64),
    ]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """21 images ``1.bmp`` to ``21.png`` of several sizes and kinds, by number."""
    folder = tmp_path_factory.mktemp("pictures") / "set"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(1, 22):
        sides = rng.integers(40, 90, 2)
        low = rng.integers(0, 200, (5, 5, 3), dtype=np.uint8)
        image = Image.fromarray(low).resize(sides.tolist(), Image.Resampling.BICUBIC)
        ending = ("bmp", "png", "jpg")[number % 3]
        image = image.convert("RGBA") if number == 7 else image
        if number == 7:  # a PNG with a transparent corner
            image.putpixel((0, 0), (9, 9, 9, 0))
        image.save(folder / f"{number}.{ending}")
    return folder
