"""What predicting costs on top of the bare network, and whether its memory stays flat.

    python benchmarks/predict_speed.py [--backbone efficientnet_b0] [--data DIR] [--json FILE]
    python benchmarks/predict_speed.py --memory 50000

Bare: the network on one batch that lies ready, over and over. Predict: everything from image files
to rows of the table, the beginning and the end of it too, when nothing overlaps. Turns alternate in
one process; ratios are of neighbouring turns, and their median counts. Other programs disturb the
rate; the processor time they disturb less. The weights are random: the time doesn't depend on them.

``--memory N`` writes a table of N predictions with a tiny network and reports the resident size on
the way.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fastleuk.bench.measure.usage import memory_bytes
from fastleuk.data.demo.generate import demo_root
from fastleuk.loading.images.encoded import encode_file
from fastleuk.memory import keep_freed_memory
from fastleuk.predict.ensemble import Ensemble
from fastleuk.predict.inputs import Inputs, Item
from fastleuk.predict.stream import score_items
from fastleuk.predict.table import Table
from tests.makers.untrained_runs import untrained_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="efficientnet_b0")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--data", default="", help="folder of images; else the demo set")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--loader", default="auto", help="auto, dali or torchvision")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=16, help="in a turn")
    parser.add_argument("--memory", type=int, default=0, metavar="N", help="predictions to watch")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        if options.memory:
            options.backbone, options.size = "test_efficientnet", 64
        run = untrained_run(
            Path(folder) / "run",
            backbone=options.backbone,
            size=options.size,
            batch_size=options.batch_size,
            loader=options.loader,
        )
        ensemble = Ensemble([run], device=options.device)
        items = list(Inputs([options.data or str(demo_root())]))
        table = Path(folder) / "table.csv"
        measure = watch if options.memory else compare
        found = measure(ensemble, itertools.cycle(items), table, options)
        ensemble.close()
    if options.json:
        from fastleuk.bench.measure.machine import machine

        document = {"machine": machine(options.device), **found}
        options.json.write_text(json.dumps(document, indent=2) + "\n")


def compare(
    ensemble: Ensemble, items: Iterator[Item], path: Path, options: argparse.Namespace
) -> dict:
    """Images per second of the bare network and of predicting, turn by turn."""
    member, size = ensemble.members[0], ensemble.batch_size
    first = ready_batch(ensemble, items)
    rates: dict[str, list[float]] = {"bare": [], "predict": []}
    cpu: dict[str, list[float]] = {"bare": [], "predict": []}
    count = options.batches * size
    with Table(path, ensemble.class_names, several=False) as table:
        table.begin()

        def bare() -> None:
            for _ in range(options.batches):
                member.logits(first)

        def predict() -> None:
            for batch, scored in score_items(ensemble, itertools.islice(items, count)):
                table.append([item.name for item in batch], scored)

        for number in range(options.rounds + 1):  # the first warms up
            for name, turn in {"bare": bare, "predict": predict}.items():
                started, used = time.perf_counter(), time.process_time()
                turn()
                if number:
                    rates[name].append(count / (time.perf_counter() - started))
                    cpu[name].append((time.process_time() - used) / count * 1000)
    ratios = np.array(rates["predict"]) / np.array(rates["bare"])
    medians = {name: float(np.median(values)) for name, values in rates.items()}
    print(
        f"{options.backbone}, {options.size} px, batches of {size}: bare {medians['bare']:.1f} "
        f"images/s, predict {medians['predict']:.1f} images/s: ratio {np.median(ratios):.3f} "
        f"(median of {len(ratios)}; {ratios.min():.3f} to {ratios.max():.3f})"
    )
    work = {name: float(np.median(values)) for name, values in cpu.items()}
    cpu_ratio = float(np.median(np.array(cpu["bare"]) / np.array(cpu["predict"])))
    print(
        f"processor time for 1,000 images: bare {work['bare']:.1f} s, predict "
        f"{work['predict']:.1f} s: ratio {cpu_ratio:.3f}"
    )
    return {
        "backbone": options.backbone,
        "ratio": float(np.median(ratios)),
        "cpu_ratio": cpu_ratio,
        "images_per_second": rates,
        "cpu_seconds_for_1000": cpu,
    }


def ready_batch(ensemble: Ensemble, items: Iterator[Item]) -> torch.Tensor:
    """Return one batch that the network can be shown."""
    batch = itertools.islice(items, ensemble.batch_size)
    return ensemble.prepare([encode_file(item.file) for item in batch]).pixels[0].clone()


def watch(
    ensemble: Ensemble, items: Iterator[Item], path: Path, options: argparse.Namespace
) -> dict:
    """The memory that no file backs, after every twentieth of the predictions."""
    sizes: list[tuple[int, float]] = []
    step, done = max(1, options.memory // 20), 0
    with Table(path, ensemble.class_names, several=False) as table:
        table.begin()
        for batch, scored in score_items(ensemble, itertools.islice(items, options.memory)):
            table.append([item.name for item in batch], scored)
            done += len(batch)
            if done >= step * (len(sizes) + 1):
                sizes.append((done, (memory_bytes(os.getpid()) or 0) / 1e6))
                print(f"{done} predictions: {sizes[-1][1]:.0f} MB", flush=True)
    half = [size for _, size in sizes[len(sizes) // 2 :]]
    print(f"second half: {min(half):.0f} to {max(half):.0f} MB")
    return {"memory_mb": sizes}


if __name__ == "__main__":
    main()
