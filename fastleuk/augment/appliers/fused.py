"""The nine steps with DALI, compiled into few operators: ``fused``.

Resize, flips, rotation and crop are one homography, applied to the source's own pixels. The
affine step is a second and the perspective, where it is on, a third, because what lies beyond
the crop and beyond the canvas must be black. Blur and sharpness are one correlation.
Brightness, contrast and saturation are one affine map of RGB, once the image's mean colour is
known. A hue shift is not, but the linear map that is nearest to it on the colours of the very
image is near indeed, and it is fitted to a few hundred of the image's pixels inside the graph.
The map is clipped once, at its end, where torchvision clips after each of the four steps.
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
    math,
    perspective,
    planar,
    plane,
    resize_large,
    to_device_of,
    types,
    warp,
    warp_perspective,
)
from fastleuk.augment.appliers.lowering import HUE_SAMPLE, MEAN_SAMPLE
from fastleuk.augment.sampling import BOX_RATIO


def geometry_and_colour(images: DataNode, params: Params) -> DataNode:
    """Both flips, rotation and crop, then the jitter.

    Args:
        images: ``(H, W, 3)`` uint8, any size.
        params: Of :func:`fastleuk.augment.appliers.lowering.fused_arrays`.

    Returns:
        ``(size, size, 3)`` float levels, 0 to 255.
    """
    size = params["size"]
    homographies = [params[name] for name in ("mean_points", "hue_points", "before")]
    if not params["resized"]:
        images = resize_large(images, size)
        scale = _edges(images) / float(size)
        homographies = [_scaled(matrix, scale) for matrix in homographies]
    mean_points, hue_points, before = homographies
    columns = colour_columns(
        _sample(images, MEAN_SAMPLE, mean_points), _sample(images, HUE_SAMPLE, hue_points), params
    )
    if params["resized"]:
        return clip(recolour(_sample_canvas(images, before, params), columns, params["device"]))
    images = _sample_sources(images, before, scale, size)
    return clip(_blacken_and_recolour(images, columns, params))


def _sample_canvas(images: DataNode, before: DataNode, params: Params) -> DataNode:
    """Sample images of the output's size: black is beyond those that are rotated only."""
    edges = (params["size"], params["size"])
    return apply_either(
        params["edge_seen"],
        lambda image, matrix: warp_perspective(image, matrix=matrix, size=edges),
        (images, before),
        lambda image, matrix: warp_perspective(
            image, matrix=matrix, size=edges, border_mode="replicate"
        ),
        (images, before),
    )


def _sample_sources(images: DataNode, before: DataNode, scale: DataNode, size: int) -> DataNode:
    """Sample images of any size as :mod:`fastleuk.augment.sampling` says, but for the black."""
    shape = images.shape()
    boxed = math.max(shape[0], shape[1]) > BOX_RATIO * size
    halves = 0.5 * fn.cast(scale > BOX_RATIO, dtype=types.FLOAT)  # (2, 1): of columns, of rows
    across = fn.cat(halves[0:1], 1.0 - halves[0:1], axis=1)
    down = fn.cat(halves[1:2], 1.0 - halves[1:2], axis=0)
    images = apply_where(boxed, _average_in_twos, images, down * across)
    # Averaged in twos, a pixel stands for the edge between two: half a pixel before its place.
    before += fn.cat(halves * before[2:3], before[2:3] * 0.0, axis=0)
    return warp_perspective(images, matrix=before, size=(size, size), border_mode="replicate")


def _blacken_and_recolour(images: DataNode, columns: DataNode, params: Params) -> DataNode:
    """Where ``before`` leads out of the image, put black before the jitter; then the jitter."""
    size, device = params["size"], params["device"]

    def blacken(images: DataNode, columns: DataNode, before: DataNode) -> DataNode:
        covered = warp_perspective(_ones(images, before, size), matrix=before, size=(size, size))
        return recolour(images * covered, columns, device)

    return apply_either(
        params["edge_seen"],
        blacken,
        (images, columns, params["before"]),
        lambda images, columns: recolour(images, columns, device),
        (images, columns),
    )


def _ones(images: DataNode, before: DataNode, size: int) -> DataNode:
    """``(size, size, 1)`` on the device of ``images``: warped, the share of a pixel on the image.

    Args:
        images: ``(size, size, 3)``.
        before: ``(3, 3)``, affine: its last number is 1.
        size: As above.
    """
    if images.device == "gpu":
        return fn.slice(images, start=[0], shape=[1], axes=[2]) * 0.0 + 1.0
    return fn.full(before[2, 2], shape=[size, size, 1])


def _average_in_twos(images: DataNode, weights: DataNode) -> DataNode:
    """Each pixel with its neighbours above and to the left."""
    return fn.filter(images, weights, anchor=[1, 1], border="clamp")


def _scaled(matrix: DataNode, scale: DataNode) -> DataNode:
    """From a homography into the ``size`` x ``size`` image to one into the image as it is."""
    return fn.cat(matrix[0:2] * scale, matrix[2:3], axis=0)


def _edges(images: DataNode) -> DataNode:
    """``(2, 1)``: width and height in pixels, float."""
    shape = fn.cast(images.shape(), dtype=types.FLOAT)
    return fn.reshape(fn.cat(shape[1:2], shape[0:1], axis=0), shape=(2, 1))


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
