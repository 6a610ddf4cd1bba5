"""What an exported file computes: from images, prepared or not, to calibrated probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

OUTPUTS = ("probabilities", "logits")


def resize_weights(count: Tensor, size: int, *, repeat_edges: bool) -> Tensor:
    """Weigh the pixels of an axis for a linear, antialiased resize.

    A triangle as wide as the step between output pixels, at least as that between the source's. It
    is made of plain operations on a count that is known only when the graph runs, so that every
    runtime gives the same: ONNX's own antialiased resize is not in all of them.

    Args:
        count: float32 ``(count,)``: the numbers from 0 to ``count`` - 1.
        size: Pixels of the result.
        repeat_edges: What the triangle covers outside the image has the edge's colour, as in DALI;
            otherwise it counts for nothing, as in PIL and torchvision.

    Returns:
        float32 ``(size, count)``; each row sums to 1.
    """
    last = count[-1:]
    step = (last + 1) / size
    centre = (torch.arange(size, dtype=count.dtype, device=count.device) + 0.5) * step - 0.5
    width = torch.clamp(step, min=1.0)

    def weight(places: Tensor) -> Tensor:
        return torch.clamp(1 - (places[None, :] - centre[:, None]).abs() / width, min=0.0)

    inside = weight(count)
    if repeat_edges:
        # A triangle at the edge covers less than a step outside, which is less than all pixels.
        before, behind = weight(count - last - 1), weight(count + last + 1)
        inside = inside + before.sum(dim=1, keepdim=True) * (count == 0)
        inside = inside + behind.sum(dim=1, keepdim=True) * (count == last)
    return inside / inside.sum(dim=1, keepdim=True)


class Prepare(nn.Module):
    """Resize and normalise, as the run's loader does it.

    Args:
        size: Side of the result in pixels.
        mean: Channel means in 0–1 units.
        std: Channel standard deviations in 0–1 units.
        repeat_edges: See :func:`resize_weights`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, size: int, mean: Sequence[float], std: Sequence[float], *, repeat_edges: bool
    ) -> None:
        super().__init__()
        self.size, self.repeat_edges = size, repeat_edges
        self.register_buffer("mean", 255 * torch.tensor(mean).reshape(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).reshape(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Turn uint8 ``(N, H, W, 3)`` into float32 ``(N, 3, size, size)``."""
        pixels = images.permute(0, 3, 1, 2).float()
        height = torch.arange(images.shape[1], device=images.device).float()
        width = torch.arange(images.shape[2], device=images.device).float()
        down = resize_weights(height, self.size, repeat_edges=self.repeat_edges)
        across = resize_weights(width, self.size, repeat_edges=self.repeat_edges)
        levels = torch.matmul(torch.matmul(down, pixels), across.transpose(0, 1))
        return (torch.round(levels) - self.mean) / self.std


class Classifier(nn.Module):
    """A network with what stands before and behind it.

    Args:
        network: Gives logits of normalised images.
        temperature: What logits are divided by before they become probabilities.
        prepare: Turns images into normalised ones; None: they come normalised.
    """

    def __init__(self, network: nn.Module, temperature: float, prepare: Prepare | None) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature
        self.prepare = prepare

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return calibrated probabilities and logits, float32 ``(N, C)`` each."""
        if self.prepare is not None:
            images = self.prepare(images)
        logits = self.network(images).float()
        return torch.softmax(logits / self.temperature, dim=1), logits
