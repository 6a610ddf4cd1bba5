"""The benchmark: one process for each way of loading, asked in turns."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any

import numpy as np

import fastleuk
from fastleuk.bench.spec import BASELINE, IDEAL, METHODS, BenchSpec
from fastleuk.errors import FastleukError

PACKAGES = ("torch", "torchvision", "nvidia-dali-cuda120", "numpy", "pillow", "albumentations",
            "kornia", "opencv-python-headless", "timm")  # fmt: skip
Report = Callable[[str], None]


class Process:
    """A :mod:`fastleuk.bench.worker` and the line to it.

    Args:
        spec: What it opens.

    Raises:
        FastleukError: it ended before its first batch; its last words are in the text.
    """

    def __init__(self, spec: BenchSpec) -> None:
        started = time.perf_counter()
        self.spec = spec
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fastleuk.bench.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1", "PYTHONWARNINGS": "ignore"},
        )
        self.first = self._ask(spec.to_line())
        self.first_batch_s = time.perf_counter() - started

    def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command; return the answer."""
        return self._ask(json.dumps(command))

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        with suppress(BrokenPipeError):  # the answer below is empty then
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            self._process.wait()
            words = self._process.stderr.read().strip().splitlines()
            self.close()
            raise FastleukError(
                f"{self.spec.method} ended: {words[-1] if words else 'without a word'}"
            )
        return json.loads(answer)

    def close(self) -> None:
        """End the process and its workers."""
        process = self._process
        if process.poll() is None and process.stdin is not None:
            try:
                process.stdin.write('{"quit": true}\n')
                process.stdin.close()
                process.wait(10)
            except (OSError, subprocess.TimeoutExpired):
                process.kill()
                process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None and not pipe.closed:
                with suppress(BrokenPipeError):  # what it never read
                    pipe.close()


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
                    processes[name] = Process(replace(self.spec, method=name))
                    processes[name].ask(settle=True)
                except FastleukError as error:
                    self.failed[name] = str(error)
            turns: dict[str, list[dict[str, Any]]] = {name: [] for name in processes}
            for number in range(self.rounds):
                self.report(f"round {number + 1} of {self.rounds}")
                for name, process in processes.items():
                    turns[name].append(process.ask(measure=self.seconds))
                    process.ask(settle=True)
            results = [self._result(processes[name], turns[name]) for name in processes]
            _add_ratios(results)
            results.sort(key=lambda r: -r["images_per_s"]["median"])
            training = self._train(processes, results) if self.train_seconds and results else []
        finally:
            for process in processes.values():
                process.close()
        return results, training

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

    @staticmethod
    def _result(process: Process, turns: list[dict[str, Any]]) -> dict[str, Any]:
        rates = _rates(turns)
        latencies = np.concatenate([turn["latencies_ms"] for turn in turns])
        images = sum(turn["images"] for turn in turns)
        low, median, high = np.percentile(rates, [25, 50, 75])
        used = [turn["cpu_s"] for turn in turns]
        return {
            "name": process.spec.method,
            "what": METHODS[process.spec.method],
            "batch_size": process.spec.batch_size,
            "workers": process.spec.workers,
            "images_per_s": {
                "median": float(median),
                "iqr": float(high - low),
                "rounds": rates.tolist(),
            },
            "cpu_s_per_1000_images": None if None in used else 1e3 * sum(used) / images,
            "peak_memory_mb": _megabytes(turns, "memory_bytes"),
            "gpu_memory_mb": _megabytes(turns, "gpu_memory_bytes"),
            "latency_ms": {
                "p50": float(np.percentile(latencies, 50)),
                "p95": float(np.percentile(latencies, 95)),
            },
            "first_batch_s": process.first_batch_s,
            "shape": process.first["shape"],
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


def machine(device: str) -> dict[str, Any]:
    """Describe what the figures were measured on."""
    import torch

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    affinity = getattr(os, "sched_getaffinity", None)
    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    return {
        "cpu": _cpu_model(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "memory_gb": _memory_gb(),
        "gpu": gpu,
        "device": device,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "fastleuk": fastleuk.__version__,
        "packages": versions,
        "date": time.strftime("%Y-%m-%d %H:%M:%S"),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _rates(turns: list[dict[str, float]]) -> np.ndarray:
    return np.array([turn["images"] / turn["seconds"] for turn in turns])


def _add_ratios(results: list[dict[str, Any]]) -> None:
    base = [r["images_per_s"]["median"] for r in results if r["name"] == BASELINE]
    for row in results:
        row["ratio_to_torchvision"] = row["images_per_s"]["median"] / base[0] if base else None


def _megabytes(turns: list[dict[str, Any]], key: str) -> float | None:
    values = [turn[key] for turn in turns]
    return None if None in values else max(values) / 1e6


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    return round(pages * size / 1e9, 1)
