"""Heat maps against networks whose answer is known."""

import numpy as np
import pytest
import torch
from torch import nn

from fastleuk.errors import ConfigError
from fastleuk.explain.examine import verdicts
from fastleuk.explain.heat import agreement, grad_cam, share_inside, share_sentence
from fastleuk.explain.layers import NCHW, NHWC, TOKENS, Layer, find_layer
from fastleuk.explain.occlusion import occlude
from fastleuk.models.backbone import create_model

pytest.importorskip("pytorch_grad_cam")


class Places(nn.Module):
    """Class 1 is the red in an image less its blue, class 0 the contrary: all is known."""

    def __init__(self, layout=NCHW):
        super().__init__()
        self.layout = layout
        self.maps = nn.Conv2d(3, 3, 8, stride=8, bias=False)
        self.norm = nn.Identity()
        self.head = nn.Linear(3, 2, bias=False)
        with torch.no_grad():
            self.maps.weight.zero_()
            for channel in range(3):
                self.maps.weight[channel, channel] = 1 / 64
            self.head.weight.copy_(torch.tensor([[-1.0, 0, 1], [1, 0, -1]]))

    def forward(self, x):
        maps = self.maps(x)
        if self.layout == NHWC:
            maps = maps.permute(0, 2, 3, 1)
            return self.head(self.norm(maps * 1.0).mean(dim=(1, 2)))
        return self.head(self.norm(maps * 1.0).mean(dim=(2, 3)))


def _red_spot(row, column, side=64):
    image = torch.zeros(1, 3, side, side)
    image[:, 0, row : row + 16, column : column + 16] = 1
    return image


@pytest.mark.parametrize("layout", [NCHW, NHWC])
@pytest.mark.parametrize(("row", "column"), [(8, 40), (40, 8)])
def test_the_heat_lies_on_what_speaks_for_the_class(layout, row, column):
    model, image = Places(layout).eval(), _red_spot(row, column)
    layer = find_layer(model, image)
    assert (layer.name, layer.kind, layer.height) == ("norm", layout, 8)
    heat = grad_cam(model, layer, image, [1])[0]
    spot = np.zeros((64, 64), bool)
    spot[row - 4 : row + 20, column - 4 : column + 20] = True  # interpolation widens it
    assert share_inside(heat, spot) > 0.99
    assert heat.max() == pytest.approx(1, abs=1e-5)
    assert not grad_cam(model, layer, image, [0]).any()  # nothing speaks for the other class


@pytest.mark.parametrize(("row", "column"), [(8, 40), (40, 8)])
def test_occlusion_finds_the_same_place(row, column):
    model, image = Places().eval(), _red_spot(row, column)
    drops = occlude(model, image[0], 1)
    spot = np.zeros((64, 64), bool)
    spot[max(0, row - 10) : row + 26, max(0, column - 10) : column + 26] = True
    assert share_inside(drops, spot) > 0.99
    assert spot[np.unravel_index(drops.argmax(), drops.shape)]
    heat = grad_cam(model, find_layer(model, image), image, [1])[0]
    assert agreement(heat, drops) > 0.7


def test_occlusion_is_the_fall_of_the_log_odds():
    model, image = Places().eval(), _red_spot(24, 24)
    with torch.no_grad():
        logits = model(image)[0]
    most = float(logits[1] - logits[0])
    drops = occlude(model, image[0], 1, patches=1)  # one patch over everything: its mean colour
    assert drops == pytest.approx(np.zeros((64, 64)), abs=1e-5)
    drops = occlude(model, image[0], 1, patches=4)
    assert 0 < drops.max() < most


def test_shares_and_agreement_where_there_is_nothing():
    nothing = np.zeros((8, 8))
    assert share_inside(nothing, np.ones((8, 8), bool)) is None
    assert agreement(nothing, np.eye(8)) is None
    assert agreement(np.eye(8), np.eye(8), step=1) == pytest.approx(1)


@pytest.mark.parametrize(
    ("backbone", "size", "kind"),
    [
        ("test_efficientnet", 64, NCHW),
        ("test_resnet", 64, NCHW),
        ("test_convnext", 64, NCHW),
        ("test_vit", 64, TOKENS),
    ],
)
def test_every_kind_of_network_has_a_layer(backbone, size, kind):
    torch.manual_seed(0)
    model = create_model(backbone, num_classes=2, weights="none", size=size).eval()
    images = torch.rand(3, 3, size, size)
    layer = find_layer(model, images[:1])
    assert layer.kind == kind
    assert min(layer.height, layer.width) >= 4
    before = [parameter.clone() for parameter in model.parameters()]
    together = grad_cam(model, layer, images, [0, 1, 0])
    assert together.shape == (3, size, size)
    assert together.min() >= 0
    assert together.max() <= 1
    alone = grad_cam(model, layer, images[1:2], [1])[0]
    np.testing.assert_allclose(together[1], alone, atol=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())
    # A network that asks for no gradient has the same maps: they begin at the layer.
    model.requires_grad_(False)
    np.testing.assert_array_equal(grad_cam(model, layer, images, [0, 1, 0]), together)


def test_a_class_tokens_last_outputs_are_passed_over():
    """Only the class token is read: at the end, no other token matters."""
    model = create_model("test_vit", num_classes=2, weights="none", size=64).eval()
    layer = find_layer(model, torch.rand(1, 3, 64, 64))
    assert layer.name == "blocks.5.norm1"
    assert (layer.skipped, layer.height, layer.width) == (1, 4, 4)


def test_tokens_become_a_map_row_by_row_without_the_class_token():
    tokens = torch.arange(2 * 7 * 5).reshape(2, 7, 5)
    maps = Layer("x", TOKENS, 2, 3, skipped=1).to_maps(tokens)
    assert maps.shape == (2, 5, 2, 3)
    assert torch.equal(maps[0, :, 1, 2], tokens[0, 6])
    assert torch.equal(maps[1, :, 0, 1], tokens[1, 2])


def test_a_layer_can_be_named_and_a_wrong_name_is_refused():
    model = create_model("test_efficientnet", num_classes=2, weights="none", size=64).eval()
    image = torch.rand(1, 3, 64, 64)
    assert find_layer(model, image, "blocks.1").name == "blocks.1"
    with pytest.raises(ConfigError, match=r"blocks\.1"):
        find_layer(model, image, "blocks.11")
    with pytest.raises(ConfigError, match="no layer"):
        find_layer(model, image, "classifier")


def test_a_network_without_places_is_refused():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2)).eval()
    with pytest.raises(ConfigError, match="none"):
        find_layer(model, torch.rand(1, 3, 8, 8))


def _summary(**changes):
    figure = {"low": 0.2, "median": 0.5, "high": 0.6, "count": 20}
    figures = {
        "cells": 20, "cell_found": 20, "without_heat": 0,
        "cell_area": {**figure, "median": 0.2}, "heat_inside": figure,
        "random_agreement": {**figure, "median": 0.1}, "random_heat_inside": figure,
        "occlusion_agreement": figure, "occlusion_inside": figure,
    }  # fmt: skip
    for name, value in changes.items():
        figures[name] = {**figure, "median": value} if isinstance(value, float) else value
    return figures


@pytest.mark.parametrize(
    ("changes", "relied_on"),
    [
        ({}, True),
        ({"random_agreement": 0.7}, False),
        ({"occlusion_agreement": -0.16}, False),
        ({"without_heat": 7}, False),
        ({"heat_inside": 0.1}, False),
        ({"random_agreement": None, "occlusion_agreement": None}, True),
    ],
)
def test_the_conclusion_considers_every_check(changes, relied_on):
    conclusion = verdicts(_summary(**changes))[-1]
    assert conclusion.startswith("Conclusion")
    assert ("should not be relied on" not in conclusion) == relied_on


@pytest.mark.parametrize("cell_found", [True, False])
def test_an_empty_map_is_distinguished_from_an_undetected_cell(cell_found):
    text = share_sentence(None, cell_found=cell_found)
    assert ("empty" in text, "no cell" in text) == (cell_found, not cell_found)
