"""DALI's part of :func:`fastleuk.augment.batch.augment_batch`."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastleuk.augment.dali.pipeline import array_pipeline, types
from fastleuk.augment.params import AugmentParams


def augment_arrays(
    images: Any, params: AugmentParams, device: str, is_tensor: bool, **options: Any
) -> Any:
    """Augment with one of DALI's appliers.

    Args:
        images: ``N`` checked ``(H, W, 3)`` uint8 arrays, or a tensor of them on a GPU.
        params: Of all ``N``.
        device: ``cpu`` or ``gpu``.
        is_tensor: Whether a tensor is wanted from a GPU.
        options: Of :func:`fastleuk.augment.dali.graph.apply_graph`; ``dtype`` by name.

    Returns:
        An array, or a tensor on the GPU.
    """
    options["dtype"] = types.FLOAT if options["dtype"] == "float32" else types.FLOAT16
    capacity = 1 << (len(images) - 1).bit_length()  # few pipelines serve all batch sizes
    options |= _gpu_of(images, options["applier"]) if device == "gpu" else {}
    if options.get("resident"):
        images = images.contiguous()
    elif isinstance(images, list):
        images = [np.ascontiguousarray(array) for array in images]
    else:
        images = list(images.contiguous().cpu().numpy())
    pipeline = array_pipeline(capacity, device, **options)
    output = pipeline(images, params)
    if device == "gpu":
        return pipeline.to_torch(output) if is_tensor else np.array(output.as_cpu().as_tensor())
    # No copy: the memory is the result's own as long as it lives, see exec_dynamic.
    return np.asarray(output.as_tensor())


def _gpu_of(images: Any, applier: str) -> dict[str, Any]:
    """Which GPU augments: that of the images, or torch's current one; and whether they stay."""
    import torch

    if isinstance(images, list):
        device_id = torch.cuda.current_device() if torch.cuda.is_available() else 0
        return {"device_id": device_id, "resident": False}
    return {"device_id": images.device.index, "resident": applier != "compiled-host"}
