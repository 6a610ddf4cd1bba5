"""One process of the benchmark: it opens one way of loading and measures when it is told to.

It reads a line of JSON for each command and answers with one: first the specification, then
``{"measure": seconds}``, ``{"settle": true}``, ``{"train": seconds}`` or ``{"quit": true}``.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from fastleuk.bench import usage
from fastleuk.bench.feeds import Feed, open_feed
from fastleuk.bench.spec import BenchSpec

if TYPE_CHECKING:
    from fastleuk.models.device import Precision

Step = Callable[[torch.Tensor, torch.Tensor], None]

TURNS = 2
"""How often a feed and the ideal take turns in training."""

DRAIN = 4
"""Batches that may wait ready-made when a measurement begins, at least: two for each of two
workers. They are taken before the clock starts."""


class Clock:
    """Times of batches: by CUDA events on a GPU, so that the host may run ahead; else the host's.

    Args:
        device: Where the batches are.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._events: list[torch.cuda.Event] = []
        self._times: list[float] = []
        self.mark()

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._times) - 1

    def mark(self) -> None:
        """A batch has been handed over."""
        self._times.append(time.perf_counter())
        if self._cuda:
            self._events.append(torch.cuda.Event(enable_timing=True))
            self._events[-1].record()

    @property
    def host_seconds(self) -> float:
        """Seconds since the beginning, as the host sees them."""
        return time.perf_counter() - self._times[0]

    def latencies(self) -> list[float]:
        """Seconds from batch to batch, after waiting for the device."""
        if not self._cuda:
            return [b - a for a, b in zip(self._times, self._times[1:], strict=False)]
        self._events[-1].synchronize()
        pairs = zip(self._events, self._events[1:], strict=False)
        return [a.elapsed_time(b) / 1e3 for a, b in pairs]


class Worker:
    """Measures one feed.

    Args:
        spec: What to open.
    """

    def __init__(self, spec: BenchSpec) -> None:
        self.spec = spec
        self.device = torch.device(spec.device)
        self.feed: Feed
        self.feed, self.close = open_feed(spec)
        self._warm_up = 16  # batches; DALI's and malloc's memory takes some to find its size

    def first_batch(self) -> dict[str, Any]:
        """Take the first batch and describe it."""
        images, _ = next(self.feed)
        self._synchronize()
        return {"shape": list(images.shape), "mean": float(images.float().mean())}

    def measure(self, seconds: float) -> dict[str, Any]:
        """Take batches for about so many seconds."""
        dali = self.spec.method.startswith("dali")
        for _ in range(self._warm_up if dali else max(DRAIN, 2 * self.spec.workers)):
            next(self.feed)
        self._warm_up = 3
        self._synchronize()
        cpu, clock = usage.cpu_seconds(os.getpid()), Clock(self.device)
        images = 0
        while clock.host_seconds < seconds or len(clock) < 2:
            batch, _ = next(self.feed)
            images += len(batch)
            clock.mark()
        used = usage.cpu_seconds(os.getpid())
        latencies = clock.latencies()
        return {
            "images": images,
            "seconds": sum(latencies),
            "latencies_ms": [1e3 * wait for wait in latencies],
            "cpu_s": None if cpu is None or used is None else used - cpu,
            "memory_bytes": usage.memory_bytes(os.getpid()),
            "gpu_memory_bytes": self._gpu_memory(),
        }

    def settle(self) -> dict[str, Any]:
        """Wait until the batches made ahead are made, so that the next process has the machine."""
        deadline = time.perf_counter() + 10
        used = usage.cpu_seconds(os.getpid())
        while used is not None and time.perf_counter() < deadline:
            time.sleep(0.1)
            before, used = used, usage.cpu_seconds(os.getpid())
            if used is not None and used - before < 0.03:
                break
        return {}

    def train(self, seconds: float) -> dict[str, Any]:
        """Train in turns on batches of the feed and, ideally fed, on one batch again and again.

        The two share a network, a process and the minute: a machine whose speed drifts, or that
        is cold at first, is so for both. A turn takes a half of ``seconds``, a step at least.
        """
        step = _make_step(self.spec, self.device)
        images, labels = next(self.feed)
        one = images.clone(), labels.clone()
        step(*one)  # the first one gets its memory from the system
        self._synchronize()
        started = time.perf_counter()
        step(*one)
        self._synchronize()
        # A network slower than the feed finds its queue full at every step, so also at the first
        # of a turn. A faster one must not: what was made while nobody took it goes untimed.
        drained = DRAIN if time.perf_counter() - started < seconds / 10 else 0
        turns: dict[str, list[dict[str, float]]] = {"fed": [], "ideal": []}
        for _ in range(TURNS):
            for _ in range(drained):
                step(*next(self.feed))
            self._synchronize()
            turns["fed"].append(self._turn(step, self.feed, seconds / TURNS))
            self.settle()  # what the loader still makes must not slow the ideal down
            turns["ideal"].append(self._turn(step, itertools.repeat(one), seconds / TURNS))
        return turns

    def _turn(self, step: Step, feed: Feed, seconds: float) -> dict[str, float]:
        waited, steps, images, started = 0.0, 0, 0, time.perf_counter()
        while not steps or time.perf_counter() - started < seconds:
            before = time.perf_counter()
            batch = next(feed)
            waited += time.perf_counter() - before
            step(*batch)
            images, steps = images + len(batch[1]), steps + 1
            if steps % 8 == 0:  # the host must not run ahead of a GPU without end
                self._synchronize()
        self._synchronize()
        total = time.perf_counter() - started
        return {"images": images, "steps": steps, "seconds": total, "waited": waited}

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _gpu_memory(self) -> int | None:
        """Memory in use on the device, by whomever: DALI's and torch's pools are in it."""
        if self.device.type != "cuda":
            return None
        free, total = torch.cuda.mem_get_info(self.device)
        return total - free


def _make_step(spec: BenchSpec, device: torch.device) -> Step:
    from fastleuk.memory import keep_freed_memory
    from fastleuk.models.backbone import create_model
    from fastleuk.models.device import choose_precision

    keep_freed_memory()  # as `fastleuk train` does; here for every loader alike
    precision: Precision = choose_precision(device, spec.amp)
    torch.manual_seed(0)
    model = create_model(spec.backbone, num_classes=2, weights="none", size=spec.size)
    model = model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=device.type == "cuda")
    scaler = precision.scaler()
    loss_function = torch.nn.CrossEntropyLoss()

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        with precision.autocast():
            logits = model(images.contiguous(memory_format=torch.channels_last))
        loss = loss_function(logits.float(), labels % 2)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return step


def main() -> None:
    """Serve commands until told to quit; every answer is a line on the real stdout."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answers

    def answer(value: dict[str, Any]) -> None:
        print(json.dumps(value), file=answers, flush=True)

    worker = Worker(BenchSpec.from_line(sys.stdin.readline()))
    answer(worker.first_batch())
    for line in sys.stdin:
        command = json.loads(line)
        if "measure" in command:
            answer(worker.measure(command["measure"]))
        elif "settle" in command:
            answer(worker.settle())
        elif "train" in command:
            answer(worker.train(command["train"]))
        else:
            break
    worker.close()


if __name__ == "__main__":
    main()
