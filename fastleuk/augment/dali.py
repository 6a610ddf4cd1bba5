"""The nine steps with DALI, on a batch, one operator or a few for each: ``exact``.

The same graph runs on ``cpu`` and ``gpu``. What differs from sample to sample comes in as
nodes on the CPU (named arguments are CPU inputs on both devices); ``params`` below maps the
names of ``lowering.param_names("exact")`` to them. ``reference.py`` has the same functions
in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastleuk.augment.lowering import JITTER_SLOTS, param_names
from fastleuk.errors import ConfigError, MissingDependencyError

try:
    from nvidia.dali import fn, math, types
    from nvidia.dali.data_node import DataNode
except ImportError as error:
    raise MissingDependencyError(
        f"NVIDIA DALI can't be imported ({error}); it exists for Linux on x86-64 and aarch64 "
        "(pip install nvidia-dali-cuda120). Elsewhere use the torchvision loader or "
        'applier="reference".'
    ) from error

Params = dict[str, Any]  # name -> DataNode

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def resize(images: DataNode, size: int) -> DataNode:
    """Any size to ``size`` x ``size``, linear with antialiasing."""
    return fn.resize(images, size=(size, size), interp_type=types.INTERP_LINEAR, antialias=True)


def hflip(images: DataNode, params: Params) -> DataNode:
    """Mirror left and right."""
    return fn.flip(images, horizontal=params["hflip"], vertical=0)


def vflip(images: DataNode, params: Params) -> DataNode:
    """Mirror top and bottom."""
    return fn.flip(images, horizontal=0, vertical=params["vflip"])


def rotate(images: DataNode, params: Params) -> DataNode:
    """Turn by ``angle`` degrees counter-clockwise about the centre."""
    return _where(params["rotate_on"], _warp(params["interpolation"]), images, params["rotate"])


def color_jitter(images: DataNode, params: Params) -> DataNode:
    """Brightness, contrast, saturation and hue in the order that was drawn."""
    images = fn.cast(images, dtype=types.FLOAT)
    for slot in range(JITTER_SLOTS):
        images = _where_else(
            params[f"shift_hue_{slot}"],
            _adjust_hue,
            (images, params["hue"], params["hue_weight"]),
            _adjust_other,
            (
                images,
                params[f"saturate_{slot}"],
                params["saturation"],
                params[f"factor_{slot}"],
                params[f"pivot_{slot}"],
            ),
        )
    return images


def _adjust_hue(images: DataNode, matrix: DataNode, weight: DataNode) -> DataNode:
    """HSV hue shift, exactly; see :func:`fastleuk.augment.matrices.hue_matrix`."""
    least = fn.reductions.min(images, axes=2, keep_dims=True)
    greatest = fn.reductions.max(images, axes=2, keep_dims=True)
    shifted = fn.coord_transform(images, M=matrix)
    shifted += (least + greatest) * _beside(weight, images)
    return math.min(math.max(shifted, least), greatest)


def _adjust_other(
    images: DataNode, saturate: DataNode, matrix: DataNode, factor: DataNode, pivot: DataNode
) -> DataNode:
    return _where_else(
        saturate, _adjust_saturation, (images, matrix), _adjust_linear, (images, factor, pivot)
    )


def _adjust_saturation(images: DataNode, matrix: DataNode) -> DataNode:
    return _clip(fn.coord_transform(images, M=matrix))


def _adjust_linear(images: DataNode, factor: DataNode, pivot: DataNode) -> DataNode:
    """Brightness, or contrast about the image's mean grey (``pivot`` is 0 for brightness)."""
    mean = fn.reductions.mean(images, axes=(0, 1), keep_dims=True)
    return _clip(images * _beside(factor, images) + fn.coord_transform(mean, M=pivot))


def resized_crop(images: DataNode, params: Params) -> DataNode:
    """Cut ``crop`` out and enlarge it to the full size."""

    def step(images: DataNode, start: DataNode, shape: DataNode, matrix: DataNode) -> DataNode:
        cut = fn.slice(images, start=start, shape=shape, axes=(0, 1))
        # a crop is never larger than the image, so this is an enlargement: no antialiasing
        return fn.experimental.warp_perspective(
            cut, matrix=matrix, size=(params["size"], params["size"]), border_mode="replicate"
        )

    nodes = (params["crop_start"], params["crop_shape"], params["crop"])
    return _where(params["crop_on"], step, images, *nodes)


def affine(images: DataNode, params: Params) -> DataNode:
    """Shift, zoom and shear about the centre."""
    return _where(params["affine_on"], _warp(params["interpolation"]), images, params["affine"])


def gaussian_blur(images: DataNode, params: Params) -> DataNode:
    """Blur with a ``kernel_size`` x ``kernel_size`` Gaussian."""
    return fn.filter(images, params["blur"], border="reflect_101")


def adjust_sharpness(images: DataNode, params: Params) -> DataNode:
    """Blend with a smoothed copy; unlike torchvision's, the outermost pixels too."""

    def step(images: DataNode, kernel: DataNode) -> DataNode:
        return _clip(fn.filter(images, kernel, border="clamp"))

    return _where(params["sharpness_on"], step, images, params["sharpness"])


def perspective(images: DataNode, params: Params) -> DataNode:
    """Move the corners to ``endpoints``."""
    return _where(params["perspective_on"], _warp("bilinear"), images, params["perspective"])


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


def apply_graph(
    images: DataNode,
    param_nodes: Sequence[DataNode],
    *,
    size: int,
    applier: str = "exact",
    interpolation: str = "bilinear",
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    layout: str = "HWC",
    dtype: types.DALIDataType = types.FLOAT,
    device: str = "cpu",
    normalize: bool = True,
) -> DataNode:
    """Resize, augment and normalise, inside a pipeline definition.

    Args:
        images: ``(H, W, 3)`` uint8 RGB of any size, on ``device``.
        param_nodes: The outputs of an ``external_source`` on the CPU that is fed with
            :func:`fastleuk.augment.param_arrays` of the same applier.
        size: Edge of the output in pixels; the same that the parameters were drawn for.
        applier: ``exact`` or ``fused``.
        interpolation: ``policy.interpolation``; ``fused`` knows ``bilinear`` only.
        mean: For each channel, in units of the range 0-1 (as timm has it).
        std: Likewise.
        layout: ``HWC`` or ``CHW``.
        dtype: ``types.FLOAT`` or ``types.FLOAT16``.
        device: ``cpu`` or ``gpu``: where ``images`` are.
        normalize: If false, the values are levels from 0 to 255 (float).

    Returns:
        ``(size, size, 3)`` or ``(3, size, size)``.

    Raises:
        ConfigError: if an argument is not one of those named, or nodes are missing.
    """
    names = param_names(applier)
    _check_arguments(param_nodes, names, layout, dtype, device, interpolation, (mean, std))
    params: Params = dict(zip(names, param_nodes, strict=True))
    params |= {"size": size, "interpolation": interpolation}
    images = resize(images, size)
    for step in CHAIN:
        images = step(images, params)
    return _finish(images, mean, std, layout, dtype, normalize)


def _finish(
    images: DataNode,
    mean: Sequence[float],
    std: Sequence[float],
    layout: str,
    dtype: types.DALIDataType,
    normalize: bool,
) -> DataNode:
    images = fn.crop_mirror_normalize(
        images,
        mean=[255 * m for m in mean] if normalize else 0.0,
        std=[255 * s for s in std] if normalize else 1.0,
        output_layout=layout,
        dtype=types.FLOAT,
    )
    # cast last: normalising in half precision costs 2e-3 on the GPU
    return images if dtype == types.FLOAT else fn.cast(images, dtype=dtype)


def _check_arguments(
    nodes: Sequence[DataNode],
    names: tuple[str, ...],
    layout: str,
    dtype: types.DALIDataType,
    device: str,
    interpolation: str,
    moments: tuple[Sequence[float], Sequence[float]],
) -> None:
    if len(nodes) != len(names):
        raise ConfigError(f"param_nodes must be the {len(names)} nodes of param_names()")
    if layout not in ("HWC", "CHW"):
        raise ConfigError(f"layout must be HWC or CHW, got {layout!r}")
    if dtype not in (types.FLOAT, types.FLOAT16):
        raise ConfigError(f"dtype must be types.FLOAT or types.FLOAT16, got {dtype}")
    if device not in ("cpu", "gpu"):
        raise ConfigError(f"device must be cpu or gpu, got {device!r}")
    if interpolation not in ("bilinear", "nearest"):
        raise ConfigError(f"interpolation must be bilinear or nearest, got {interpolation!r}")
    if any(len(moment) != 3 for moment in moments) or min(moments[1]) <= 0:
        raise ConfigError(f"mean and std must have 3 values, std above 0, got {moments}")


def _warp(interpolation: str) -> Callable[[DataNode, DataNode], DataNode]:
    """A resampling by homographies from destination to source, black outside."""
    mode = types.INTERP_NN if interpolation == "nearest" else types.INTERP_LINEAR

    def step(images: DataNode, matrix: DataNode) -> DataNode:
        return fn.experimental.warp_perspective(images, matrix=matrix, interp_type=mode)

    return step


def _clip(images: DataNode) -> DataNode:
    return math.min(math.max(images, 0.0), 255.0)  # three times as fast as math.clamp


def _beside(scalar: DataNode, images: DataNode) -> DataNode:
    """Arithmetic wants both operands on the same device."""
    return scalar.gpu() if images.device == "gpu" else scalar


def _where(
    on: DataNode, step: Callable[..., DataNode], images: DataNode, *nodes: DataNode
) -> DataNode:
    """Run ``step`` on the samples where ``on`` is true; the others pass unchanged."""
    chosen, others = _split(on, (images, *nodes))
    return fn._conditional.merge(step(*chosen), others[0], predicate=on)


def _where_else(
    on: DataNode,
    step: Callable[..., DataNode],
    nodes: tuple[DataNode, ...],
    otherwise: Callable[..., DataNode],
    other_nodes: tuple[DataNode, ...],
) -> DataNode:
    """Run ``step`` on the samples where ``on`` is true and ``otherwise`` on the others."""
    chosen, _ = _split(on, nodes)
    _, others = _split(on, other_nodes)
    return fn._conditional.merge(step(*chosen), otherwise(*others), predicate=on)


def _split(
    on: DataNode, nodes: tuple[DataNode, ...]
) -> tuple[tuple[DataNode, ...], tuple[DataNode, ...]]:
    halves = [fn._conditional.split(node, predicate=on, _if_stmt=True) for node in nodes]
    return tuple(half[0] for half in halves), tuple(half[1] for half in halves)
