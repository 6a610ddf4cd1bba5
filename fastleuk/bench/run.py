"""The benchmark: one process for each way of loading, asked in turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from fastleuk.bench.measure import usage
from fastleuk.bench.measure.process import Process
from fastleuk.bench.spec import BASELINE, IDEAL, METHODS, BenchSpec
from fastleuk.errors import FastleukError

Report = Callable[[str], None]


def start(spec: BenchSpec) -> Process:
    """Start a :mod:`fastleuk.bench.worker`.

    Raises:
        FastleukError: it ended before its first batch; its last words are in the text.
    """
    command = ["-m", "fastleuk.bench.worker"]
    return Process(spec.method, command, spec.to_line(), allocator=spec.allocator)


@dataclass
class Bench:
    """Everything that one run of ``fastleuk bench-pipeline`` measures.

    Attributes:
        spec: What all methods have in common; its method doesn't matter.
        rounds: How often each method has its turn.
        seconds: Length of a turn.
        train_seconds: How long a method feeds training; 0 leaves training out.
        train_all: Whether every method feeds it, or only the fastest and the baseline.
        report: Takes what is printed on the way.
    """

    spec: BenchSpec
    rounds: int = 3
    seconds: float = 1.0
    train_seconds: float = 1.0
    train_all: bool = False
    report: Report = print
    failed: dict[str, str] = field(default_factory=dict)

    def run(self, methods: Sequence[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Measure; return the results and the training results, best first."""
        processes: dict[str, Process] = {}
        try:
            for name in methods:
                self.report(f"starting {name}")
                try:
                    processes[name] = start(replace(self.spec, method=name))
                    processes[name].ask(settle=True)
                except FastleukError as error:
                    self.failed[name] = str(error)
            turns: dict[str, list[dict[str, Any]]] = {name: [] for name in processes}
            for number in range(self.rounds):
                self.report(f"round {number + 1} of {self.rounds}")
                for name, process in processes.items():
                    turns[name].append(process.ask(measure=self.seconds))
                    process.ask(settle=True)
            results = [self._result(name, processes[name], turns[name]) for name in processes]
            _add_ratios(results)
            results.sort(key=lambda r: -r["images_per_s"]["median"])
            training = self._train(processes, results) if self.train_seconds and results else []
        finally:
            for process in processes.values():
                process.close()
        if self.spec.device != "cpu":
            for row in results:
                row["gpu_memory_mb"] = self._gpu_memory(row["name"])
        return results, training

    def _gpu_memory(self, name: str) -> float | None:
        """Return what the device's memory grows by, in MB, when ``name`` is alone on it.

        No library can say it of itself: DALI's pool, torch's and CUDA's own state are all in it.
        """
        device = torch.device(self.spec.device)
        before = usage.device_bytes(device)
        try:
            process = start(replace(self.spec, method=name))
        except FastleukError as error:  # it ran before
            self.report(f"{name}: its GPU memory could not be measured: {error}")
            return None
        try:
            after = process.ask(measure=self.seconds)["device_bytes"]
        finally:
            process.close()
        return None if before is None or after is None else (after - before) / 1e6

    def _train(
        self, processes: dict[str, Process], results: list[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Train, fed by the methods, the fastest first, each in turns with one batch replayed."""
        names = [row["name"] for row in results]
        if not self.train_all:
            names = [name for i, name in enumerate(names) if i == 0 or name == BASELINE]
        for name in processes.keys() - set(names):
            processes[name].close()
        found: list[dict[str, Any]] = []
        for name in names:
            self.report(f"training {self.spec.backbone} fed by {name}")
            turns = processes[name].ask(train=self.train_seconds)
            processes[name].close()  # several networks' memory at once would not fit everywhere
            fed, ideal = turns["fed"], turns["ideal"]
            if not found:
                found.append(self._trained(IDEAL, ideal, ideal))
            found.append(self._trained(name, fed, ideal))
        return [found[0], *sorted(found[1:], key=lambda r: -r["share_of_ideal"])]

    def _trained(
        self, name: str, turns: list[dict[str, float]], ideal: list[dict[str, float]]
    ) -> dict[str, Any]:
        seconds = sum(turn["seconds"] for turn in turns)
        return {
            "name": name,
            "backbone": self.spec.backbone,
            "steps": sum(turn["steps"] for turn in turns),
            "images_per_s": float(np.median(_rates(turns))),
            "ideal_images_per_s": float(np.median(_rates(ideal))),
            "share_of_ideal": float(np.median(_rates(turns) / _rates(ideal))),
            "data_wait_share": sum(turn["waited"] for turn in turns) / seconds,
        }

    def _result(self, name: str, process: Process, turns: list[dict[str, Any]]) -> dict[str, Any]:
        rates = _rates(turns)
        latencies = np.concatenate([turn["latencies_ms"] for turn in turns])
        images = sum(turn["images"] for turn in turns)
        low, median, high = np.percentile(rates, [25, 50, 75])
        used = [turn["cpu_s"] for turn in turns]
        return {
            "name": name,
            "what": METHODS[name],
            "batch_size": self.spec.batch_size,
            "workers": self.spec.workers,
            "allocator": self.spec.allocator,
            "images_per_s": {
                "median": float(median),
                "iqr": float(high - low),
                "rounds": rates.tolist(),
            },
            "cpu_s_per_1000_images": None if None in used else 1e3 * sum(used) / images,
            "peak_memory_mb": _megabytes(turns, "memory_bytes"),
            "gpu_memory_mb": None,
            "latency_ms": {
                "p50": float(np.percentile(latencies, 50)),
                "p95": float(np.percentile(latencies, 95)),
            },
            "first_batch_s": process.first_batch_s,
            "shape": process.first["shape"],
            "dtype": process.first["dtype"],
        }


def sweep(
    bench: Bench, methods: Sequence[str], batches: Sequence[int], workers: Sequence[int]
) -> list[dict[str, Any]]:
    """Measure each method at every batch size and number of workers."""
    found = []
    for batch_size in batches:
        for count in workers:
            spec = replace(bench.spec, batch_size=batch_size, workers=count)
            one = replace(bench, spec=spec, train_seconds=0, report=lambda _: None)
            results, _ = one.run(methods)
            for row in results:
                median = row["images_per_s"]["median"]
                bench.report(f"  {row['name']:<18} batch {batch_size:>4}, {count:>2} workers: "
                             f"{median:8.0f} images/s")  # fmt: skip
            found += results
    return found


def _rates(turns: list[dict[str, float]]) -> np.ndarray:
    return np.array([turn["images"] / turn["seconds"] for turn in turns])


def _add_ratios(results: list[dict[str, Any]]) -> None:
    base = [r["images_per_s"]["median"] for r in results if r["name"] == BASELINE]
    for row in results:
        row["ratio_to_torchvision"] = row["images_per_s"]["median"] / base[0] if base else None


def _megabytes(turns: list[dict[str, Any]], key: str) -> float | None:
    values = [turn[key] for turn in turns]
    return None if None in values else max(values) / 1e6
