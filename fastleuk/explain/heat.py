"""Heat maps by the package grad-cam, and what they say of the cell."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastleuk.errors import MissingDependencyError
from fastleuk.explain.layers import Layer

if TYPE_CHECKING:
    from torch import Tensor, nn


def has_grad_cam() -> bool:
    """Say whether the package grad-cam is installed, without importing it."""
    return importlib.util.find_spec("pytorch_grad_cam") is not None


def require_grad_cam() -> None:
    """Refuse to go on without the package.

    Raises:
        MissingDependencyError: it is not installed.
    """
    if not has_grad_cam():
        raise MissingDependencyError(
            "Heat maps need the package grad-cam: pip install 'fastleuk[explain]'."
        )


def grad_cam(model: nn.Module, layer: Layer, images: Tensor, targets: Sequence[int]) -> np.ndarray:
    """Return Grad-CAM (Selvaraju et al., 2017) of a batch, each map from 0 to its maximum, 1.

    Gradients flow from the logits back to the layer and end there: what lies before it is computed
    once and keeps nothing, where the parameters ask for no gradient.

    Args:
        model: A network in evaluation mode; its parameters' gradients are left empty.
        layer: Of :func:`fastleuk.explain.layers.find_layer`.
        images: float ``(N, 3, H, W)``, normalised, on the network's device.
        targets: N classes, whose logits are explained.

    Returns:
        float32 ``(N, H, W)``. A map of zeros: nothing speaks for the class.
    """
    import torch
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    module = model.get_submodule(layer.name)
    start = module.register_forward_hook(_gradients_start)  # before grad-cam's hooks
    try:
        with torch.enable_grad(), GradCAM(model, [module], layer.transform) as cam:
            maps = cam(images, [ClassifierOutputTarget(int(target)) for target in targets])
    finally:
        start.remove()
    model.zero_grad(set_to_none=True)
    return maps.astype(np.float32)


def _gradients_start(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
    # A copy, for the next layer may work in place, which a leaf of the graph forbids.
    return output.detach().requires_grad_().clone()


def share_inside(heat: np.ndarray, mask: np.ndarray) -> float | None:
    """Return which share of the heat lies on the cell; None where there is no heat.

    Args:
        heat: ``(H, W)``, 0 or more.
        mask: bool ``(H, W)``.

    >>> share_inside(np.array([[3.0, 1.0]]), np.array([[True, False]]))
    0.75
    """
    total = float(heat.sum())
    return float(heat[mask].sum()) / total if total > 0 else None


def share_sentence(share: float | None, *, cell_found: bool) -> str:
    """Describe the share of the heat on the cell, or the reason that there is none.

    Args:
        share: Of :func:`share_inside`; None without a cell or without heat.
        cell_found: True if the image has a detected cell.

    >>> share_sentence(0.823, cell_found=True)
    '82% of the heat on the cell'
    >>> share_sentence(None, cell_found=True)
    'the map is empty: no place in the image speaks for this class'
    """
    if share is not None:
        return f"{share:.0%} of the heat on the cell"
    if not cell_found:
        return "no cell was detected"
    return "the map is empty: no place in the image speaks for this class"


def agreement(one: np.ndarray, other: np.ndarray, *, step: int = 4) -> float | None:
    """Return Spearman's rank correlation of two maps; None where one of them is constant.

    Args:
        one: ``(H, W)``.
        other: The same.
        step: Every ``step``-th row and column is compared; maps are smooth.
    """
    from scipy.stats import spearmanr

    a, b = one[::step, ::step].ravel(), other[::step, ::step].ravel()
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(spearmanr(a, b).statistic)
