"""What the training loop costs beside a bare one, and what the loader costs the loop.

    python benchmarks/train_loop.py [--json benchmarks/results/train_loop.json]

Three contenders take turns of an epoch each in one process: a loop as one writes it by hand, which
trains on one batch over and over; fastleuk's loop on the same batch; and fastleuk's loop fed by
its loader from the cache. The same backbone, optimiser, memory format and precision; what an epoch
costs besides its steps (checks, the start of the pipeline) counts as fastleuk's.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastleuk.augment import PAPER
from fastleuk.bench.contenders.stream import MEAN, STD, EndlessStream
from fastleuk.config import DataConfig, LoaderConfig, OptimConfig, RunConfig
from fastleuk.data.from_config import open_dataset
from fastleuk.loading import make_loader, resolve_loader
from fastleuk.loading.batch import Batch, Loader
from fastleuk.loading.prepare import open_pixels
from fastleuk.memory import keep_freed_memory
from fastleuk.models.backbone import create_model
from fastleuk.models.device import choose_device, choose_precision
from fastleuk.training.assemble import initial_state
from fastleuk.training.checkpoint.keeper import Keeper
from fastleuk.training.loop import Trainer, TrainingData
from fastleuk.training.objective import Objective

CASES = (("efficientnet_b0", 224, 32, 3), ("test_efficientnet", 224, 32, 15))
"""Backbone, size in pixels, batch size, steps a turn. Turns are short, so that the three see the
machine in the same state. The second trains in milliseconds, so that
what the loop adds to a step shows."""


class Turns:
    """Feeds fastleuk's loop: one batch again and again in even epochs, the loader in odd ones."""

    def __init__(self, loader: Loader, steps: int) -> None:
        self._batches, self._steps = loader.epoch(), steps
        first = next(self._batches)
        self.batch = Batch(first.images.clone(), first.labels % 2, first.indices.clone())

    def __len__(self) -> int:
        return self._steps

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of a turn."""
        assert start == 0
        if epoch % 2 == 0:
            yield from itertools.repeat(self.batch, self._steps)
            return
        for batch in itertools.islice(self._batches, self._steps):
            yield Batch(batch.images, batch.labels % 2, batch.indices)

    def close(self) -> None:
        """Nothing to free."""


class One:
    """A validation set of one batch."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def __len__(self) -> int:
        return 1

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Yield it."""
        assert epoch >= start
        yield self._batch

    def close(self) -> None:
        """Nothing to free."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="", help="else the demo set")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--amp", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--scale", type=float, default=1.0, help="length of a turn")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    keep_freed_memory()
    results = [measure(options, *case) for case in CASES]
    print("backbone           bare  replayed  loader   replayed/bare  loader/replayed  (images/s)")
    for row in results:
        print(
            f"{row['backbone']:<17}{row['bare']:6.1f}  {row['replayed']:8.1f}  {row['loader']:6.1f}"
            f"  {row['replayed_to_bare']:14.3f}  {row['loader_to_replayed']:15.3f}"
        )
    if options.json:
        from fastleuk.bench.measure.machine import machine

        device = str(choose_device(options.device))  # auto names no GPU
        document = {"machine": machine(device), "amp": options.amp, "results": results}
        options.json.write_text(json.dumps(document, indent=2) + "\n")


def measure(
    options: argparse.Namespace, backbone: str, size: int, batch_size: int, steps: int
) -> dict[str, Any]:
    """Images per second of the three, turn by turn; ratios are medians of the rounds' own."""
    steps = max(2, round(steps * options.scale))
    device = choose_device(options.device)
    precision = choose_precision(device, options.amp)
    dataset = open_dataset(DataConfig(data=options.data), report=lambda _: None)
    config = resolve_loader(LoaderConfig(batch_size=batch_size, size=size))
    loader = make_loader(
        manifest=dataset.manifest,
        stream=EndlessStream(dataset.manifest.labelled, batch_size=batch_size),
        config=config,
        policy=PAPER,
        mean=MEAN,
        std=STD,
        device=device,
        pixels=open_pixels(dataset, config, device, report=lambda _: None),
    )
    turns = Turns(loader, steps)
    bare = BareLoop(backbone, precision, turns.batch, steps)
    rates: dict[str, list[float]] = {"bare": [], "replayed": [], "loader": []}
    with tempfile.TemporaryDirectory() as folder:
        optim = OptimConfig(epochs=2 * (options.rounds + 1), patience=10**6)
        model = new_model(backbone, device)
        trainer = Trainer(
            state=initial_state(model, optim, precision, batches=len(turns)),
            objective=Objective(optim, counts=np.array([1, 1]), seed=0, device=device),
            data=TrainingData(
                train=turns,
                val=One(turns.batch),
                class_names=("hem", "ALL"),
                files=dataset.manifest.paths,
            ),
            precision=precision,
            config=optim,
            run=RunConfig(),
            keeper=Keeper(Path(folder), device),
            report=lambda _: rates["bare"].append(bare.turn()) if len(history) % 2 else None,
        )
        history = trainer.progress.history
        trainer.fit()
        loader.close()
    for row in history:
        rates["loader" if row["epoch"] % 2 == 0 else "replayed"].append(row["images_per_s"])
    warm = {name: np.array(values[1:]) for name, values in rates.items()}
    return {
        "backbone": backbone,
        "size": size,
        "batch_size": batch_size,
        "steps": steps,
        **{name: float(np.median(values)) for name, values in warm.items()},
        "replayed_to_bare": float(np.median(warm["replayed"] / warm["bare"])),
        "loader_to_replayed": float(np.median(warm["loader"] / warm["replayed"])),
        "rounds": {name: values.tolist() for name, values in warm.items()},
    }


class BareLoop:
    """A training loop as one writes it by hand."""

    def __init__(self, backbone: str, precision: Any, batch: Batch, steps: int) -> None:
        self._precision, self._batch, self._steps = precision, batch, steps
        self._model = new_model(backbone, precision.device).train()
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=1e-4, fused=True)
        self._loss = torch.nn.CrossEntropyLoss()
        self._scaler = precision.scaler()

    def turn(self) -> float:
        """Train for a turn; returns images per second."""
        total = torch.zeros((), device=self._precision.device)
        started = time.perf_counter()
        for _ in range(self._steps):
            with self._precision.autocast():
                logits = self._model(self._batch.images)
            loss = self._loss(logits.float(), self._batch.labels)
            self._optimizer.zero_grad(set_to_none=True)
            self._scaler.scale(loss).backward()
            self._scaler.step(self._optimizer)
            self._scaler.update()
            total += loss.detach()
        total.item()  # waits for a GPU
        return self._steps * len(self._batch.labels) / (time.perf_counter() - started)


def new_model(backbone: str, device: torch.device) -> torch.nn.Module:
    torch.manual_seed(0)
    model = create_model(backbone, num_classes=2, weights="none")
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


if __name__ == "__main__":
    main()
