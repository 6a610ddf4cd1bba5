"""The nine steps with DALI, on a batch, one operator or a few for each: ``exact``.

The same graph runs on ``cpu`` and ``gpu``. What differs from sample to sample comes in as
nodes on the CPU (named arguments are CPU inputs on both devices); ``params`` below maps the
names of ``lowering.param_names("exact")`` to them. ``reference.py`` has the same functions
in the same order, ``fused.py`` does the same with fewer operators.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastleuk.augment.appliers.lowering import JITTER_SLOTS
from fastleuk.augment.matrices import GREY
from fastleuk.errors import MissingDependencyError

try:
    from nvidia.dali import fn, math, pipeline_def, types
    from nvidia.dali.data_node import DataNode
    from nvidia.dali.pipeline import Pipeline, do_not_convert

    from fastleuk.augment.appliers.dali_names import (
        Iterations,
        define_outside_branches,
        find_readers,
        merge,
        split,
        warp_perspective,
    )
except ImportError as error:
    raise MissingDependencyError(
        f"NVIDIA DALI can't be imported ({error}); it exists for Linux on x86-64 and aarch64 "
        "(pip install nvidia-dali-cuda120). Elsewhere use the torchvision loader or "
        'applier="reference".'
    ) from error

__all__ = [
    "DataNode",
    "Iterations",
    "Pipeline",
    "define_outside_branches",
    "do_not_convert",
    "find_readers",
    "fn",
    "math",
    "merge",
    "pipeline_def",
    "split",
    "types",
    "warp_perspective",
]

Params = dict[str, Any]  # name -> DataNode
HUE_PARAMS = ("hue", "hue_complement", "hue_red", "hue_green", "hue_blue")


def resize(images: DataNode, size: int) -> DataNode:
    """Any size to ``size`` x ``size``, linear with antialiasing; that size passes unchanged."""

    def step(images: DataNode) -> DataNode:
        return fn.resize(images, size=(size, size), interp_type=types.INTERP_LINEAR, antialias=True)

    shape = images.shape()
    return apply_where((shape[0] != size) | (shape[1] != size), step, images)


def hflip(images: DataNode, params: Params) -> DataNode:
    """Mirror left and right."""
    return fn.flip(images, horizontal=params["hflip"], vertical=0)


def vflip(images: DataNode, params: Params) -> DataNode:
    """Mirror top and bottom."""
    return fn.flip(images, horizontal=0, vertical=params["vflip"])


def rotate(images: DataNode, params: Params) -> DataNode:
    """Turn by ``angle`` degrees counter-clockwise about the centre."""
    return apply_where(params["rotate_on"], warp(params["interpolation"]), images, params["rotate"])


def color_jitter(images: DataNode, params: Params) -> DataNode:
    """Brightness, contrast, saturation and hue in the order that was drawn."""
    return interleaved(jitter_planes(planar(images), params))


def jitter_planes(
    images: DataNode, params: Params, mean_of: Callable[[DataNode], DataNode] | None = None
) -> DataNode:
    """Jitter float ``(3, H, W)`` levels, clipped after each step that could leave 0 to 255.

    Planes, because arithmetic on them is twice as fast as on pixels.

    Args:
        images: ``(3, H, W)`` float.
        params: Of :func:`fastleuk.augment.appliers.lowering.exact_arrays`.
        mean_of: Selects the part whose mean gray is the pivot of contrast; by default all.
    """
    hue = tuple(params[name] for name in HUE_PARAMS)
    for slot in range(JITTER_SLOTS):
        # For each sample, by the step that has its turn in this slot:
        #   if step == "hue": adjust_hue
        #   elif step == "saturation": _adjust_saturation
        #   elif step == "contrast": _adjust_contrast
        #   else: _adjust_brightness, by 1 where hue or saturation has its turn and is neutral
        saturation = (params[f"saturate_{slot}"], params["saturation"])
        contrast = (params[f"contrast_{slot}"], params[f"pivot_{slot}"])

        def adjust_other(
            images: DataNode,
            saturate: DataNode,
            saturation: DataNode,
            factor: DataNode,
            contrast: DataNode,
            pivot: DataNode,
        ) -> DataNode:
            return apply_either(
                saturate,
                _adjust_saturation,
                (images, saturation),
                adjust_brightness_or_contrast,
                (images, factor, contrast, pivot),
            )

        def adjust_brightness_or_contrast(
            images: DataNode, factor: DataNode, contrast: DataNode, pivot: DataNode
        ) -> DataNode:
            return apply_either(
                contrast,
                lambda images, factor, pivot: _adjust_contrast(images, factor, pivot, mean_of),
                (images, factor, pivot),
                _adjust_brightness,
                (images, factor),
            )

        images = apply_either(
            params[f"shift_hue_{slot}"],
            adjust_hue,
            (images, *hue),
            adjust_other,
            (images, *saturation, params[f"factor_{slot}"], *contrast),
        )
    return images


def _adjust_brightness(images: DataNode, factor: DataNode) -> DataNode:
    return math.min(images * to_device_of(factor, images), 255.0)


def _adjust_contrast(
    images: DataNode,
    factor: DataNode,
    pivot: DataNode,
    mean_of: Callable[[DataNode], DataNode] | None,
) -> DataNode:
    """Blend with the image's mean gray, whose share ``pivot`` has in it."""
    of = images if mean_of is None else mean_of(images)
    mean = fn.reshape(fn.reductions.mean(of, axes=(1, 2)), shape=(1, 3))
    offset = fn.reshape(fn.coord_transform(mean, M=pivot), shape=(1, 1, 1))
    return clip(images * to_device_of(factor, images) + offset)


def _adjust_saturation(images: DataNode, factor: DataNode) -> DataNode:
    """Blend with each pixel's grey."""
    factor = to_device_of(factor, images)
    red, green, blue = (plane(images, [channel]) for channel in range(3))
    weights = [float(weight) for weight in GREY]
    grey = (red * weights[0] + green * weights[1] + blue * weights[2]) * (1.0 - factor)
    return fn.cat(*[clip(channel * factor + grey) for channel in (red, green, blue)], axis=0)


def adjust_hue(
    images: DataNode, k: DataNode, complement: DataNode, *channels: DataNode
) -> DataNode:
    """HSV hue shift, exactly; see :func:`fastleuk.augment.matrices.hue_shift`."""
    k, complement = to_device_of(k, images), to_device_of(complement, images)
    red, green, blue = (plane(images, channel) for channel in channels)
    low, high = math.min(red, green), math.max(red, green)
    least, greatest = math.min(low, blue), math.max(high, blue)
    middle = math.max(low, math.min(high, blue)) * complement
    own = [plane * (complement + 1.0) - middle for plane in (red, green, blue)]
    red, green, blue = red * k, green * k, blue * k
    slopes = [blue - green, red - blue, green - red]
    shifted = [x + slope for x, slope in zip(own, slopes, strict=True)]
    return fn.cat(*[math.min(math.max(x, least), greatest) for x in shifted], axis=0)


def resized_crop(images: DataNode, params: Params) -> DataNode:
    """Cut ``crop`` out and enlarge it to the full size."""

    def step(images: DataNode, start: DataNode, shape: DataNode, matrix: DataNode) -> DataNode:
        cut = fn.slice(images, start=start, shape=shape, axes=(0, 1))
        # a crop is never larger than the image, so this is an enlargement: no antialiasing
        return warp_perspective(
            cut, matrix=matrix, size=(params["size"], params["size"]), border_mode="replicate"
        )

    nodes = (params["crop_start"], params["crop_shape"], params["crop"])
    return apply_where(params["crop_on"], step, images, *nodes)


def affine(images: DataNode, params: Params) -> DataNode:
    """Shift, zoom and shear about the centre."""
    return apply_where(params["affine_on"], warp(params["interpolation"]), images, params["affine"])


def gaussian_blur(images: DataNode, params: Params) -> DataNode:
    """Blur with a ``kernel_size`` x ``kernel_size`` Gaussian."""
    return fn.filter(images, params["blur"], border="reflect_101")


def adjust_sharpness(images: DataNode, params: Params) -> DataNode:
    """Blend with a smoothed copy; unlike torchvision's, the outermost pixels too."""

    def step(images: DataNode, kernel: DataNode) -> DataNode:
        return clip(fn.filter(images, kernel, border="clamp"))

    return apply_where(params["sharpness_on"], step, images, params["sharpness"])


def perspective(images: DataNode, params: Params) -> DataNode:
    """Move the corners to ``endpoints``."""
    return apply_where(params["perspective_on"], warp("bilinear"), images, params["perspective"])


CHAIN = (
    hflip,
    vflip,
    rotate,
    color_jitter,
    resized_crop,
    affine,
    gaussian_blur,
    adjust_sharpness,
    perspective,
)
"""The nine steps in the order of the paper."""


def warp(interpolation: str) -> Callable[[DataNode, DataNode], DataNode]:
    """A resampling by homographies from destination to source, black outside."""
    mode = types.INTERP_NN if interpolation == "nearest" else types.INTERP_LINEAR

    def step(images: DataNode, matrix: DataNode) -> DataNode:
        return warp_perspective(images, matrix=matrix, interp_type=mode)

    return step


def planar(images: DataNode) -> DataNode:
    """HWC to float CHW; several times faster than ``fn.transpose``."""
    return fn.crop_mirror_normalize(images, output_layout="CHW", dtype=types.FLOAT)


def interleaved(images: DataNode) -> DataNode:
    """CHW to float HWC."""
    return fn.crop_mirror_normalize(images, output_layout="HWC", dtype=types.FLOAT)


def plane(images: DataNode, channel: DataNode | list[int]) -> DataNode:
    """One channel of CHW images: ``(1, H, W)``."""
    return fn.slice(images, start=channel, shape=[1], axes=[0])


def clip(images: DataNode) -> DataNode:
    """Levels below 0 become 0, above 255 become 255."""
    return math.min(math.max(images, 0.0), 255.0)  # three times as fast as math.clamp


def to_device_of(scalar: DataNode, images: DataNode) -> DataNode:
    """Arithmetic wants both operands on the same device."""
    return scalar.gpu() if images.device == "gpu" else scalar


def apply_where(
    predicate: DataNode, step: Callable[..., DataNode], images: DataNode, *nodes: DataNode
) -> DataNode:
    """Run ``step`` on the samples where ``predicate`` is true; the others pass unchanged."""
    chosen, others = split(predicate, (images, *nodes))
    return merge(predicate, step(*chosen), others[0])


def apply_either(
    predicate: DataNode,
    step: Callable[..., DataNode],
    nodes: tuple[DataNode, ...],
    otherwise: Callable[..., DataNode],
    other_nodes: tuple[DataNode, ...],
) -> DataNode:
    """Run ``step`` on the samples where ``predicate`` is true and ``otherwise`` on the others."""
    chosen, _ = split(predicate, nodes)
    _, others = split(predicate, other_nodes)
    return merge(predicate, step(*chosen), otherwise(*others))
