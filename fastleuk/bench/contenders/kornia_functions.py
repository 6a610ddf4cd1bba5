"""The nine steps by kornia's functions, their parameters drawn for a batch at once, compiled.

``torch.compile`` takes all but the perspective, which it isn't safe over, in two parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from kornia import enhance, filters
from kornia.geometry.transform import (
    get_affine_matrix2d,
    get_perspective_transform,
    get_rotation_matrix2d,
    warp_affine,
    warp_perspective,
)

from fastleuk.bench.contenders.stream import MEAN, STD

Step = Callable[[torch.Tensor], torch.Tensor]


def hflip(images: torch.Tensor) -> torch.Tensor:
    """Half of them."""
    return torch.where(_chosen(images, 0.5), images.flip(-1), images)


def vflip(images: torch.Tensor) -> torch.Tensor:
    """Half of them."""
    return torch.where(_chosen(images, 0.5), images.flip(-2), images)


def rotate(images: torch.Tensor) -> torch.Tensor:
    """By up to 25 degrees."""
    ones = torch.ones(len(images), 2, device=images.device)
    matrix = get_rotation_matrix2d(_middle(images), _uniform(images, -25, 25), ones)
    return _warp(images, matrix)


def color_jitter(images: torch.Tensor) -> torch.Tensor:
    """In kornia's order, that of its arguments: brightness, contrast, saturation, hue."""
    images = enhance.adjust_brightness_accumulative(images, _uniform(images, 0.7, 1.3))
    images = enhance.adjust_contrast_with_mean_subtraction(images, _uniform(images, 0.7, 1.3))
    images = enhance.adjust_saturation_with_gray_subtraction(images, _uniform(images, 0.7, 1.3))
    return enhance.adjust_hue(images, 2 * torch.pi * _uniform(images, -0.05, 0.05))


def resized_crop(images: torch.Tensor) -> torch.Tensor:
    """70 to 100 % of the area, 0.75 to 1.33 wide for its height; what lies outside is cut off."""
    size = images.shape[-1]
    area = _uniform(images, 0.7, 1)
    ratio = torch.exp(_uniform(images, math.log(0.75), math.log(1.33)))
    width = (area * ratio).sqrt().clamp(max=1)
    height = (area / ratio).sqrt().clamp(max=1)
    left = (1 - width) * _uniform(images, 0, 1) * (size - 1)
    top = (1 - height) * _uniform(images, 0, 1) * (size - 1)
    zero = torch.zeros_like(left)
    rows = [1 / width, zero, -left / width, zero, 1 / height, -top / height]
    return _warp(images, torch.stack(rows, -1).view(-1, 2, 3))


def affine(images: torch.Tensor) -> torch.Tensor:
    """Moved by up to 5 %, scaled by 0.95 to 1.05, sheared by up to 10 degrees."""
    size = images.shape[-1]
    shift = torch.stack([_uniform(images, -0.05, 0.05) * size for _ in "xy"], -1)
    scale = _uniform(images, 0.95, 1.05)[:, None].expand(-1, 2)
    shear = torch.deg2rad(_uniform(images, -10, 10))
    nothing = torch.zeros_like(shear)
    matrix = get_affine_matrix2d(shift, _middle(images), scale, nothing, shear, nothing)
    return _warp(images, matrix[:, :2])


def gaussian_blur(images: torch.Tensor) -> torch.Tensor:
    """3x3, sigma 0.1 to 2."""
    sigma = _uniform(images, 0.1, 2)[:, None].expand(-1, 2)
    return filters.gaussian_blur2d(images, (3, 3), sigma)


def adjust_sharpness(images: torch.Tensor) -> torch.Tensor:
    """Factor 2, three in ten."""
    return torch.where(_chosen(images, 0.3), enhance.sharpness(images, 2.0), images)


def perspective(images: torch.Tensor) -> torch.Tensor:
    """Corners up to a tenth of the side inwards, three in ten."""
    end = float(images.shape[-1] - 1)
    corners = torch.tensor([[0, 0], [end, 0], [end, end], [0, end]], device=images.device)
    inwards = torch.tensor([[1.0, 1], [-1, 1], [-1, -1], [1, -1]], device=images.device)
    moved = torch.rand(len(images), 4, 2, device=images.device) * inwards * 0.1 * (end + 1)
    start = corners.expand(len(images), 4, 2)
    matrix = get_perspective_transform(start, start + moved)
    warped = warp_perspective(images, matrix, (int(end) + 1, int(end) + 1))
    return torch.where(_chosen(images, 0.3), warped, images)


STEPS: tuple[Step, ...] = (
    hflip, vflip, rotate, color_jitter, resized_crop, affine, gaussian_blur, adjust_sharpness,
    perspective,
)  # fmt: skip


def before_perspective(images: torch.Tensor) -> torch.Tensor:
    """From uint8 to float, and eight of the nine steps."""
    images = images.float() / 255
    for step in STEPS[:-1]:
        images = step(images)
    return images


def compiled_chain(size: int, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the chain on uint8 ``(B, 3, size, size)`` batches of one length."""
    mean, std = torch.tensor(MEAN, device=device), torch.tensor(STD, device=device)
    steps = torch.compile(before_perspective, dynamic=False)

    def finish(images: torch.Tensor) -> torch.Tensor:
        assert images.shape[-1] == size
        with torch.no_grad():
            return enhance.normalize(perspective(steps(images.to(device))), mean, std)

    return finish


def _uniform(images: torch.Tensor, low: float, high: float) -> torch.Tensor:
    return low + (high - low) * torch.rand(len(images), device=images.device)


def _chosen(images: torch.Tensor, probability: float) -> torch.Tensor:
    return torch.rand(len(images), 1, 1, 1, device=images.device) < probability


def _middle(images: torch.Tensor) -> torch.Tensor:
    middle = (images.shape[-1] - 1) / 2
    return torch.full((len(images), 2), middle, device=images.device)


def _warp(images: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """``matrix`` ``(B, 2, 3)`` leads from the input to the output, in pixels."""
    return warp_affine(images, matrix, (images.shape[-2], images.shape[-1]))
