"""Augmenting batches of arrays or tensors: :func:`augment_batch`."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastleuk.augment.appliers.lowering import APPLIERS, fastest_in_graph
from fastleuk.augment.normalization import IMAGENET_MEAN, IMAGENET_STD, checked_moments
from fastleuk.augment.params import AugmentParams
from fastleuk.augment.policy import AugmentPolicy
from fastleuk.errors import ConfigError

DEVICES = ("cpu", "gpu")
DTYPES = ("float32", "float16")
KERNEL_DTYPES = (*DTYPES, "bfloat16")
"""Of the applier ``compiled`` on a GPU."""


def augment_batch(
    images: Any,
    params: AugmentParams,
    *,
    size: int | None = None,
    applier: str = "auto",
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
        applier: ``auto``, the default of every entrance: the fastest that is installed, see
            :func:`fastest_applier`. Or ``fused``, ``exact`` (both DALI), ``compiled`` (numba with
            DALI on the CPU, Triton on a GPU), ``compiled-host`` (the CPU's, the result on the
            GPU), ``reference`` (torchvision, CPU).
        device: ``cpu`` or ``gpu``.
        normalize: ``(image / 255 - mean) / std``. If false, the values are levels from 0 to
            255, clipped to that range after every step that could leave it (``fused``: after
            the jitter and after sharpening); ``reference`` has whole levels.
        mean: For each channel, in units of the range 0-1.
        std: Likewise.
        layout: ``HWC`` or ``CHW``.
        dtype: ``float32`` or ``float16``; with ``compiled`` on a GPU and tensors ``bfloat16``, too.
            NumPy's and torch's types of these names are taken, too.

    Returns:
        ``(N, size, size, 3)`` or ``(N, 3, size, size)``: a tensor if ``images`` is a tensor,
        else an array. On the device ``gpu`` a tensor stays there; with ``compiled``, what is on
        the GPU already is worked on in the order of torch's current stream, without a wait.

    Raises:
        ConfigError: (a ``ValueError``) on images or options that don't fit.
        FastleukError: ``compiled`` on a GPU whose self-test it fails.
        MissingDependencyError: if the applier needs DALI or Triton and it isn't there.
    """
    _check_params(params)
    dtype = _dtype_name(dtype)
    if applier == "auto" and device in DEVICES:
        applier = fastest_applier(params.interpolation, device)
    on_gpu = bool(getattr(images, "is_cuda", False))
    is_tensor = on_gpu
    kernels = applier == "compiled" and device == "gpu"
    arrays: Any
    if on_gpu and kernels:
        arrays = list(images.detach())
    elif on_gpu:
        arrays = _checked_cuda(images)
    else:
        arrays, is_tensor = checked_images(images)
    size = params.size if size is None else size
    _check_options(params, len(arrays), size, applier, device, layout, dtype)
    moments = checked_moments(mean, std)
    if kernels:
        from fastleuk.augment.gpu.arrays import augment_there

        result = augment_there(
            arrays,
            params,
            is_tensor,
            normalize=normalize,
            mean=moments[0],
            std=moments[1],
            layout=layout,
            dtype=dtype,
        )
    elif applier == "reference":
        arrays = list(arrays.cpu().numpy()) if on_gpu else arrays
        result = _reference(arrays, params, moments if normalize else None, layout, dtype)
    else:
        from fastleuk.augment.dali.arrays import augment_arrays

        result = augment_arrays(
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


def fastest_applier(interpolation: str = "bilinear", device: str = "cpu") -> str:
    """The fastest applier of arrays that is installed; on a CPU nothing is imported to find out.

    Args:
        interpolation: Of the parameters; ``exact`` alone knows ``nearest`` with DALI.
        device: ``cpu`` or ``gpu``.

    Returns:
        For ``nearest`` ``exact``; else on a GPU the first of ``compiled``, ``fused`` and ``exact``
        whose self-test passes there, on a CPU ``compiled`` where numba is installed, or ``fused``.
        On a CPU without DALI ``reference``.
    """
    if device == "gpu":
        from fastleuk.augment.gpu.arrays import sound_applier

        return sound_applier(interpolation)
    try:
        has_dali = importlib.util.find_spec("nvidia.dali") is not None
    except ModuleNotFoundError:
        has_dali = False
    if not has_dali:
        return "reference"
    return fastest_in_graph(interpolation, device)


def checked_images(images: Any) -> tuple[list[np.ndarray], bool]:
    """The images as a list of ``(H, W, 3)`` uint8 arrays, and whether they were a tensor.

    Raises:
        ConfigError: with what is wrong and how to mend it.
    """
    is_tensor = _is_tensor(images)
    if is_tensor:
        images = images.detach().cpu().numpy()
    if isinstance(images, (str, bytes, Path, Mapping)) or not hasattr(images, "__iter__"):
        raise ConfigError(
            f"images must be arrays of uint8, got {_kind_of(images)}. Open files with "
            "PIL.Image.open(path).convert('RGB')."
        )
    if not isinstance(images, np.ndarray):
        images = list(images)
    if isinstance(images, np.ndarray) and images.ndim != 4:
        raise ConfigError(
            f"images must be (N, H, W, 3), got the shape {images.shape}; one image: images[None]"
        )
    arrays = [
        image.detach().cpu().numpy() if _is_tensor(image) else np.asarray(image) for image in images
    ]
    if not arrays:
        raise ConfigError("images must hold at least one image, got an empty batch")
    for i, array in enumerate(arrays):
        if array.dtype.kind not in "biufc":
            raise ConfigError(
                f"image {i} must be an array of uint8, got {_kind_of(images[i])}. Open files with "
                "PIL.Image.open(path).convert('RGB')."
            )
        if array.dtype != np.uint8:
            raise ConfigError(
                f"image {i} must be uint8 (levels 0 to 255), got {array.dtype}; an image in "
                "0-1 becomes one by (255 * image).round().astype('uint8')"
            )
        if array.ndim != 3 or array.shape[2] != 3:
            raise ConfigError(
                f"image {i} must be (H, W, 3) RGB, got the shape {array.shape}"
                f"{_shape_hint(array.shape, is_tensor, isinstance(images, np.ndarray))}"
            )
        if min(array.shape) < 1:
            raise ConfigError(f"image {i} has no pixels: its shape is {array.shape}")
    return arrays, is_tensor


def _is_tensor(value: Any) -> bool:
    return any(kind.__module__.split(".")[0] == "torch" for kind in type(value).__mro__)


def _kind_of(image: Any) -> str:
    return f"the path {image!r}" if isinstance(image, (str, Path)) else type(image).__name__


def _shape_hint(shape: tuple[int, ...], is_tensor: bool, stacked: bool) -> str:
    """Name the way to (H, W, 3): for a tensor or an array, of a batch or of one image."""
    if len(shape) == 2 or (len(shape) == 3 and shape[2] == 1):
        plane = "image" if len(shape) == 3 else "image[..., None]"
        return f"; a gray one becomes RGB by np.repeat({plane}, 3, axis=2)"
    if len(shape) == 3 and shape[2] == 4:
        return "; without its alpha: image[..., :3]"
    if len(shape) != 3 or shape[0] != 3:
        return ""
    axes = "0, 2, 3, 1" if stacked or is_tensor else "1, 2, 0"
    return f"; it looks like channels first: use {'permute' if is_tensor else 'transpose'}({axes})"


def _check_params(params: Any) -> None:
    if isinstance(params, AugmentPolicy):
        raise ConfigError(
            "params: an AugmentPolicy, which hasn't been drawn from. Use draw(policy, seed=7, "
            "epoch=0, indices=range(len(images)), size=224)."
        )
    if not isinstance(params, AugmentParams):
        raise ConfigError(f"params must be AugmentParams, from draw(), got {type(params).__name__}")


def _dtype_name(dtype: Any) -> str:
    """Name a type that may be NumPy's or torch's."""
    if isinstance(dtype, str):
        return dtype
    if type(dtype).__module__.split(".")[0] == "torch":
        return str(dtype).removeprefix("torch.")
    try:
        return np.dtype(dtype).name
    except TypeError:
        return str(dtype)


def check_applier(applier: str, interpolation: str) -> None:
    """Check that an applier is there and knows the interpolation.

    Raises:
        ConfigError: it is none, or ``nearest`` is asked of one that is bilinear only.
    """
    if applier not in APPLIERS:
        raise ConfigError(f"applier must be {', '.join(APPLIERS)}, auto, got {applier!r}")
    if interpolation != "bilinear" and applier not in ("exact", "reference"):
        raise ConfigError(
            f"interpolation must be bilinear with the applier {applier}, got {interpolation!r}; "
            "torchvision's nearest needs applier='exact'"
        )


def _check_options(
    params: AugmentParams,
    count: int,
    size: int,
    applier: str,
    device: str,
    layout: str,
    dtype: str,
) -> None:
    if len(params) != count:
        raise ConfigError(f"params has {len(params)} rows for {count} images; draw one for each")
    if size != params.size:
        raise ConfigError(f"size is {size}, but the parameters were drawn for {params.size}")
    for name, value, choices in (
        ("device", device, DEVICES),
        ("applier", applier, (*APPLIERS, "auto")),
        ("layout", layout, ("HWC", "CHW")),
        ("dtype", dtype, KERNEL_DTYPES if (applier, device) == ("compiled", "gpu") else DTYPES),
    ):
        if value not in choices:
            raise ConfigError(f"{name} must be {', '.join(choices)}, got {value!r}")
    if applier == "reference" and device == "gpu":
        raise ConfigError(
            "the applier reference runs on the CPU only; use compiled, fused or exact, or "
            "compiled-host, which augments on the CPU and uploads the result"
        )
    if applier == "compiled-host" and device == "cpu":
        raise ConfigError("the applier compiled-host is for a GPU; on the CPU use compiled")


def _reference(
    arrays: list[np.ndarray],
    params: AugmentParams,
    moments: tuple[tuple[float, ...], tuple[float, ...]] | None,
    layout: str,
    dtype: str,
) -> np.ndarray:
    from fastleuk.augment.appliers import reference

    levels = np.stack([reference.apply(image, params, i) for i, image in enumerate(arrays)])
    result = levels.astype(np.float32)
    if moments is not None:
        mean, std = (255 * np.array(m, np.float32) for m in moments)
        result = (result - mean) / std
    if layout == "CHW":
        result = result.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(result, dtype)


def _checked_cuda(images: Any) -> Any:
    """A tensor on a GPU, checked there.

    Raises:
        ConfigError: it isn't ``(N, H, W, 3)`` uint8.
    """
    shape, dtype = tuple(images.shape), str(images.dtype).removeprefix("torch.")
    if len(shape) != 4 or shape[3] != 3 or min(shape) < 1:
        raise ConfigError(f"images must be (N, H, W, 3) RGB with pixels, got the shape {shape}")
    if dtype != "uint8":
        raise ConfigError(
            f"images must be uint8 (levels 0 to 255), got {dtype}; images in 0-1 become it by "
            "(255 * images).round().byte()"
        )
    return images.detach()
