"""Images that come one by one: plain BMPs don't go through DALI's decoder, to the same pixels."""

import numpy as np
import pytest
import torch
from PIL import Image

from fastleuk.loading.images.encoded import Encoded, encode_bytes
from tests.makers.augment_images import needs_numba
from tests.makers.bmp_files import bmp, photo

pytestmark = needs_numba
pytest.importorskip("nvidia.dali")

SIZE = 64


@pytest.fixture
def images():
    from fastleuk.loading.images.dali import DaliImages

    made = DaliImages(
        size=SIZE, batch_size=5, workers=2, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3),
        device=torch.device("cpu"),
    )  # fmt: skip
    yield made
    made.close()


def some(tmp_path):
    """Plain BMPs of many sizes, some cropped, some upside down, between PNGs and a broken file."""
    rng = np.random.default_rng(3)
    found = []
    for number in range(23):
        height, width = rng.integers(30, 200, 2)
        height, width = (SIZE, SIZE) if number in (4, 9) else (height, width)
        pixels = photo(int(height), int(width))
        if number % 5 == 1:
            Image.fromarray(pixels).save(tmp_path / "one.png")
            found.append(encode_bytes((tmp_path / "one.png").read_bytes()))
        else:
            crop = int(rng.integers(20, 120)) if number % 3 == 0 else 0
            data = bmp(pixels, top_down=bool(number % 2))
            found.append(encode_bytes(data, crop=crop))
    broken = np.frombuffer((tmp_path / "one.png").read_bytes()[:400], np.uint8)
    found.insert(7, Encoded(broken, 50, 50))
    return found


def test_both_ways_give_the_same_pixels_in_the_same_order(images, tmp_path):
    batch = some(tmp_path)
    fast, fast_errors = images.prepare(batch)
    images._kernels = None
    slow, slow_errors = images.prepare(batch)
    assert torch.equal(fast, slow)
    assert [bool(error) for error in fast_errors] == [place == 7 for place in range(24)]
    assert fast_errors == slow_errors
    assert len(torch.unique(fast.mean(dim=(1, 2, 3)))) > 20


def test_a_batch_is_not_overwritten_by_the_next(images, tmp_path):
    batch = [image for image in some(tmp_path) if image.crop or image.width == SIZE]
    first, _ = images.prepare(batch)
    kept = first.clone()
    for _ in range(4):
        images.prepare(batch[::-1])
    assert torch.equal(first, kept)


def test_what_was_closed_starts_anew(images, tmp_path):
    batch = some(tmp_path)[:3]
    first, _ = images.prepare(batch)
    images.close()
    assert torch.equal(images.prepare(batch)[0], first)
