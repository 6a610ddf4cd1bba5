"""ReLU6 with less memory is ReLU6."""

import copy

import pytest
import torch
from torch import nn

from fastleuk.models.backbone import create_model
from fastleuk.models.lean import LeanReLU6, make_lean


@pytest.mark.parametrize("inplace", [True, False])
def test_value_and_gradient_are_torchs_to_the_bit(inplace):
    values = torch.tensor([-1.0, -0.0, 0.0, 1e-30, 3.0, 5.9999995, 6.0, 6.0000005, 9.0, torch.inf])
    found = []
    for layer in (nn.ReLU6(inplace=inplace), LeanReLU6(inplace=inplace)):
        leaf = values.clone().requires_grad_()
        result = layer(leaf * 1.0)
        result.backward(torch.arange(1.0, 11.0))
        found.append((result.detach(), leaf.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def _saved(model, images):
    """Return the bytes that a forward pass keeps, and the gradients of all parameters."""
    kept = {}

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = model(images)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    result.sum().backward()
    grads = [p.grad for p in model.parameters()]
    return sum(size for place, size in kept.items() if place not in weights), grads


def test_training_lite0_keeps_less_and_learns_the_same():
    torch.manual_seed(0)
    lean = create_model("tf_efficientnet_lite0", num_classes=2, weights="none")
    plain = copy.deepcopy(lean)
    for module in plain.modules():
        for name, child in module.named_children():
            if isinstance(child, LeanReLU6):
                setattr(module, name, nn.ReLU6(inplace=child.inplace))
    images = torch.randn(2, 3, 96, 96)
    torch.manual_seed(1)
    before, expected = _saved(plain, images)
    torch.manual_seed(1)
    after, found = _saved(lean, images)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert after < 0.85 * before, f"{after / before:.2f} of the memory"


def test_other_layers_stay():
    model = make_lean(nn.Sequential(nn.ReLU(), nn.ReLU6(), nn.SiLU()))
    assert [type(layer) for layer in model] == [nn.ReLU, LeanReLU6, nn.SiLU]
