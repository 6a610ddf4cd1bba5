"""The nine steps with DALI, compiled into few operators: ``fused``.

Flips, rotation and crop are one homography. The affine step is a second and the perspective, where
it is on, a third, because what lies beyond the crop and beyond the canvas must be black. Blur and
sharpness are one correlation.

Brightness, contrast and saturation are one affine map of RGB, once the image's mean color is
known. A hue shift is not, nor is the clipping after each step, but on the colors of one image a
linear map may come near. It is fitted to some of the image's pixels inside the graph, and
compared there with the jitter of ``exact``, which takes its place where they differ: on most
photographs, on bright images, with wide hue. On a GPU, where the graph can't choose by what the
image holds without a wait, the jitter is always that of ``exact``.
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
    interleaved,
    jitter_planes,
    perspective,
    planar,
    plane,
    types,
    warp,
    warp_perspective,
)
from fastleuk.augment.appliers.lowering import COLOR_MAP, JITTER, MEAN_ROWS, SAMPLE


def geometry_and_colour(images: DataNode, params: Params) -> DataNode:
    """Both flips, rotation and crop, then the jitter.

    Args:
        images: ``(size, size, 3)`` uint8.
        params: Of :func:`fastleuk.augment.appliers.lowering.fused_arrays`.

    Returns:
        ``(size, size, 3)`` float levels, 0 to 255.
    """
    canvas = apply_either(  # black beyond the edges of those that are rotated
        params["edge_seen"],
        lambda image, matrix: warp_perspective(image, matrix=matrix),
        (images, params["before"]),
        lambda image, matrix: warp_perspective(image, matrix=matrix, border_mode="replicate"),
        (images, params["before"]),
    )
    sample = None
    if params["device"] == "cpu":
        points = _matrix(params, "points")
        sample = warp_perspective(images, matrix=points, size=(SAMPLE, SAMPLE))
    return _jitter(canvas, images, _matrix(params, "mean_points"), sample, params)


def _jitter(
    canvas: DataNode,
    images: DataNode,
    mean_points: DataNode,
    sample: DataNode | None,
    params: Params,
) -> DataNode:
    """Jitter by the affine map where it is near enough, else step by step.

    Args:
        canvas: ``(size, size, 3)`` uint8 or float levels, cropped.
        images: Those it was sampled from.
        mean_points: ``(3, 3)``: from ``MEAN_ROWS`` rows of ``size`` points to ``images``. As
            torchvision's, the mean is that of the whole image, not of the crop.
        sample: ``(SAMPLE, SAMPLE, 3)`` uint8 of the whole image; on a GPU None.
        params: As above.

    Returns:
        ``(size, size, 3)`` float levels, 0 to 255.
    """
    size, exactly = params["size"], params["jitter_on"]
    if sample is not None:
        columns = colour_columns(sample, params)
        exactly = exactly & _is_far(sample, columns, params)

    def rows_below(planes: DataNode) -> DataNode:
        return fn.slice(planes, start=[size], shape=[MEAN_ROWS], axes=[1])

    def step_by_step(
        canvas: DataNode, images: DataNode, mean_points: DataNode, *jitter: DataNode
    ) -> DataNode:
        rows = warp_perspective(images, matrix=mean_points, size=(MEAN_ROWS, size))
        both = fn.cat(canvas, fn.cast_like(rows, canvas), axis=0)  # the rows take every step, too
        planes = jitter_planes(planar(both), dict(zip(JITTER, jitter, strict=True)), rows_below)
        return interleaved(fn.slice(planes, start=[0], shape=[size], axes=[1]))

    jitter = (params[name] for name in JITTER)
    nodes = (canvas, images, mean_points, *jitter)
    if sample is not None:
        return apply_either(exactly, step_by_step, nodes, _recolour, (canvas, columns))
    unchanged = lambda canvas: fn.cast(canvas, dtype=types.FLOAT)  # noqa: E731
    return apply_either(exactly, step_by_step, nodes, unchanged, (canvas,))


def _is_far(sample: DataNode, columns: DataNode, params: Params) -> DataNode:
    """Compare the affine map with the jitter's steps on the sample: bool."""
    difference = jitter_planes(planar(sample), params) - planar(_recolour(sample, columns))
    return fn.reductions.mean(difference * difference) > params["color_map"][-1, 0]


def affine_and_filter(images: DataNode, params: Params) -> DataNode:
    """The affine step, then blur and sharpness as one correlation."""
    images = warp("bilinear")(images, params["affine"])
    images = fn.filter(images, params["kernel"], border="reflect_101")
    return apply_where(params["sharpness_on"], clip, images)


CHAIN = (geometry_and_colour, affine_and_filter, perspective)
"""Cut where an edge becomes black: of the crop, and of the canvas before the perspective."""


def colour_columns(sample: DataNode, params: Params) -> DataNode:
    """The affine map of RGB that the jitter comes to on this very image.

    Args:
        sample: ``(h, w, 3)`` uint8: pixels from all over the image, before the crop.
        params: Of :func:`fastleuk.augment.appliers.lowering.fused_arrays`.

    Returns:
        ``(4, 3)``: where red, green and blue go, and the offset.
    """
    mean = fn.reshape(fn.reductions.mean(sample, axes=(0, 1)), shape=(3, 1))
    hue = fit_hue(sample, params)
    of_pixel, of_mean = (
        fn.coord_transform(
            fn.transpose(fn.coord_transform(hue, M=_matrix(params, f"pre{of}")), perm=(1, 0)),
            M=_matrix(params, f"post{of}"),
        )
        + _matrix(params, f"base{of}")
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


def _matrix(params: Params, name: str) -> DataNode:
    """One of the matrices in ``color_map``: ``(3, 3)``."""
    first = 3 * COLOR_MAP.index(name)
    return fn.slice(params["color_map"], start=[first], shape=[3], axes=[0])


def _total(planes: DataNode) -> DataNode:
    """``(C, H, W)`` to ``(C, 1)``: the sum over each plane."""
    return fn.reductions.sum(fn.reductions.sum(planes, axes=2), axes=1, keep_dims=True)


def _recolour(images: DataNode, columns: DataNode) -> DataNode:
    """Map every pixel by its image's affine map of RGB, on the CPU.

    Args:
        images: ``(H, W, 3)``.
        columns: ``(4, 3)``, see :func:`colour_columns`.

    Returns:
        ``(H, W, 3)`` float levels, 0 to 255.
    """
    return clip(fn.coord_transform(images, MT=fn.transpose(columns, perm=(1, 0))))
