"""Where the time of the DALI graph goes: the same graph, cut off after each of its steps."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
from nvidia.dali import Pipeline, fn, types
from nvidia.dali.data_node import DataNode

from fastleuk.augment import PAPER, draw, param_arrays, param_names
from fastleuk.augment.dali import resize
from fastleuk.augment.dali_compiled import augment_and_normalize
from fastleuk.augment.dali_graph import CHAINS
from fastleuk.data.manifest import Manifest
from fastleuk.loading import has_numba
from fastleuk.loading.dali_decode import count_inputs, decode_graph, file_inputs
from fastleuk.memory import keep_freed_memory

HOST_BATCH = 64
"""Samples for which parameters are drawn at once: what a call costs is shared by a batch. The
graphs take fewer, for their steps cost the same for each."""


def time_operators(
    manifest: Manifest, *, size: int, batch_size: int = 8, repeats: int = 8
) -> list[dict[str, Any]]:
    """Time each step on the CPU with one thread, all samples augmented.

    A step's time is that of the graph up to it less that of the graph before it, so it can
    come out slightly below zero where a step costs nothing. Processor time, the least of
    ``repeats`` runs, the graphs in turns: what else the machine does hardly counts.

    Returns:
        Rows of ``name``, ``ms_per_image`` and ``graph`` (``host``, ``both``, or an applier).
    """
    keep_freed_memory()  # as every DALI loader of fastleuk does
    rows = np.resize(manifest.labelled, batch_size)
    ways = {"fused": CHAINS["fused"], "exact": CHAINS["exact"]}
    stages = [("both", "fused", name, i) for i, name in enumerate(("read", "decode", "resize"), 1)]
    for applier, chain in ways.items():
        names = [*(step.__name__ for step in chain), "normalize"]
        stages += [(applier, applier, name, i) for i, name in enumerate(names, 4)]
    if has_numba():
        stages.append(("compiled", "compiled", "augment and normalize", 4))
    graphs = [_build(manifest, rows, size, applier, steps) for _, applier, _, steps in stages]
    least = [float("inf")] * len(graphs)
    for _ in range(repeats):
        for number, graph in enumerate(graphs):
            started = time.process_time()
            graph.run()
            least[number] = min(least[number], time.process_time() - started)
    found = _time_host(np.resize(manifest.labelled, HOST_BATCH), size, repeats)
    before = {"both": 0.0}
    for (graph_name, _, name, _), seconds in zip(stages, least, strict=True):
        now = 1e3 * seconds / batch_size
        last = before.get(graph_name, before["both"])
        found.append({"name": name, "ms_per_image": now - last, "graph": graph_name})
        before[graph_name] = now
    return found


def _time_host(rows: np.ndarray, size: int, repeats: int) -> list[dict[str, Any]]:
    """Drawing the parameters and computing what the graph consumes."""
    found = []
    appliers = ("fused", "exact", "compiled")
    times: dict[str, list[float]] = {"draw parameters": [], **{name: [] for name in appliers}}
    for epoch in range(repeats):
        started = time.perf_counter()
        params = draw(PAPER, seed=0, epoch=epoch, indices=rows, size=size)
        times["draw parameters"].append(time.perf_counter() - started)
        for applier in appliers:
            started = time.perf_counter()
            param_arrays(params, applier)
            times[applier].append(time.perf_counter() - started)
    for name, seconds in times.items():
        what = name if name.startswith("draw") else "matrices and kernels"
        graph = "host" if name.startswith("draw") else name
        milliseconds = 1e3 * float(np.median(seconds)) / len(rows)
        found.append({"name": what, "ms_per_image": milliseconds, "graph": graph})
    return found


def _build(manifest: Manifest, rows: np.ndarray, size: int, applier: str, steps: int) -> Pipeline:
    """Return a pipeline of the first ``steps`` steps, which has run once."""
    files = file_inputs(manifest, rows)
    params = draw(PAPER, seed=0, epoch=0, indices=np.arange(len(rows)), size=size)
    arrays = param_arrays(params, applier)
    names = param_names(applier)
    pipeline = Pipeline(batch_size=len(rows), num_threads=1, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        nodes = fn.external_source(
            source=lambda: tuple(files), num_outputs=count_inputs(manifest), batch=True
        )
        given = fn.external_source(source=lambda: arrays, num_outputs=len(names), batch=True)
        pipeline.set_outputs(_cut_graph(manifest, nodes, given, size, applier, steps))
    with warnings.catch_warnings():  # a graph that was cut off leaves parameters unused
        warnings.filterwarnings("ignore", message="The external source node")
        pipeline.build()
    pipeline.run()
    return pipeline


def _cut_graph(
    manifest: Manifest,
    nodes: list[DataNode],
    given: list[DataNode],
    size: int,
    applier: str,
    steps: int,
) -> DataNode:
    if steps == 1:
        return nodes[0] if manifest.packed else fn.io.file.read(nodes[0])
    images = decode_graph(manifest, list(nodes), "cpu")
    if steps > 2:
        images = resize(images, size)
    params: dict[str, Any] = dict(zip(param_names(applier), given, strict=True))
    params |= {"size": size, "interpolation": PAPER.interpolation, "device": "cpu", "resized": True}
    if applier == "compiled" and steps > 3:
        return augment_and_normalize(images, params, [124.0] * 3, [58.0] * 3, "HWC")
    chain = CHAINS.get(applier, ())
    for step in chain[: max(0, steps - 3)]:
        images = step(images, params)
    if steps > 3 + len(chain):
        images = fn.crop_mirror_normalize(
            images, mean=[124.0] * 3, std=[58.0] * 3, output_layout="HWC", dtype=types.FLOAT
        )
    return images
