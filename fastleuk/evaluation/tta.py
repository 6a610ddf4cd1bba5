"""Test-time augmentation: several views of each image, whose class probabilities are averaged.

Views are made on the device from normalised batches. Flips, transposes and quarter turns move
pixels; the other rotations resample bilinearly, and what turns in from outside the image is black,
which is what lies around a cell of C-NMC and what augmentation fills with in training.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from fastleuk.errors import ConfigError, did_you_mean

VIEWS = {"none": 1, "flips": 4, "d4": 8, "8rot": 8}
"""Number of views by name: ``flips`` is the image and its horizontal, vertical and double flip,
``d4`` the eight symmetries of the square, ``8rot`` the rotations by multiples of 45°."""


def check_tta(name: str) -> None:
    """Refuse an unknown kind of test-time augmentation.

    Raises:
        ConfigError: the name is none of :data:`VIEWS`.
    """
    if name not in VIEWS:
        hint = did_you_mean(name, VIEWS)
        raise ConfigError(f"--tta is {name!r}, but must be one of {', '.join(VIEWS)}.{hint}")


@dataclass(frozen=True, slots=True)
class Views:
    """Maker of the views of a batch.

    Args:
        name: One of :data:`VIEWS`.
        mean: Channel means of the normalisation in 0–1 units.
        std: Channel standard deviations in 0–1 units.

    Raises:
        ConfigError: an unknown name.
    """

    name: str = "none"
    mean: Sequence[float] = (0.0, 0.0, 0.0)
    std: Sequence[float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        check_tta(self.name)

    def __len__(self) -> int:
        """Return the number of views."""
        return VIEWS[self.name]

    def __call__(self, images: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield the views of normalised images, one batch after the other.

        Args:
            images: float ``(N, 3, H, H)``; the first view is this very tensor.

        Raises:
            ConfigError: quarter turns of images that are not square.
        """
        if self.name in ("d4", "8rot") and images.shape[2] != images.shape[3]:
            raise ConfigError(
                f"--tta {self.name} needs square images, found {tuple(images.shape[2:])}."
            )
        if self.name == "flips":
            yield from _each(images, ((), (3,), (2,), (2, 3)))
        elif self.name == "d4":
            yield from _each(images, ((), (3,), (2,), (2, 3)))
            yield from _each(images.transpose(2, 3), ((), (3,), (2,), (2, 3)))
        elif self.name == "8rot":
            black = [-mean / std for mean, std in zip(self.mean, self.std, strict=True)]
            for eighth in range(8):
                yield rotate(images, 45 * eighth, fill=black)
        else:
            yield images


def _each(images: torch.Tensor, flips: Sequence[tuple[int, ...]]) -> Iterator[torch.Tensor]:
    for dims in flips:
        yield _like_loader(images.flip(dims)) if dims else _like_loader(images)


def _like_loader(images: torch.Tensor) -> torch.Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def rotate(images: torch.Tensor, degrees: int, *, fill: Sequence[float]) -> torch.Tensor:
    """Rotate square images counter-clockwise about their centre.

    Multiples of 90° move pixels and are exact (:func:`torch.rot90`); other angles resample
    bilinearly.

    Args:
        images: float ``(N, C, H, H)``.
        degrees: The angle.
        fill: C values for what lies outside the image.
    """
    if degrees % 360 == 0:
        return images
    if degrees % 90 == 0:
        return _like_loader(torch.rot90(images, degrees // 90, dims=(2, 3)))
    return _like_loader(_resample(images, degrees, fill))


def _resample(images: torch.Tensor, degrees: float, fill: Sequence[float]) -> torch.Tensor:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # From places in the result to places in the source, x right and y down, centre at 0: a
    # counter-clockwise turn is looked up clockwise.
    matrix = torch.tensor([[[cosine, -sine, 0.0], [sine, cosine, 0.0]]], dtype=torch.float64)
    shape = [1, 1, *images.shape[2:]]
    grid = functional.affine_grid(matrix, shape, align_corners=False)
    grid = grid.to(images).expand(len(images), -1, -1, -1)
    # Zeros are the only constant that grid_sample pads with: move the fill there and back.
    black = torch.tensor(fill, dtype=images.dtype, device=images.device).reshape(1, -1, 1, 1)
    turned = functional.grid_sample(
        images - black, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return turned + black
