"""The whole way of a batch inside a DALI pipeline: resize, augment, normalise."""

from __future__ import annotations

from collections.abc import Sequence

from fastleuk.augment.appliers import exact, fused
from fastleuk.augment.appliers.compiled import in_dali as compiled
from fastleuk.augment.appliers.exact import DataNode, Params, fn, types
from fastleuk.augment.appliers.lowering import param_names
from fastleuk.augment.dali.checks import images_must_be_uint8_RGB_in_HWC_layout
from fastleuk.augment.normalization import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    checked_moments,
    in_levels,
)
from fastleuk.errors import ConfigError

CHAINS = {"exact": exact.CHAIN, "fused": fused.CHAIN}
HOST = ("compiled", "compiled-host")
"""Appliers that compute on the CPU; the second one's result goes to the GPU."""
INTERPOLATIONS = {
    "exact": ("bilinear", "nearest"),
    "fused": ("bilinear",),
    "compiled": ("bilinear",),
    "compiled-host": ("bilinear",),
}


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
    resized: bool = False,
) -> DataNode:
    """Resize, augment and normalise, inside a pipeline definition.

    Args:
        images: ``(H, W, 3)`` uint8 RGB of any size, on ``device`` (with ``compiled-host``: on the
            CPU). Of anything else, DALI ends the run with an error that names
            ``images_must_be_uint8_RGB_in_HWC_layout``; grey images are decoded as RGB by
            ``output_type=types.RGB``.
        param_nodes: The outputs of an ``external_source`` on the CPU that is fed with
            :func:`fastleuk.augment.param_arrays` of the same applier.
        size: Edge of the output in pixels; the same that the parameters were drawn for.
        applier: ``exact``, ``fused``, ``compiled`` (on the CPU only), or ``compiled-host`` (on the
            CPU, and the result goes to the GPU): that for which ``param_nodes`` were lowered,
            so it can't be ``auto``, which every other entrance has by default.
        interpolation: ``policy.interpolation``; ``fused`` knows ``bilinear`` only.
        mean: For each channel, in units of the range 0-1 (as timm has it).
        std: Likewise.
        layout: ``HWC`` or ``CHW``.
        dtype: ``types.FLOAT`` or ``types.FLOAT16``.
        device: ``cpu`` or ``gpu``: where the result is.
        normalize: If false, the values are levels from 0 to 255 (float).
        resized: The images are known to be ``size`` x ``size`` already (the decoded cache);
            spares the graph the operators that would find that out.

    Returns:
        ``(size, size, 3)`` or ``(3, size, size)``.

    Raises:
        ConfigError: if an argument is not one of those named, or nodes are missing.
    """
    names = param_names(applier)
    _check_arguments(param_nodes, names, layout, dtype, device)
    mean, std = checked_moments(mean, std)
    _check_place(images, applier, device)
    if interpolation not in INTERPOLATIONS[applier]:
        raise ConfigError(
            f"interpolation must be {' or '.join(INTERPOLATIONS[applier])} with the applier "
            f"{applier}, got {interpolation!r}; torchvision's nearest needs applier='exact'"
        )
    host = applier in HOST
    images = images_must_be_uint8_RGB_in_HWC_layout(images)
    if not resized:
        images = exact.resize(images, size)  # augmented or not: both are equally sharp
    predicate = param_nodes[names.index("augment_on")]
    chosen, others = exact.split(predicate, (images, *param_nodes))
    params: Params = dict(zip(names, chosen[1:], strict=True))
    params |= {"size": size, "interpolation": interpolation, "device": device}
    unaugmented = others[0]
    levels = in_levels(mean, std, normalize)
    if host:  # it normalises in passing
        images = compiled.augment_and_normalize(chosen[0], params, *levels, layout)
        unaugmented = _normalize(unaugmented, *levels, layout)
        images = exact.merge(predicate, images, unaugmented)
    else:
        images = chosen[0]
        for step in CHAINS[applier]:
            images = step(images, params)
        unaugmented = fn.cast(unaugmented, dtype=types.FLOAT)
        images = exact.merge(predicate, images, unaugmented)
        images = _normalize(images, *levels, layout)
    # cast last: normalising in half precision costs 2e-3 on the GPU
    images = images if dtype == types.FLOAT else fn.cast(images, dtype=dtype)
    return images.gpu() if applier == "compiled-host" else images


def _normalize(
    images: DataNode, mean: Sequence[float], std: Sequence[float], layout: str
) -> DataNode:
    return fn.crop_mirror_normalize(
        images, mean=list(mean), std=list(std), output_layout=layout, dtype=types.FLOAT
    )


def _check_place(images: DataNode, applier: str, device: str) -> None:
    """Refuse appliers on a device that they don't run on."""
    if applier == "compiled" and device != "cpu":
        raise ConfigError(
            "inside a DALI graph the applier compiled runs on the CPU only; on a GPU use fused or "
            "exact, or compiled-host, which augments on the CPU and uploads the result, or "
            "fastleuk.augment.gpu.images.GpuAugment after the pipeline"
        )
    if applier == "compiled-host":
        if device != "gpu":
            raise ConfigError("the applier compiled-host is for a GPU; on the CPU use compiled")
        if images.device != "cpu":
            raise ConfigError(
                "the applier compiled-host augments on the CPU, but the images are on the GPU: "
                'decode them with device="cpu", or use fused'
            )


def _check_arguments(
    nodes: Sequence[DataNode],
    names: tuple[str, ...],
    layout: str,
    dtype: types.DALIDataType,
    device: str,
) -> None:
    if len(nodes) != len(names):
        raise ConfigError(f"param_nodes must be the {len(names)} nodes of param_names()")
    if layout not in ("HWC", "CHW"):
        raise ConfigError(f"layout must be HWC or CHW, got {layout!r}")
    if dtype not in (types.FLOAT, types.FLOAT16):
        raise ConfigError(f"dtype must be types.FLOAT or types.FLOAT16, got {dtype}")
    if device not in ("cpu", "gpu"):
        raise ConfigError(f"device must be cpu or gpu, got {device!r}")
