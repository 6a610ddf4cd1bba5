"""DALI's names that are not settled, each in one place.

``warp_perspective`` is experimental. Conditional execution is public for the code of a pipeline
that is defined with ``enable_conditionals=True`` and rewritten by DALI's AutoGraph only; a library
that works in anybody's pipeline has to use the two operators that this rewriting puts in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nvidia import dali
from nvidia.dali import fn
from nvidia.dali.data_node import DataNode

from fastleuk.errors import MissingDependencyError

TESTED = "2.3 to 2.4"


def _named(*paths: str) -> Any:
    """The first of ``nvidia.dali.fn``'s members that is there.

    Raises:
        MissingDependencyError: none is.
    """
    for path in paths:
        found: Any = fn
        for part in path.split("."):
            found = getattr(found, part, None)
        if found is not None:
            return found
    raise MissingDependencyError(
        f"NVIDIA DALI {dali.__version__} has no nvidia.dali.fn.{paths[0]}. fastleuk was tested "
        f"with DALI {TESTED}: pip install 'nvidia-dali-cuda120>=2.3', or use the loader "
        "torchvision."
    )


warp_perspective = _named("warp_perspective", "experimental.warp_perspective")
_split, _merge = _named("_conditional.split"), _named("_conditional.merge")
_named("filter")  # which DALI before 2.0 doesn't have


def split(
    predicate: DataNode, nodes: Sequence[DataNode]
) -> tuple[tuple[DataNode, ...], tuple[DataNode, ...]]:
    """The samples of each node where ``predicate`` is true, and those where it is false."""
    halves = [_split(node, predicate=predicate, _if_stmt=True) for node in nodes]
    return tuple(half[0] for half in halves), tuple(half[1] for half in halves)


def merge(predicate: DataNode, true: DataNode, false: DataNode) -> DataNode:
    """Put the samples of a batch that was split into one, in their order."""
    return _merge(true, false, predicate=predicate)
