"""The nine steps with DALI, compiled into few operators: ``fused``.

Flips, rotation and crop are one homography. The affine step is a second and the perspective, where
it is on, a third, because what lies beyond the crop and beyond the canvas must be black.
Blur and sharpness are one correlation. Brightness, contrast and saturation are one affine map of
RGB, once the image's mean colour is known. A hue shift is not, but the linear map that is nearest
to it on the colours of the very image is near indeed, and it is fitted to a few hundred of the
image's pixels inside the graph. The map is clipped once, at its end, where torchvision clips after
each of the four steps.
"""

from __future__ import annotations

from fastleuk.augment.appliers.exact import (
    HUE_PARAMS,
    DataNode,
    Params,
    adjust_hue,
    apply_either,
    apply_where,
    clip,
    fn,
    perspective,
    planar,
    plane,
    to_device_of,
    warp,
    warp_perspective,
)
from fastleuk.augment.appliers.lowering import HUE_SAMPLE, MEAN_SAMPLE


def geometry_and_colour(images: DataNode, params: Params) -> DataNode:
    """Both flips, rotation and crop, then the jitter.

    Args:
        images: ``(size, size, 3)`` uint8.
        params: Of :func:`fastleuk.augment.appliers.lowering.fused_arrays`.

    Returns:
        ``(size, size, 3)`` float levels, 0 to 255.
    """
    columns = colour_columns(
        _sample(images, MEAN_SAMPLE, params["mean_points"]),
        _sample(images, HUE_SAMPLE, params["hue_points"]),
        params,
    )
    images = apply_either(  # black beyond the edges of those that are rotated
        params["edge_seen"],
        lambda image, matrix: warp_perspective(image, matrix=matrix),
        (images, params["before"]),
        lambda image, matrix: warp_perspective(image, matrix=matrix, border_mode="replicate"),
        (images, params["before"]),
    )
    return clip(recolour(images, columns, params["device"]))


def affine_and_filter(images: DataNode, params: Params) -> DataNode:
    """The affine step, then blur and sharpness as one correlation."""
    images = warp("bilinear")(images, params["affine"])
    images = fn.filter(images, params["kernel"], border="reflect_101")
    return apply_where(params["sharpness_on"], clip, images)


CHAIN = (geometry_and_colour, affine_and_filter, perspective)
"""Cut where an edge becomes black: of the crop, and of the canvas before the perspective."""


def colour_columns(mean_sample: DataNode, hue_sample: DataNode, params: Params) -> DataNode:
    """The affine map of RGB that the jitter comes to on this very image.

    Args:
        mean_sample: ``(h, w, 3)`` uint8: pixels from all over the image before any step; as
            torchvision's, the mean is that of the whole image, not of the crop.
        hue_sample: Fewer of them.
        params: Of :func:`fastleuk.augment.appliers.lowering.fused_arrays`.

    Returns:
        ``(4, 3)``: where red, green and blue go, and the offset.
    """
    mean = fn.reshape(fn.reductions.mean(mean_sample, axes=(0, 1)), shape=(3, 1))
    hue = fit_hue(hue_sample, params)
    of_pixel, of_mean = (
        fn.coord_transform(
            fn.transpose(fn.coord_transform(hue, M=params[f"pre{of}"]), perm=(1, 0)),
            M=params[f"post{of}"],
        )
        + to_device_of(params[f"base{of}"], mean)
        for of in ("", "_mean")
    )
    offset = fn.reductions.sum((of_mean - of_pixel) * mean, axes=0, keep_dims=True)
    return fn.cat(of_pixel, offset, axis=0)


def fit_hue(sample: DataNode, params: Params) -> DataNode:
    """What the hue shift adds to the permutation, as a linear map of RGB: ``(3, 3)``.

    The shift leaves grey alone, so each channel's change is fitted, by least squares, to red
    minus green and green minus blue.
    """
    sample = planar(sample)
    channels = [plane(sample, [channel]) for channel in range(3)]
    turned = fn.cat(*[plane(sample, params[name]) for name in HUE_PARAMS[2:]], axis=0)
    change = adjust_hue(sample, *(params[name] for name in HUE_PARAMS)) - turned
    first, second = channels[0] - channels[1], channels[1] - channels[2]
    aa, bb, ab = (_total(x * y) for x, y in ((first, first), (second, second), (first, second)))
    a, b = _total(change * first), _total(change * second)
    ridge = (aa + bb) * 1e-4 + 1e-3  # where all colours lie on one line, or all are grey
    aa, bb = aa + ridge, bb + ridge
    determinant = aa * bb - ab * ab
    a, b = (a * bb - b * ab) / determinant, (b * aa - a * ab) / determinant
    return fn.cat(a, b - a, -b, axis=1)


def _sample(images: DataNode, edge: int, homography: DataNode) -> DataNode:
    """``edge`` x ``edge`` colours from all over the image."""
    return warp_perspective(images, matrix=homography, size=(edge, edge))


def _total(planes: DataNode) -> DataNode:
    """``(C, H, W)`` to ``(C, 1)``: the sum over each plane."""
    return fn.reductions.sum(fn.reductions.sum(planes, axes=2), axes=1, keep_dims=True)


def recolour(images: DataNode, columns: DataNode, device: str) -> DataNode:
    """Map every pixel by its image's affine map of RGB.

    Args:
        images: ``(H, W, 3)``.
        columns: ``(4, 3)``, see :func:`colour_columns`.
        device: ``cpu`` or ``gpu``, where both are.
    """
    if device == "gpu":  # where no operator takes a matrix that is on the GPU as argument
        return recolour_by_arithmetic(images, columns)
    return fn.coord_transform(images, MT=fn.transpose(columns, perm=(1, 0)))


def recolour_by_arithmetic(images: DataNode, columns: DataNode) -> DataNode:
    """As :func:`recolour`, by multiplying and adding planes."""
    red, green, blue, offset = (
        fn.reshape(fn.slice(columns, start=[j], shape=[1], axes=[0]), shape=(1, 1, 3))
        for j in range(4)
    )
    planes = [fn.slice(images, start=[j], shape=[1], axes=[2]) for j in range(3)]
    return planes[0] * red + planes[1] * green + planes[2] * blue + offset
