"""Every flavour of BMP has the pixels that it means, on every decoder, or is named as bad."""

import numpy as np
import pytest

from fastleuk.data.images.decode import decode_rgb, examine
from fastleuk.loading import has_dali
from tests.faults.bmp_flavours import FLAVOURS, LYING

pytestmark = pytest.mark.skipif(not has_dali(), reason="NVIDIA DALI is not installed")


@pytest.fixture(scope="module")
def decoders():
    from tests.faults.judge import Dali, Kernels

    try:
        return Dali(), Kernels()
    except ImportError:
        return Dali(), None


@pytest.mark.parametrize("name", FLAVOURS)
def test_a_flavour_has_its_pixels_on_every_decoder(name, decoders):
    from tests.faults.judge import judge

    data, meant = FLAVOURS[name]()
    found = judge(data, *decoders)
    assert found["wrong"] == []
    assert found["error"] == "", name
    pixels = np.asarray(decode_rgb(data))
    levels = 8 if name.startswith("16") else 0  # PIL and others fill up 5 bits differently
    assert np.abs(pixels.astype(int) - meant).max() <= levels


@pytest.mark.parametrize("name", LYING)
def test_a_lie_is_named_and_no_decoder_falls_for_it(name, decoders):
    from tests.faults.judge import judge

    data = LYING[name]()
    found = judge(data, *decoders)
    assert found["wrong"] == []
    assert found["error"], name
    assert examine(data).pixels == ""
