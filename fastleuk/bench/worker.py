"""One process of the benchmark: it opens one way of loading and measures when it is told to.

Its commands (:mod:`fastleuk.bench.measure.process`): first the specification, then ``measure`` and
``train`` with seconds, and ``settle``.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from fastleuk.bench.contenders.feeds import open_feed
from fastleuk.bench.contenders.stream import Feed
from fastleuk.bench.measure import usage
from fastleuk.bench.measure.marks import Clock, Waits, new_mark
from fastleuk.bench.measure.process import serve
from fastleuk.bench.spec import BenchSpec

if TYPE_CHECKING:
    from fastleuk.models.device import Precision

Step = Callable[[torch.Tensor, torch.Tensor], None]

TURNS = 2
"""How often a feed and the ideal take turns in training."""

DRAIN = 4
"""Batches that may wait ready-made when a measurement begins, at least: two for each of two
workers. They are taken before the clock starts."""


class Meter:
    """Measures a feed in turns.

    Args:
        take: Takes the next batch; returns its images.
        device: Where the batches are.
        warm_up: Batches before the first turn: memory takes some to find its size.
        drain: Batches before every other turn, as many as may wait ready-made: what was made while
            nobody took it goes untimed.
    """

    def __init__(
        self, take: Callable[[], int], device: torch.device, *, warm_up: int, drain: int
    ) -> None:
        self._take, self._device = take, device
        self._next, self._drain = max(warm_up, drain), drain

    def measure(self, seconds: float) -> dict[str, Any]:
        """Take batches for about so many seconds."""
        for _ in range(self._next):
            self._take()
        self._next = self._drain
        synchronize(self._device)
        cpu, clock = usage.cpu_seconds(os.getpid()), Clock(new_mark(self._device))
        images = 0
        while clock.host_seconds < seconds or len(clock) < 2:
            images += self._take()
            clock.mark()
        used = usage.cpu_seconds(os.getpid())
        latencies = clock.latencies()
        return {
            "images": images,
            "seconds": sum(latencies),
            "latencies_ms": [1e3 * wait for wait in latencies],
            "cpu_s": None if cpu is None or used is None else used - cpu,
            "memory_bytes": usage.memory_bytes(os.getpid()),
            "device_bytes": usage.device_bytes(self._device),
        }


def settle() -> dict[str, Any]:
    """Wait until the batches made ahead are made, so that the next process has the machine."""
    deadline = time.perf_counter() + 10
    used = usage.cpu_seconds(os.getpid())
    while used is not None and time.perf_counter() < deadline:
        time.sleep(0.1)
        before, used = used, usage.cpu_seconds(os.getpid())
        if used is not None and used - before < 0.03:
            break
    return {}


def synchronize(device: torch.device) -> None:
    """Wait for what the device still does."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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
        own = spec.method.startswith(("dali", "triton"))
        drain = 3 if own else max(DRAIN, 2 * spec.workers)
        self._meter = Meter(
            lambda: len(next(self.feed)[0]), self.device, warm_up=16 if own else 0, drain=drain
        )

    def first_batch(self) -> dict[str, Any]:
        """Take the first batch and describe it."""
        images, _ = next(self.feed)
        synchronize(self.device)
        dtype = str(images.dtype).removeprefix("torch.")
        mean = float(images.float().mean())
        return {"shape": list(images.shape), "dtype": dtype, "mean": mean}

    def measure(self, seconds: float) -> dict[str, Any]:
        """Take batches for about so many seconds."""
        return self._meter.measure(seconds)

    def train(self, seconds: float) -> dict[str, Any]:
        """Train in turns on batches of the feed and, ideally fed, on one batch again and again.

        The two share a network, a process and the minute: a machine whose speed drifts, or that
        is cold at first, is so for both. A turn takes a half of ``seconds``, a step at least.
        """
        step = _make_step(self.spec, self.device)
        images, labels = next(self.feed)
        one = images.clone(), labels.clone()
        step(*one)  # the first one gets its memory from the system
        synchronize(self.device)
        started = time.perf_counter()
        step(*one)
        synchronize(self.device)
        # A network slower than the feed finds its queue full at every step, so also at the first
        # of a turn. A faster one must not: what was made while nobody took it goes untimed.
        drained = DRAIN if time.perf_counter() - started < seconds / 10 else 0
        turns: dict[str, list[dict[str, float]]] = {"fed": [], "ideal": []}
        for _ in range(TURNS):
            for _ in range(drained):
                step(*next(self.feed))
            synchronize(self.device)
            turns["fed"].append(self._turn(step, self.feed, seconds / TURNS))
            settle()  # what the loader still makes must not slow the ideal down
            turns["ideal"].append(self._turn(step, itertools.repeat(one), seconds / TURNS))
        return turns

    def _turn(self, step: Step, feed: Feed, seconds: float) -> dict[str, float]:
        waits = Waits(new_mark(self.device))
        steps, images, started = 0, 0, time.perf_counter()
        while not steps or time.perf_counter() - started < seconds:
            batch = next(feed)
            waits.fed()
            step(*batch)
            waits.stepped()
            images, steps = images + len(batch[1]), steps + 1
        synchronize(self.device)
        total = time.perf_counter() - started
        return {"images": images, "steps": steps, "seconds": total, "waited": waits.seconds()}


def _make_step(spec: BenchSpec, device: torch.device) -> Step:
    from fastleuk.memory import keep_freed_memory
    from fastleuk.models.backbone import create_model
    from fastleuk.models.device import choose_precision

    keep_freed_memory()  # as `fastleuk train` does, unless the benchmark forbids it to all
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
    """Serve the commands of :class:`fastleuk.bench.run.Bench`."""
    opened: list[Worker] = []

    def commands(line: str) -> dict[str, Callable[[Any], dict[str, Any]]]:
        worker = Worker(BenchSpec.from_line(line))
        opened.append(worker)
        return {
            "first": lambda _: worker.first_batch(),
            "measure": worker.measure,
            "settle": lambda _: settle(),
            "train": worker.train,
        }

    serve(commands)
    opened[0].close()


if __name__ == "__main__":
    main()
