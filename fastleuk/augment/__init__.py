"""The augmentation engine: parameters are data, drawn in NumPy and applied by one of four.

``draw`` turns a policy into arrays of parameters; ``reference`` (torchvision), ``exact`` (DALI,
one operator a step), ``fused`` (DALI, the nine steps in few operators) and ``compiled`` (one numba
function on a CPU, Triton kernels on a GPU) apply the same parameters. Importing this package
imports NumPy only; DALI, torch, torchvision, numba and Triton are imported when something that
needs them is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fastleuk.augment.appliers.lowering import APPLIERS, param_arrays, param_names
from fastleuk.augment.batch import augment_batch
from fastleuk.augment.draw import draw
from fastleuk.augment.params import STEPS, AugmentParams, identity
from fastleuk.augment.policy import FLIPS_ROTATIONS, NONE, PAPER, POLICIES, AugmentPolicy

if TYPE_CHECKING:
    from fastleuk.augment.collate import Augment, AugmentCollate, Indexed, IndexedSample
    from fastleuk.augment.dali.graph import apply_graph
    from fastleuk.augment.dali.pipeline import augment
    from fastleuk.augment.gpu.images import GpuAugment

_LAZY = {
    "apply_graph": "fastleuk.augment.dali.graph",
    "augment": "fastleuk.augment.dali.pipeline",
    "Augment": "fastleuk.augment.collate",
    "AugmentCollate": "fastleuk.augment.collate",
    "Indexed": "fastleuk.augment.collate",
    "IndexedSample": "fastleuk.augment.collate",
    "GpuAugment": "fastleuk.augment.gpu.images",
}

__all__ = [
    "APPLIERS",
    "FLIPS_ROTATIONS",
    "NONE",
    "PAPER",
    "POLICIES",
    "STEPS",
    "Augment",
    "AugmentCollate",
    "AugmentParams",
    "AugmentPolicy",
    "GpuAugment",
    "Indexed",
    "IndexedSample",
    "apply_graph",
    "augment",
    "augment_batch",
    "draw",
    "identity",
    "param_arrays",
    "param_names",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
