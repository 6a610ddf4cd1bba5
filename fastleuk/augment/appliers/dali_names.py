"""DALI's names that are not settled, each in one place.

``warp_perspective`` is experimental. Conditional execution is public for the code of a pipeline
that is defined with ``enable_conditionals=True`` and rewritten by DALI's AutoGraph only; a library
that works in anybody's pipeline has to use the two operators that this rewriting puts in.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from nvidia import dali
from nvidia.dali import _conditionals, fn
from nvidia.dali.data_node import DataNode
from nvidia.dali.pipeline import Pipeline

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


def define_outside_branches(
    pipeline: Pipeline, define: Callable[[], tuple[DataNode, ...]]
) -> tuple[DataNode, ...]:
    """Define nodes without inputs outside of any ``if``: for whole batches, in every iteration.

    Within a branch an operator gets the branch's samples, and doesn't run where there are none.
    """
    if not getattr(pipeline, "_conditionals_enabled", False):
        return define()
    pipeline._conditionals_enabled = False
    try:
        nodes = define()
    finally:
        pipeline._conditionals_enabled = True
    _conditionals.register_data_nodes(list(nodes))
    return nodes


class Iterations:
    """Positions of the runs that a pipeline schedules, in order: epoch and iteration in it.

    The epoch counts how often a source has ended with ``StopIteration``; a restored pipeline
    begins where its checkpoint was taken. They are taken when a run is scheduled, for that is
    when DALI knows them; the operators run later, in other threads.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._scheduled: deque[tuple[int, int]] = deque()
        self._epoch: int | None = None
        self._iteration = 0
        this, before = weakref.ref(pipeline), pipeline.__dict__.get("iter_setup")

        def iter_setup() -> None:  # called once for each run; the pipeline must not hold itself
            pipeline = this()
            assert pipeline is not None, "it runs"
            before() if before is not None else type(pipeline).iter_setup(pipeline)
            self._schedule(pipeline._epoch_idx, pipeline._consumer_iter)

        pipeline.iter_setup = iter_setup

    def _schedule(self, epoch: int, consumed: int) -> None:
        if epoch != self._epoch:
            self._iteration = consumed if self._epoch is None else 0
            self._epoch = epoch
        self._scheduled.append((epoch, self._iteration))
        self._iteration += 1

    def next(self) -> tuple[int, int]:
        """Return the position of the run that an operator is working on."""
        return self._scheduled.popleft()


for _name in ("_epoch_idx", "_consumer_iter"):
    if _name not in Pipeline.__init__.__code__.co_names:
        raise MissingDependencyError(
            f"NVIDIA DALI {dali.__version__} has no Pipeline.{_name}. fastleuk was tested with "
            f"DALI {TESTED}: pip install 'nvidia-dali-cuda120>=2.3', or use the loader torchvision."
        )


def find_readers(node: DataNode) -> Iterator[dict[str, Any]]:
    """Find the DALI readers that a node comes from; yield the arguments of each."""
    waiting, visited = [node], set()
    while waiting:
        operator = waiting.pop().source
        if operator is None or id(operator) in visited:
            continue
        visited.add(id(operator))
        if str(getattr(operator._op, "schema_name", "")).startswith("readers__"):
            yield dict(getattr(operator._op, "_init_args", {}))
        waiting += operator.inputs
