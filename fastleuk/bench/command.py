"""What ``fastleuk bench-pipeline`` does, from the data to the table."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastleuk.bench.measure.allocator import ALLOCATORS, choose_allocator
from fastleuk.bench.measure.machine import machine
from fastleuk.bench.report import (
    operators_table,
    plot,
    results_table,
    traffic_table,
    training_table,
)
from fastleuk.bench.run import Bench, Report, sweep
from fastleuk.bench.spec import METHODS, PEERS, BenchSpec, available
from fastleuk.config import DataConfig, LoaderConfig
from fastleuk.data.dataset import DataSet
from fastleuk.data.decoded.read import decoded_root
from fastleuk.data.from_config import open_dataset
from fastleuk.errors import ConfigError
from fastleuk.files import write_json

VERSION = 3
"""Of the JSON document; ``benchmarks/schema.json`` describes it."""

SWEEP = ("triton-cache-gpu", "triton-cache", "dali-compiled-cache", "dali-fused-cache",
         "dali-fused-files", "torchvision-pil")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """The options of ``fastleuk bench-pipeline``, see its help."""

    data: str = ""
    subject_regex: str = ""
    methods: str = ""
    peers: bool = False
    size: int = 224
    batch_size: int = 32
    workers: int = 0
    device: str = "auto"
    cache: str = ""
    allocator: str = "kept"
    rounds: int = 3
    seconds: float = 0.3
    backbone: str = "efficientnet_b0"
    train_seconds: float = 1.0
    train_all: bool = False
    amp: bool = False
    operators: bool = True
    sweep: bool = False
    json: str = ""
    plot: str = ""


def bench_pipeline(options: BenchOptions, *, report: Report = print) -> dict[str, Any]:
    """Measure, print the tables, and write what was asked for; return the JSON document.

    Raises:
        FastleukError: an option makes no sense, or the data can't be used.
    """
    from fastleuk.loading import resolve_loader
    from fastleuk.models.backbone import check_backbone
    from fastleuk.models.backbone_size import size_arguments
    from fastleuk.models.device import choose_device

    _check(options)
    check_backbone(options.backbone)
    if options.train_seconds:
        size_arguments(options.backbone, options.size)
    device = str(choose_device(options.device))
    allocator = choose_allocator(options.allocator)
    if allocator != options.allocator:
        report(f"--allocator {options.allocator}: not with this C library, so {allocator}")
    config = LoaderConfig(size=options.size, batch_size=options.batch_size, workers=options.workers)
    config = resolve_loader(config)
    data = DataConfig(data=options.data, subject_regex=options.subject_regex, skip_bad=True)
    methods, skipped = available(device)
    methods = _choose(options.methods, methods, skipped, peers=options.peers)
    dataset = open_dataset(data, report=report)
    spec = BenchSpec(
        method=methods[0],
        data=options.data or str(dataset.manifest.root),
        subject_regex=options.subject_regex,
        size=config.size,
        batch_size=config.batch_size,
        workers=config.workers,
        device=device,
        cache=options.cache or str(decoded_root()),
        backbone=options.backbone,
        amp=options.amp,
        allocator=allocator,
    )
    if any(replace(spec, method=name).cached for name in methods):
        _prepare(dataset, spec, config, report)
    bench = Bench(
        spec, options.rounds, options.seconds, options.train_seconds, options.train_all, report
    )
    document: dict[str, Any] = {
        "version": VERSION,
        "machine": machine(device),
        "data": {"images": len(dataset.manifest), "root": str(dataset.manifest.root)},
        "synthetic": dataset.manifest.synthetic,
        "size": config.size,
        "allocator": allocator,
    }
    results, training = bench.run(methods)
    document |= _traffic(results, spec, dataset)
    document |= {"training": training, "operators": [], "sweep": []}
    if options.operators and any(name.startswith("dali") for name in methods):
        from fastleuk.bench.operators import time_operators

        report("timing the operators, one thread")
        keep = allocator == "kept"
        document["operators"] = time_operators(dataset.manifest, size=config.size, keep=keep)
    if options.sweep:
        cores = config.workers
        workers = sorted({1, max(1, cores // 2), cores})
        chosen = [name for name in SWEEP if name in methods]
        report("sweep")
        rows = sweep(bench, chosen, (8, 32, 128), workers)
        document["sweep"] = _traffic(rows, spec, dataset, document["bandwidth"])["results"]
    document["skipped"] = [
        {"name": name, "reason": reason} for name, reason in {**skipped, **bench.failed}.items()
    ]
    _print(document, report)
    if options.json:
        write_json(Path(options.json), document)
        report(f"JSON: {options.json}")
    if options.plot:
        plot(document, Path(options.plot))
        report(f"Plot: {options.plot}")
    return document


def _check(options: BenchOptions) -> None:
    for name, low in (("rounds", 1), ("seconds", 0.05), ("train_seconds", 0)):
        value = getattr(options, name)
        if not value >= low:
            option = name.replace("_", "-")
            raise ConfigError(f"--{option} is {value}, but must be at least {low}.")
    for name in ("json", "plot"):
        folder = Path(getattr(options, name)).absolute().parent
        if not os.access(folder, os.W_OK):
            raise ConfigError(f"--{name}: the folder {folder} can't be written. Name another.")


def _choose(
    wanted: str, there: list[str], skipped: dict[str, str], *, peers: bool = False
) -> list[str]:
    if not wanted:
        if not peers:
            for name in PEERS:
                skipped.setdefault(name, "not asked for: --peers")
        return [name for name in there if peers or name not in PEERS]
    chosen = [name.strip() for name in wanted.split(",") if name.strip()]
    for name in chosen:
        if name not in METHODS:
            raise ConfigError(f"--methods: no {name!r}; there are {', '.join(METHODS)}.")
        if name in skipped:
            raise ConfigError(f"--methods: {name} can't run: {skipped[name]}.")
    return list(dict.fromkeys(chosen))


def _prepare(dataset: DataSet, spec: BenchSpec, config: LoaderConfig, report: Report) -> None:
    """See to it that the cache exists, so that no method has to build it in its own time."""
    import torch

    from fastleuk.loading.prepare import open_pixels

    options = replace(config, cache=spec.cache)
    open_pixels(dataset, options, torch.device("cpu"), report=report)


def _traffic(
    results: list[dict[str, Any]],
    spec: BenchSpec,
    dataset: DataSet,
    bandwidth: dict[str, float] | None = None,
) -> dict[str, Any]:
    """Add to results what a GPU moves for an image, and say how fast this one moves bytes."""
    import torch

    from fastleuk.bench.traffic import measure_bandwidth, method_traffic, with_traffic

    device = torch.device(spec.device)
    if bandwidth is None and device.type != "cpu":
        bandwidth = measure_bandwidth(device)
    rows = []
    for row in results:
        of_row = replace(spec, method=row["name"], batch_size=row["batch_size"])
        rows.append(with_traffic(row, method_traffic(of_row, dataset, row["dtype"]), bandwidth))
    return {"bandwidth": bandwidth, "results": rows}


def _print(document: dict[str, Any], report: Report) -> None:
    about = document["machine"]
    place = about["gpu"] or f"{about['cores']} cores, {about['cpu']}"
    kind = "synthetic " if document["synthetic"] else ""
    report(f"\n{document['data']['images']} {kind}images to {document['size']} px; {place}")
    report(f"allocator: {ALLOCATORS[document['allocator']]}")
    report("\n" + results_table(document["results"]))
    if document["bandwidth"]:
        report("\n" + traffic_table(document["results"], document["bandwidth"]))
    if document["training"]:
        report(f"\nTraining {document['training'][0]['backbone']}")
        report(training_table(document["training"]))
    if document["operators"]:
        report("\nOne CPU thread, every sample augmented")
        report(operators_table(document["operators"]))
    _print_left_out(document["skipped"], report)


def _print_left_out(skipped: list[dict[str, str]], report: Report) -> None:
    """A line for each reason."""
    reasons: dict[str, list[str]] = {}
    for row in skipped:
        reasons.setdefault(row["reason"], []).append(row["name"])
    for reason, names in reasons.items():
        report(f"left out: {', '.join(names)}: {reason}")
