"""The nine steps with torchvision, one image at a time: what the tests trust.

torchvision's functional transforms on uint8 tensors, called as its transform classes call
them (``fill=0``), with rounding to uint8 after every step. Tensors, because that is where
torchvision defines each step by a formula; on PIL images it converts hue to 8-bit HSV, whose
steps alone are up to 6 levels. ``exact.py`` has the same functions in the same order.
"""

from __future__ import annotations

import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from fastleuk.augment.params import JITTER_STEPS, AugmentParams, corners

Image = torch.Tensor  # (3, H, W) uint8
BILINEAR = InterpolationMode.BILINEAR
FILL = [0.0, 0.0, 0.0]


def resize(image: Image, size: int) -> Image:
    """Any size to ``size`` x ``size``, linear with antialiasing."""
    return F.resize(image, [size, size], BILINEAR, antialias=True)


def hflip(image: Image, params: AugmentParams, i: int) -> Image:
    """Mirror left and right."""
    return F.hflip(image) if params.hflip[i] else image


def vflip(image: Image, params: AugmentParams, i: int) -> Image:
    """Mirror top and bottom."""
    return F.vflip(image) if params.vflip[i] else image


def rotate(image: Image, params: AugmentParams, i: int) -> Image:
    """Turn by ``angle`` degrees counter-clockwise about the centre."""
    if params.angle[i] == 0:
        return image
    mode = InterpolationMode(params.interpolation)
    return F.rotate(image, float(params.angle[i]), mode, fill=FILL)


def color_jitter(image: Image, params: AugmentParams, i: int) -> Image:
    """Brightness, contrast, saturation and hue in the order that was drawn."""
    steps = {
        "brightness": (F.adjust_brightness, params.brightness[i], 1.0),
        "contrast": (F.adjust_contrast, params.contrast[i], 1.0),
        "saturation": (F.adjust_saturation, params.saturation[i], 1.0),
        "hue": (F.adjust_hue, params.hue[i], 0.0),
    }
    for number in params.jitter_order[i]:
        adjust, factor, neutral = steps[JITTER_STEPS[number]]
        if factor != neutral:
            image = adjust(image, float(factor))
    return image


def resized_crop(image: Image, params: AugmentParams, i: int) -> Image:
    """Cut ``crop`` out and enlarge it to the full size."""
    top, left, height, width = params.crop[i].tolist()
    if (height, width) == (params.size, params.size):
        return image
    size = [params.size, params.size]
    return F.resized_crop(image, top, left, height, width, size, BILINEAR, antialias=True)


def affine(image: Image, params: AugmentParams, i: int) -> Image:
    """Shift, zoom and shear about the centre."""
    if not params.active()["affine"][i]:
        return image
    return F.affine(
        image,
        float(params.affine_angle[i]),
        params.translate[i].tolist(),
        float(params.scale[i]),
        params.shear[i].tolist(),
        InterpolationMode(params.interpolation),
        fill=FILL,
    )


def gaussian_blur(image: Image, params: AugmentParams, i: int) -> Image:
    """Blur with a ``kernel_size`` x ``kernel_size`` Gaussian."""
    if params.sigma[i] == 0:
        return image
    reach, size = params.kernel_size // 2, F.get_image_size(image)[0]
    if reach >= size:  # torchvision refuses to mirror more than there is; repeated, it is right
        margin = np.pad(image.numpy(), ((0, 0), (reach, reach), (reach, reach)), mode="reflect")
        image = torch.from_numpy(margin)
    blurred = F.gaussian_blur(image, [params.kernel_size] * 2, [float(params.sigma[i])] * 2)
    return blurred[:, reach : reach + size, reach : reach + size] if reach >= size else blurred


def adjust_sharpness(image: Image, params: AugmentParams, i: int) -> Image:
    """Blend with a smoothed copy; torchvision leaves the outermost pixels as they are."""
    if params.sharpness[i] == 1:
        return image
    return F.adjust_sharpness(image, float(params.sharpness[i]))


def perspective(image: Image, params: AugmentParams, i: int) -> Image:
    """Move the corners to ``endpoints``."""
    start, end = corners(params.size), params.endpoints[i]
    if np.array_equal(start, end):
        return image
    whole = [points.astype(int).tolist() for points in (start, end)]
    return F.perspective(image, *whole, BILINEAR, fill=FILL)


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


def apply(image: np.ndarray, params: AugmentParams, i: int) -> np.ndarray:
    """Resize one image to ``params.size`` and augment it with row ``i`` of ``params``.

    Args:
        image: ``(H, W, 3)`` uint8, RGB, any size.
        params: The batch's parameters.
        i: The row.

    Returns:
        ``(size, size, 3)`` uint8.
    """
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    tensor = resize(tensor, params.size)
    for step in CHAIN:
        tensor = step(tensor, params, i)
    return tensor.permute(1, 2, 0).contiguous().numpy()
