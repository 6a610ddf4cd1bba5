"""``--profile N``: where a step's time goes, as a table and as a trace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch

from fastleuk.files import write_text

Item = TypeVar("Item")
WARM_UP = 5
"""Steps before the first that is measured: algorithms are chosen, memory is allocated."""
PARTS = ("data wait", "forward", "backward", "optimiser")
_NOTHING = nullcontext()


class StepProfile:
    """Times ``steps`` steps, then traces as many; before and after that it costs nothing.

    The table comes from steps without the profiler, which slows them down. On a GPU the parts are
    the device's times between CUDA events and ``data wait`` is the host's; what the device computes
    while the host waits counts in both, and then the parts add up to more than the step.

    Args:
        steps: How many; 0 for none.
        run_dir: Where ``profile.json`` (Chrome trace) and ``profile.txt`` (tables) go.
        device: Where the model is.
        report: Takes the table.
    """

    def __init__(
        self, steps: int, *, run_dir: Path, device: torch.device, report: Callable[[str], None]
    ) -> None:
        self._steps, self._run_dir, self._device, self._report = steps, run_dir, device, report
        self._done, self._timed = 0, 0
        self._stage = "warm-up" if steps else "over"
        self._seconds = dict.fromkeys((*PARTS, "step"), 0.0)
        self._events: list[tuple[str, Any, Any]] = []
        self._began = 0.0
        self._tracer: Any = None

    def waits(self, batches: Iterable[Item]) -> Iterator[Item]:
        """Yield the batches; each ``next`` is the data wait of the step that follows."""
        iterator = iter(batches)
        while True:
            self._began = time.perf_counter()
            try:
                with self._named("data wait"):
                    batch = next(iterator)
            except StopIteration:
                return
            self._seconds["data wait"] += self._elapsed()
            yield batch

    def part(self, name: str) -> AbstractContextManager[None]:
        """Return the context of one of :data:`PARTS` but the first."""
        if self._stage == "timing":
            return self._timing(name)
        return self._named(name)

    def step(self) -> None:
        """Count a finished step; the last ones write the table and the trace."""
        if self._stage == "over":
            return
        self._seconds["step"] += self._elapsed()
        self._done += 1
        if self._stage == "warm-up" and self._done == WARM_UP:
            self._synchronise()
            self._stage = "timing"
        elif self._stage == "timing":
            self._timed += 1
            if self._timed == self._steps:
                self._finish_timing()
                self._start_trace()
        elif self._stage == "tracing" and self._done == WARM_UP + 2 * self._steps:
            self._finish_trace()

    def close(self) -> None:
        """Write what there is, if the run ended first."""
        if self._stage != "over" and not self._timed:
            self._report(
                f"note: --profile {self._steps} measured nothing: the run had {self._done} steps, "
                f"and the first {WARM_UP} are warm-up."
            )
        elif self._stage == "timing":
            self._finish_timing()
        elif self._stage == "tracing":
            self._finish_trace()
        self._stage = "over"

    def _elapsed(self) -> float:
        return time.perf_counter() - self._began if self._stage == "timing" else 0.0

    def _named(self, name: str) -> AbstractContextManager[Any]:
        return torch.profiler.record_function(name) if self._stage == "tracing" else _NOTHING

    @contextmanager
    def _timing(self, name: str) -> Iterator[None]:
        if self._device.type == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            yield
            end.record()
            self._events.append((name, begin, end))
        else:
            before = time.perf_counter()
            yield
            self._seconds[name] += time.perf_counter() - before

    def _synchronise(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _finish_timing(self) -> None:
        before = time.perf_counter()
        self._synchronise()
        self._seconds["step"] += time.perf_counter() - before
        for name, begin, end in self._events:
            self._seconds[name] += begin.elapsed_time(end) / 1000
        self._events.clear()
        table = self.table()
        self._report(table)
        write_text(self._run_dir / "profile.txt", f"{table}\n")

    def table(self) -> str:
        """Return milliseconds and share of each part, means over the timed steps."""
        whole = self._seconds["step"]
        parts = {name: self._seconds[name] for name in PARTS}
        parts["other"] = max(whole - sum(parts.values()), 0.0)
        lines = [f"profile: means of {self._timed} steps on the {self._device.type}"]
        lines += [
            f"  {name:<10} {1000 * seconds / self._timed:9.2f} ms {seconds / whole:7.1%}"
            for name, seconds in (*parts.items(), ("step", whole))
        ]
        return "\n".join(lines)

    def _start_trace(self) -> None:
        activity = torch.profiler.ProfilerActivity
        kinds = [activity.CPU]
        if self._device.type == "cuda":
            kinds.append(activity.CUDA)
        self._tracer = torch.profiler.profile(activities=kinds)
        self._tracer.start()
        self._stage = "tracing"

    def _finish_trace(self) -> None:
        self._stage = "over"
        self._synchronise()
        self._tracer.stop()
        trace = self._run_dir / "profile.json"
        self._tracer.export_chrome_trace(str(trace))
        order = "self_device_time_total" if self._device.type == "cuda" else "self_cpu_time_total"
        operators = self._tracer.key_averages().table(sort_by=order, row_limit=20)
        text = f"{self.table()}\n\nOperators, {self._steps} steps under the profiler\n{operators}"
        write_text(self._run_dir / "profile.txt", text)
        self._report(f"Profile: {trace}, {self._run_dir / 'profile.txt'}")
        self._tracer = None
