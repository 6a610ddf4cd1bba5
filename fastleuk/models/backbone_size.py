"""Which sizes of images a backbone takes: tried on torch's meta device, which computes nothing."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastleuk.errors import ConfigError, FastleukError
from fastleuk.models.backbone_build import build, first_line

if TYPE_CHECKING:
    from torch import nn

_STEPS = (7, 8, 14, 16, 32, 56, 64, 128)
"""Patches and windows of transformers: sizes that work are searched among their multiples."""

_SHOWN, _TRIED = 4, 12


@functools.lru_cache(maxsize=256)
def size_arguments(backbone: str, size: int, *, images: int = 2) -> Mapping[str, Any]:
    """Return what timm must be told for the network to take images of ``size``, which is tried.

    Networks with position embeddings, windows or other weights that know the grid are built for
    one size: timm builds most of them for another one by ``img_size``. At its own size, and where
    any size goes through, a network is built as ever.

    Args:
        backbone: Name, see :func:`fastleuk.models.backbone_build.check_backbone`.
        size: Side of the images in pixels.
        images: Of a training batch.

    Returns:
        ``{}`` or ``{"img_size": size}``.

    Raises:
        ConfigError: no such image goes through; the message names sizes that work.
    """
    config: Mapping[str, Any] = getattr(_built(backbone), "pretrained_cfg", {})
    own = own_size(config)
    ways: list[dict[str, Any]] = [{}] if own == size else [{}, {"img_size": size}]
    if config.get("fixed_input_size"):
        ways.reverse()
    problems = []
    for way in ways:
        problem = _problem(backbone, size, way, images)
        if not problem:
            return way
        problems.append(problem)
    problem = next((text for text in problems if "img_size" not in text), problems[0])
    alone = images == 1 and not _problem(backbone, size, ways[0], 2)
    if alone:
        raise ConfigError(
            f"--batch-size 1: at --size {size} {backbone} normalises a batch of one image by "
            f"itself, which can't be trained ({problem}). Use --batch-size 2 or more."
        )
    raise ConfigError(
        f"--size {size}: timm's {backbone} can't be trained on images of {size} pixels "
        f"({problem}). {_others(backbone, size, own, images)}"
    )


def own_size(config: Mapping[str, Any]) -> int:
    """Return the side that timm's configuration of the weights names."""
    return int(config.get("input_size", (3, 224, 224))[-1])


def unseen_pixels(backbone: str, size: int) -> tuple[int, int]:
    """Return how many pixels at the right and the lower edge fall out of the grid of patches.

    Returns:
        Their number and the patch's side: 4 and 16 for a ViT/16 at 100 pixels; (0, 0) where the
        network has no patches, or fills the last one up.
    """
    patches = getattr(_built(backbone, **size_arguments(backbone, size)), "patch_embed", None)
    side = getattr(patches, "patch_size", None)
    side = side[0] if isinstance(side, (tuple, list)) and side else side
    if not isinstance(side, int) or getattr(patches, "dynamic_img_pad", False):
        return 0, 0
    return size % side, side


@functools.lru_cache(maxsize=64)
def _built(backbone: str, **arguments: Any) -> nn.Module:
    import torch

    with torch.device("meta"):
        model = build(backbone, num_classes=2, **arguments)
        return model.to(memory_format=torch.channels_last)


def _problem(backbone: str, size: int, arguments: dict[str, Any], images: int) -> str:
    """Return why a batch can't go through in evaluation and in training; empty if it can."""
    import torch

    try:
        with torch.device("meta"), torch.no_grad():
            model = _built(backbone, **arguments)
            # As in training, where a network's own views of an image may not bear the layout.
            batch = torch.empty(images, 3, size, size).to(memory_format=torch.channels_last)
            for training in (False, True):
                found = model.train(training)(batch)
                if not isinstance(found, torch.Tensor) or tuple(found.shape) != (images, 2):
                    return f"it gives {_described(found)} instead of logits of the classes"
    except FastleukError:
        raise
    except Exception as error:  # whatever a network's own code asserts or computes
        return first_line(error)
    return ""


def _described(found: Any) -> str:
    shape = getattr(found, "shape", None)
    return type(found).__name__ if shape is None else f"a tensor of {tuple(shape)}"


def _others(backbone: str, size: int, own: int, images: int) -> str:
    """Name sizes near ``size`` that work, and the network's own."""
    near = {size // step * step + up for step in _STEPS for up in (0, step)} | {own}
    candidates = sorted(
        (s for s in near if s >= 16 and s != size), key=lambda s: (abs(s - size), s)
    )
    working = []
    for candidate in [own, *(s for s in candidates if s != own)][:_TRIED]:
        ways: list[dict[str, Any]] = [{"img_size": candidate}, {}]
        if any(not _problem(backbone, candidate, way, images) for way in ways):
            working.append(candidate)
        if len(working) == _SHOWN:
            break
    if not working:
        return "No size was found that works: use another --backbone."
    named = ", ".join(f"{s} (its own)" if s == own else str(s) for s in sorted(working))
    return f"Sizes that work: --size {named}."
