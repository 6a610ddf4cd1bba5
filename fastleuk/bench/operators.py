"""The processor time of each DALI operator, by itself.

A pipeline of a few copies of the operator, each fed with what it gets in the product, takes turns
with the same pipeline without the operator. A figure is the
median of the turns' differences, and its interval says how far chance may have moved it.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from nvidia.dali import Pipeline, fn
from nvidia.dali.data_node import DataNode

from fastleuk.augment import PAPER, draw, param_arrays, param_names
from fastleuk.augment.appliers.exact import resize
from fastleuk.augment.dali.graph import CHAINS, apply_graph
from fastleuk.bench.report import interval
from fastleuk.data.manifest import Manifest
from fastleuk.loading import has_numba
from fastleuk.loading.decode.dali import decode_bytes, file_inputs
from fastleuk.memory import keep_freed_memory

COPIES = 2
"""Of an operator in one pipeline."""

Graph = Callable[[DataNode, Sequence[DataNode]], DataNode]
"""Of images (or file names, or bytes) and the nodes of an applier's parameters."""


def time_operators(
    manifest: Manifest, *, size: int, batch_size: int = 4, repeats: int = 15, keep: bool = True
) -> list[dict[str, Any]]:
    """Time each step on the CPU with one thread, all samples augmented.

    Steps of a chain get what the step before gives; a file's pixels are resized before the first.

    Returns:
        Rows of ``graph`` (``host``, ``both`` or an applier), ``name`` and what :func:`interval`
        says, in milliseconds an image.
    """
    if keep:
        keep_freed_memory()  # as every DALI loader of fastleuk does
    rows = np.resize(manifest.labelled, batch_size)
    timer = _Timer(batch_size, repeats)
    files, *crops = file_inputs(manifest, rows)
    found = []

    def step(
        graph: str, name: str, operator: Graph, images: Any, arrays: Sequence[Any] = ()
    ) -> Any:
        times, outputs = timer.time(operator, images, arrays)
        found.append({"graph": graph, "name": name, **times})
        return outputs

    encoded = files
    if not manifest.packed:
        encoded = step("both", "read", lambda x, _: fn.io.file.read(x), files)
    decoded = step(
        "both", "decode", lambda x, crops: decode_bytes(x, *crops, device="cpu"), encoded, crops
    )
    small = step("both", "resize", lambda x, _: resize(x, size), decoded)
    params = draw(PAPER, seed=0, epoch=0, indices=np.arange(batch_size), size=size)
    for applier in ("exact", "fused", *(["compiled"] if has_numba() else [])):
        arrays = param_arrays(params, applier)
        images = small
        for operator in CHAINS.get(applier, ()):
            graph = _step(operator, applier, size)
            images = step(applier, operator.__name__, graph, images, arrays)
        for source, first, resized in (
            ("the cache", small, True),
            ("a file's pixels", decoded, False),
        ):
            whole = _whole(applier, size, resized)
            step(applier, f"all, from {source}", whole, first, arrays)
    return [*_time_host(len(manifest.labelled), size, repeats), *found]


def _step(operator: Callable[..., DataNode], applier: str, size: int) -> Graph:
    names = param_names(applier)
    fixed = {"size": size, "interpolation": PAPER.interpolation, "device": "cpu"}
    return lambda images, nodes: operator(images, dict(zip(names, nodes, strict=True)) | fixed)


def _whole(applier: str, size: int, resized: bool) -> Graph:
    return lambda images, nodes: apply_graph(
        images, nodes, size=size, applier=applier, resized=resized
    )


class _Timer:
    """Times operators on batches of one size, each against its own pipeline without it."""

    def __init__(self, batch_size: int, repeats: int) -> None:
        self._batch_size, self._repeats = batch_size, repeats

    def time(
        self, operator: Graph, images: Any, arrays: Sequence[Any]
    ) -> tuple[dict[str, Any], Any]:
        """Return :func:`interval` in milliseconds an image, and the operator's output."""
        with_it, without = (
            self._build(graph, images, arrays) for graph in (operator, lambda x, _: x)
        )
        (output, *_) = with_it.run()
        outputs = [np.array(output[i]) for i in range(self._batch_size)]
        without.run()
        differences = []
        for turn in range(self._repeats):
            spent = {}
            for pipeline in (with_it, without) if turn % 2 else (without, with_it):
                started = time.process_time()
                pipeline.run()
                spent[pipeline] = time.process_time() - started
            milliseconds = 1e3 * (spent[with_it] - spent[without])
            differences.append(milliseconds / (COPIES * self._batch_size))
        return interval(differences), outputs

    def _build(self, graph: Graph, images: Any, arrays: Sequence[Any]) -> Pipeline:
        """Every copy has inputs of its own, or DALI would merge the copies into one."""
        pipeline = Pipeline(
            batch_size=self._batch_size, num_threads=1, device_id=None, prefetch_queue_depth=1
        )
        given = [images, *arrays]
        layouts = ["HWC" if np.ndim(images[0]) == 3 else "", *[""] * len(arrays)]
        with pipeline:
            outputs = []
            for _ in range(COPIES):
                nodes = fn.external_source(
                    source=lambda: given,
                    num_outputs=len(given),
                    batch=True,
                    layout=layouts,
                    no_copy=True,
                )
                outputs.append(graph(nodes[0], nodes[1:]))
            pipeline.set_outputs(*outputs)
        with warnings.catch_warnings():  # one step leaves other steps' parameters unused
            warnings.filterwarnings("ignore", message="The external source node")
            pipeline.build()
        return pipeline


def _time_host(count: int, size: int, repeats: int) -> list[dict[str, Any]]:
    """Drawing the parameters of 64 samples and computing what the graph consumes."""
    rows = np.arange(64) % count
    appliers = ("exact", "fused", "compiled")
    times: dict[str, list[float]] = {"draw parameters": [], **{name: [] for name in appliers}}
    for epoch in range(repeats):
        started = time.process_time()
        params = draw(PAPER, seed=0, epoch=epoch, indices=rows, size=size)
        times["draw parameters"].append(time.process_time() - started)
        for applier in appliers:
            started = time.process_time()
            param_arrays(params, applier)
            times[applier].append(time.process_time() - started)
    found = []
    for name, seconds in times.items():
        drawn = name == "draw parameters"
        row = {
            "graph": "host" if drawn else name,
            "name": name if drawn else "matrices and kernels",
        }
        found.append(row | interval([1e3 * value / len(rows) for value in seconds]))
    return found
