"""Which layer of a network Grad-CAM looks at, and how its output becomes a map."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastleuk.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

SIDE = 4
"""Places a side that a map should have at least. A deeper layer is coarser, and truer: at 128
pixels, maps of EfficientNet-Lite0's last layer (4x4) agreed with occlusion far better than those
of the one before (8x8)."""

NCHW, NHWC, TOKENS = "maps", "maps, channels last", "tokens"


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer whose output has places.

    Attributes:
        name: Its name in the network.
        kind: :data:`NCHW`, :data:`NHWC` or :data:`TOKENS`.
        height: Places in a column.
        width: Places in a row.
        skipped: Tokens before the first place, such as the class token.
    """

    name: str
    kind: str
    height: int
    width: int
    skipped: int = 0

    def to_maps(self, output: Tensor) -> Tensor:
        """Return the layer's output, or its gradient, as ``(N, C, height, width)``."""
        if self.kind == NCHW:
            return output
        if self.kind == TOKENS:
            output = output[:, self.skipped :]
            output = output.reshape(len(output), self.height, self.width, -1)
        return output.permute(0, 3, 1, 2)

    @property
    def transform(self) -> Callable[[Tensor], Tensor] | None:
        """Return what grad-cam calls ``reshape_transform``."""
        return None if self.kind == NCHW else self.to_maps

    def __str__(self) -> str:
        """Return name and size of the map."""
        return f"{self.name}, {self.height}×{self.width} places"


def find_layer(model: nn.Module, image: Tensor, name: str = "") -> Layer:
    """Choose the layer that Grad-CAM looks at.

    The deepest one whose map has :data:`SIDE` places a side and every place of which the
    prediction depends on. A vision transformer's last outputs are left out by that: where its
    class token alone is read, the other tokens' gradient is zero. Of layers that give tokens only
    normalisations count: in between, attention's queries and values are no places. What lies
    inside a block that makes the map smaller is left for the end of the stage before it.

    Args:
        model: A timm network in evaluation mode.
        image: float ``(1, 3, H, W)`` on its device.
        name: The layer to take; empty for the rule above.

    Raises:
        ConfigError: no such layer, or one (or a network) whose output has no places.
    """
    layers = _places(model, image)
    if name:
        if name not in layers:
            near = difflib.get_close_matches(name, layers, n=3)
            hint = f" Near it: {', '.join(near)}." if near else ""
            raise ConfigError(
                f"--layer {name!r} is no layer of this network with places.{hint} Leave --layer "
                f"out, or name one such as {', '.join(list(layers)[-3:]) or 'none: it has none'}."
            )
        return layers[name]
    if not layers:
        raise ConfigError(
            "Grad-CAM needs a layer whose output has places (a map or a row of tokens), and this "
            "network has none."
        )
    fine = [each for each in layers.values() if min(each.height, each.width) >= SIDE]
    if fine:
        ends = [each for each in fine if not _inside_shrinking(each, layers, model)]
        return (ends or fine)[-1]
    return max(reversed(layers.values()), key=lambda each: each.height * each.width)


def _places(model: nn.Module, image: Tensor) -> dict[str, Layer]:
    """Return by name, in the order of their ends, the layers that every place matters in."""
    import torch

    outputs: dict[str, list[Tensor]] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, torch.Tensor) and output.requires_grad:
                output.retain_grad()
                outputs.setdefault(name, []).append(output)

        return hook

    handles = [
        module.register_forward_hook(keep(name)) for name, module in model.named_modules() if name
    ]
    try:
        with torch.enable_grad():
            model(image.detach().requires_grad_()).sum(dim=0)[0].backward()
    finally:
        for handle in handles:
            handle.remove()
        model.zero_grad(set_to_none=True)
    skipped = getattr(model, "num_prefix_tokens", 0)
    kinds = {name: type(module).__name__.lower() for name, module in model.named_modules()}
    there: dict[str, Layer] = {}
    for name, calls in outputs.items():
        layer = _layer(name, calls[0], skipped) if len(calls) == 1 else None
        if layer is None or calls[0].grad is None:
            continue
        if layer.kind == TOKENS and "norm" not in kinds[name]:
            continue
        felt = layer.to_maps(calls[0].grad).abs().sum(dim=1)
        if bool((felt > 0).float().mean() > 0.5):
            there[name] = layer
    return there


def _inside_shrinking(layer: Layer, layers: dict[str, Layer], model: nn.Module) -> bool:
    """Say whether a block around the layer, which is no plain sequence, makes the map smaller."""
    from torch import nn

    outer = layer.name.rpartition(".")[0]
    while outer:
        block = layers.get(outer)
        smaller = block is not None and block.height < layer.height
        if smaller and not isinstance(model.get_submodule(outer), nn.Sequential):
            return True
        outer = outer.rpartition(".")[0]
    return False


def _layer(name: str, output: Tensor, skipped: int) -> Layer | None:
    shape = tuple(output.shape)
    if len(shape) == 4 and min(shape[1:]) > 1:
        # Channels outnumber the places of a side, but for the first layers of narrow networks.
        if shape[2] == shape[3]:
            return Layer(name, NCHW, shape[2], shape[3])
        if shape[1] == shape[2]:
            return Layer(name, NHWC, shape[1], shape[2])
    if len(shape) == 3:
        side = round((shape[1] - skipped) ** 0.5)
        if side > 1 and side * side == shape[1] - skipped:
            return Layer(name, TOKENS, side, side, skipped)
    return None
