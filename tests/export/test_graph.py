"""What an exported graph computes before and behind the network."""

import importlib.util

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from fastleuk.export.graph import Classifier, Prepare, resize_weights
from fastleuk.loading.images.encoded import encode_array
from fastleuk.loading.images.torchvision import TorchvisionImages

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
SIDES = st.integers(8, 300)


def texture(height, width, seed):
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(height, width, 3)), (1, 1, 0))
    return (255 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8)


@pytest.mark.parametrize("loader", ["dali", "torchvision"])
@settings(max_examples=15)
@given(height=SIDES, width=SIDES, size=st.sampled_from([48, 64, 224]), seed=st.integers(0, 99))
def test_it_prepares_images_as_the_runs_loader_does(loader, height, width, size, seed):
    """To a level out of 255 where a value lies on the edge between two, and that is rare."""
    own = {"size": size, "workers": 1, "mean": MEAN, "std": STD, "device": torch.device("cpu")}
    if loader == "dali":
        if not importlib.util.find_spec("nvidia.dali"):
            pytest.skip("NVIDIA DALI is not installed")
        from fastleuk.loading.images.dali import DaliImages

        images = DaliImages(batch_size=1, **own)
    else:
        images = TorchvisionImages(**own)
    cell = texture(height, width, seed)
    wanted, _ = images.prepare([encode_array(cell)])
    found = Prepare(size, MEAN, STD, repeat_edges=loader == "dali")(torch.from_numpy(cell[None]))
    images.close()
    levels = (found - wanted).abs() * 255 * torch.tensor(STD).reshape(1, 3, 1, 1)
    assert levels.max() < 1.01
    assert (levels > 0.01).float().mean() < 0.03


@given(count=st.integers(1, 400), size=st.integers(1, 400), repeat=st.booleans())
def test_a_resize_keeps_an_even_colour_and_an_images_own_size(count, size, repeat):
    weights = resize_weights(torch.arange(count).float(), size, repeat_edges=repeat)
    assert weights.shape == (size, count)
    assert weights.sum(dim=1) == pytest.approx(np.ones(size), abs=1e-5)
    assert weights.min() >= 0
    mirrored = weights.flip(0, 1)
    assert torch.allclose(weights, mirrored, atol=1e-3)
    if count == size:
        assert torch.equal(weights, torch.eye(size))


def test_a_temperature_stands_between_logits_and_probabilities():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(3))
    images = torch.randn(5, 3, 4, 4)
    network(images)
    chances, logits = Classifier(network, 2.5, None)(images)
    assert torch.equal(logits, network(images))
    assert chances.detach().numpy() == pytest.approx(
        torch.softmax(logits / 2.5, dim=1).detach().numpy()
    )
