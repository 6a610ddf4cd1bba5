"""Augmenting batches of arrays or tensors: :func:`augment_batch`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastleuk.augment.lowering import APPLIERS
from fastleuk.augment.normalization import IMAGENET_MEAN, IMAGENET_STD, checked_moments
from fastleuk.augment.params import AugmentParams
from fastleuk.errors import ConfigError

DTYPES = ("float32", "float16")


def augment_batch(
    images: Any,
    params: AugmentParams,
    *,
    size: int | None = None,
    applier: str = "fused",
    device: str = "cpu",
    normalize: bool = True,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    layout: str = "HWC",
    dtype: str = "float32",
) -> Any:
    """Resize, augment and normalise a batch.

    Args:
        images: uint8 RGB: an array or a tensor ``(N, H, W, 3)``, or a sequence of arrays
            ``(H, W, 3)`` of any sizes.
        params: ``N`` rows, from :func:`fastleuk.augment.draw`.
        size: Edge of the output; that which the parameters were drawn for.
        applier: ``fused``, ``exact`` (both DALI), ``compiled`` (DALI and numba, CPU) or
            ``reference`` (torchvision, CPU).
        device: ``cpu`` or ``gpu``.
        normalize: ``(image / 255 - mean) / std``. If false, the values are levels from 0 to
            255, clipped to that range after every step that could leave it (``fused``: after
            the jitter and after sharpening); ``reference`` has whole levels.
        mean: For each channel, in units of the range 0-1.
        std: Likewise.
        layout: ``HWC`` or ``CHW``.
        dtype: ``float32`` or ``float16``.

    Returns:
        ``(N, size, size, 3)`` or ``(N, 3, size, size)``: a tensor if ``images`` is a tensor,
        else an array. On the device ``gpu`` a tensor stays there.

    Raises:
        ConfigError: (a ``ValueError``) on images or options that don't fit.
        MissingDependencyError: if the applier needs DALI and it isn't there.
    """
    arrays, is_tensor = checked_images(images)
    size = params.size if size is None else size
    _check_options(params, len(arrays), size, applier, device, layout, dtype)
    moments = checked_moments(mean, std)
    if applier == "reference":
        result = _reference(arrays, params, moments if normalize else None, layout, dtype)
    else:
        result = _dali(
            arrays,
            params,
            device,
            is_tensor,
            size=size,
            applier=applier,
            interpolation=params.interpolation,
            mean=moments[0],
            std=moments[1],
            layout=layout,
            dtype=dtype,
            normalize=normalize,
        )
    if is_tensor and isinstance(result, np.ndarray):
        import torch

        return torch.from_numpy(result)
    return result


def checked_images(images: Any) -> tuple[list[np.ndarray], bool]:
    """The images as a list of ``(H, W, 3)`` uint8 arrays, and whether they were a tensor.

    Raises:
        ConfigError: with what is wrong and how to mend it.
    """
    is_tensor = type(images).__module__.split(".")[0] == "torch"
    if is_tensor:
        images = images.detach().cpu().numpy()
    if isinstance(images, np.ndarray) and images.ndim != 4:
        raise ConfigError(
            f"images must be (N, H, W, 3), got the shape {images.shape}; one image: images[None]"
        )
    arrays = [np.asarray(image) for image in images]
    if not arrays:
        raise ConfigError("images must hold at least one image, got an empty batch")
    for i, array in enumerate(arrays):
        if array.dtype != np.uint8:
            raise ConfigError(
                f"image {i} must be uint8 (levels 0 to 255), got {array.dtype}; an image in "
                "0-1 becomes one by (255 * image).round().astype('uint8')"
            )
        if array.ndim != 3 or array.shape[2] != 3:
            hint = "; it looks like channels first: use transpose(0, 2, 3, 1)"
            first = array.ndim == 3 and array.shape[0] == 3
            raise ConfigError(
                f"image {i} must be (H, W, 3) RGB, got the shape {array.shape}"
                f"{hint if first else ''}"
            )
        if min(array.shape) < 1:
            raise ConfigError(f"image {i} has no pixels: its shape is {array.shape}")
    return arrays, is_tensor


def _check_options(
    params: AugmentParams,
    count: int,
    size: int,
    applier: str,
    device: str,
    layout: str,
    dtype: str,
) -> None:
    if not isinstance(params, AugmentParams):
        raise ConfigError(f"params must be AugmentParams, from draw(), got {type(params)}")
    if len(params) != count:
        raise ConfigError(f"params has {len(params)} rows for {count} images; draw one for each")
    if size != params.size:
        raise ConfigError(f"size is {size}, but the parameters were drawn for {params.size}")
    for name, value, choices in (
        ("applier", applier, APPLIERS),
        ("device", device, ("cpu", "gpu")),
        ("layout", layout, ("HWC", "CHW")),
        ("dtype", dtype, DTYPES),
    ):
        if value not in choices:
            raise ConfigError(f"{name} must be {', '.join(choices)}, got {value!r}")
    if applier in ("reference", "compiled") and device == "gpu":
        raise ConfigError(f"the applier {applier} runs on the CPU only; use fused or exact")


def _reference(
    arrays: list[np.ndarray],
    params: AugmentParams,
    moments: tuple[tuple[float, ...], tuple[float, ...]] | None,
    layout: str,
    dtype: str,
) -> np.ndarray:
    from fastleuk.augment import reference

    levels = np.stack([reference.apply(image, params, i) for i, image in enumerate(arrays)])
    result = levels.astype(np.float32)
    if moments is not None:
        mean, std = (255 * np.array(m, np.float32) for m in moments)
        result = (result - mean) / std
    if layout == "CHW":
        result = result.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(result, dtype)


def _dali(
    arrays: list[np.ndarray], params: AugmentParams, device: str, is_tensor: bool, **options: Any
) -> Any:
    from fastleuk.augment.dali_pipeline import array_pipeline, current_gpu, types

    options["dtype"] = types.FLOAT if options["dtype"] == "float32" else types.FLOAT16
    capacity = 1 << (len(arrays) - 1).bit_length()  # few pipelines serve all batch sizes
    contiguous = [np.ascontiguousarray(array) for array in arrays]
    if device == "gpu":
        options["device_id"] = current_gpu()
    pipeline = array_pipeline(capacity, device, **options)
    if device == "gpu" and is_tensor:
        return pipeline.tensor(contiguous, params)
    output = pipeline(contiguous, params)
    output = output.as_cpu() if device == "gpu" else output
    return np.array(output.as_tensor())  # a copy: DALI reuses the buffer
