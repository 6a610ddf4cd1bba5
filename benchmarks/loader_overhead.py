"""What the loader costs on top of its bare DALI pipeline, from the cache.

    python benchmarks/loader_overhead.py [--data DIR] [--json benchmarks/results/overhead.json]

Bare: the same graph, fed with the views and parameters of a few batches that were made ready
before, and nobody takes its outputs over. The loader: everything from drawing parameters to torch
tensors. Turns alternate; medians.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from fastleuk.augment import PAPER
from fastleuk.bench.contenders.stream import MEAN, STD, EndlessStream
from fastleuk.config import DataConfig, LoaderConfig
from fastleuk.data.dataset import DataSet
from fastleuk.data.from_config import open_dataset
from fastleuk.loading.dali.feed import Feed
from fastleuk.loading.dali.loader import DaliLoader
from fastleuk.loading.prepare import open_pixels
from fastleuk.loading.stream import BatchPlan

READY = 8
"""Batches that are made ready for the bare pipeline."""


class Ready(Feed):
    """Feeds the graph with what was made ready."""

    def begin(self, plans: Iterator[BatchPlan]) -> None:
        """Draw the parameters of the first batches and take the views of their images."""
        super().begin(plans)
        mapped = [super(Ready, self).next_mapped() for _ in range(READY)]
        parameters = [super(Ready, self).next_parameters() for _ in range(READY)]
        self._mapped, self._parameters = itertools.cycle(mapped), itertools.cycle(parameters)

    def next_mapped(self) -> list[np.ndarray]:
        """The next of the ready ones; so has :meth:`next_parameters`."""
        return next(self._mapped)

    def next_parameters(self) -> tuple:
        """See :meth:`next_mapped`."""
        return next(self._parameters)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="", help="else the demo set")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batches", type=int, default=15, help="in a turn")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    dataset = open_dataset(DataConfig(data=options.data))
    results = [measure(dataset, applier, options) for applier in ("compiled", "fused")]
    for row in results:
        print(
            f"{row['name']}: bare {row['bare']:.0f} images/s, loader {row['loader']:.0f} images/s: "
            f"overhead {row['overhead']:.1%} (median of the turns' ratios)"
        )
    if options.json:
        from fastleuk.bench.measure.machine import machine

        document = {"machine": machine("cpu"), "results": results}
        options.json.write_text(json.dumps(document, indent=2) + "\n")


def measure(dataset: DataSet, applier: str, options: argparse.Namespace) -> dict:
    """Images per second of the bare pipeline and of the loader, turn by turn."""
    config = LoaderConfig(loader="dali", batch_size=options.batch_size, workers=2)
    device = torch.device("cpu")
    common = {
        "manifest": dataset.manifest,
        "stream": EndlessStream(dataset.manifest.labelled, batch_size=options.batch_size),
        "policy": PAPER,
        "applier": applier,
        "size": config.size,
        "workers": config.workers,
        "seed": 0,
        "mean": MEAN,
        "std": STD,
        "device": device,
        "pixels": open_pixels(dataset, config, device),
    }
    loader = DaliLoader(**common)
    fed = ("manifest", "pixels", "policy", "applier", "size", "seed")
    ready = Ready(**{name: common[name] for name in fed}, uncompressed=None)
    ready.begin(common["stream"].batches(0))
    pipeline = loader.build(ready)
    pipeline.build()
    batches = loader.epoch()
    turns = {"bare": pipeline.run, "loader": lambda: next(batches)}
    rates: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(options.rounds):
        for name, take in turns.items():
            for _ in range(4):
                take()
            started = time.perf_counter()
            for _ in range(options.batches):
                take()
            seconds = time.perf_counter() - started
            rates[name].append(options.batches * options.batch_size / seconds)
    paired = np.array(rates["bare"]) / np.array(rates["loader"]) - 1
    medians = {name: float(np.median(values)) for name, values in rates.items()}
    return {"name": applier, **medians, "overhead": float(np.median(paired)), "rounds": rates}


if __name__ == "__main__":
    main()
