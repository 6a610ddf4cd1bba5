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


def time_operators(
    manifest: Manifest, *, size: int, batch_size: int = 16, repeats: int = 3
) -> list[dict[str, Any]]:
    """Time each step on the CPU with one thread, all samples augmented.

    A step's time is that of the graph up to it less that of the graph before it, so it can
    come out slightly below zero where a step costs nothing.

    Returns:
        Rows of ``name``, ``ms_per_image`` and ``graph`` (``host``, ``both``, or an applier).
    """
    rows = np.resize(manifest.labelled, batch_size)
    found = _time_host(rows, size, repeats)
    before = 0.0
    for steps, name in enumerate(("read", "decode", "resize"), start=1):
        now = _time_graph(manifest, rows, size, "fused", steps, repeats)
        found.append({"name": name, "ms_per_image": now - before, "graph": "both"})
        before = now
    for applier in ("fused", "exact"):
        last = before
        names = [step.__name__ for step in CHAINS[applier]]
        for steps, name in enumerate([*names, "normalize"], start=4):
            now = _time_graph(manifest, rows, size, applier, steps, repeats)
            found.append({"name": name, "ms_per_image": now - last, "graph": applier})
            last = now
    if has_numba():
        now = _time_graph(manifest, rows, size, "compiled", 4, repeats)
        found.append(
            {"name": "augment and normalize", "ms_per_image": now - before, "graph": "compiled"}
        )
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


def _time_graph(
    manifest: Manifest, rows: np.ndarray, size: int, applier: str, steps: int, repeats: int
) -> float:
    """Return the milliseconds an image of the first ``steps`` steps."""
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
    times = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        pipeline.run()
        times.append(time.perf_counter() - started)
    # The fastest, not the median: a difference of two medians is mostly noise on a busy machine.
    return 1e3 * min(times[2:]) / len(rows)


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
