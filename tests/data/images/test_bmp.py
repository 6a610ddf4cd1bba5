"""A BMP whose header alone is read is judged as PIL judges it."""

import numpy as np
import pytest

from fastleuk.data.images.decode import examine_image
from tests.makers.bmp_files import bmp, photo


@pytest.mark.parametrize("header", ["", "v5"])
@pytest.mark.parametrize("cut", [0, 1, 2, 3, 5, 400, 4000])
def test_a_plain_bmp_is_judged_as_pil_judges_it(header, cut, monkeypatch):
    import io

    from PIL import Image

    from fastleuk.data import verify
    from fastleuk.data.images import decode as image

    pixels = np.random.default_rng(1).integers(0, 255, (30, 41, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "BMP")
    data = stream.getvalue()
    if header:  # as the preliminary set has it: 138 bytes before the pixels
        info = (124).to_bytes(4, "little") + data[18:54] + bytes(84)
        data = data[:10] + (138).to_bytes(4, "little") + info + data[54:]
    data = data[: len(data) - cut]
    quick = verify.decode_check(data)
    hashed = image.examine(data).pixels
    monkeypatch.setattr(image, "read_layout", lambda _: None)
    slow = verify.decode_check(data)
    assert quick == slow
    assert image.examine(data).pixels == hashed
    assert (slow[2] == "") == (cut <= 1)


@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize(("height", "width", "gap"), [(9, 13, 0), (16, 8, 84), (31, 30, 3)])
def test_rows_are_read_where_they_lie(height, width, gap, top_down):
    pixels = photo(height, width)
    found, image = examine_image(bmp(pixels, top_down=top_down, gap=gap))
    assert not found.error
    np.testing.assert_array_equal(np.asarray(image), pixels)
