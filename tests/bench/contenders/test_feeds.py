"""Every way of loading feeds equal, endless batches."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from fastleuk.bench.contenders.feeds import open_feed
from fastleuk.bench.contenders.stream import EndlessStream
from fastleuk.bench.spec import METHODS, available

QUICK = [name for name in METHODS if name != "kornia-compiled"]
"""The one left out compiles for a minute."""


@pytest.mark.parametrize(
    "method", [*QUICK, pytest.param("kornia-compiled", marks=pytest.mark.slow)]
)
def test_every_way_feeds_normalised_augmented_batches(method, spec):
    there, missing = available()
    if method not in there:
        pytest.skip(missing[method])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the other libraries' own deprecations
        feed, close = open_feed(replace(spec, method=method, workers=method.startswith("dali")))
        batches = [next(feed) for _ in range(8)]
        close()
    check_batches(batches)


def check_batches(batches):
    """Eight of sixteen of the demo cells: a whole set of 64, twice."""
    images = torch.cat([batch[0] for batch in batches])
    labels = torch.cat([batch[1] for batch in batches])
    assert images.shape == (128, 3, 48, 48)
    assert images.dtype == torch.float32
    assert sorted(labels[:64].tolist()) == [0] * 32 + [1] * 32
    # The same data under the same chain: the discs' share of the picture and their brightness
    # agree whoever augments, within what the libraries understand differently.
    means = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    levels = images * torch.tensor([0.229, 0.224, 0.225])[:, None, None] + means
    assert -0.01 < float(levels.min()) < 0.02
    assert float(levels.max()) < 1.05
    assert 0.06 < float(levels.mean()) < 0.15
    assert not torch.equal(images[:16], images[64:80])


def test_the_endless_stream_goes_through_all_rows_again_and_again():
    stream = EndlessStream(np.arange(10, 17), batch_size=3)
    plans = stream.batches()
    rows = np.concatenate([next(plans).indices for _ in range(7)])
    for start in (0, 7, 14):
        assert sorted(rows[start : start + 7]) == list(range(10, 17))
    assert not np.array_equal(rows[:7], rows[7:14])
