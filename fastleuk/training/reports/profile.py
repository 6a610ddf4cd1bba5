"""``--profile N``: where a step's time goes, as a table and as a trace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.profiler import ProfilerAction, ProfilerActivity

from fastleuk.files import write_text

Item = TypeVar("Item")
WARM_UP = 5
"""Steps before the first that is measured: algorithms are chosen, memory is allocated."""
PARTS = ("data wait", "forward", "backward", "optimiser")
CPU = torch.device("cpu")
_NOTHING = nullcontext()
_RECORDING = (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)


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
        self,
        steps: int = 0,
        *,
        run_dir: Path = Path(),
        device: torch.device = CPU,
        report: Callable[[str], None] = print,
    ) -> None:
        self._steps, self._run_dir, self._device, self._report = steps, run_dir, device, report
        self._timed = 0
        self._seconds = dict.fromkeys((*PARTS, "step"), 0.0)
        self._events: list[tuple[str, Any, Any]] = []
        self._began = 0.0
        self._tracer = self._new_tracer() if steps else None

    def _new_tracer(self) -> torch.profiler.profile:
        kinds = [ProfilerActivity.CPU]
        if self._device.type == "cuda":
            kinds.append(ProfilerActivity.CUDA)
        # The steps that it waits for are those that are timed; one more warms the profiler up.
        schedule = torch.profiler.schedule(
            skip_first=WARM_UP, wait=self._steps, warmup=1, active=self._steps, repeat=1
        )
        tracer = torch.profiler.profile(
            activities=kinds, schedule=schedule, on_trace_ready=self._write_trace
        )
        tracer.start()
        return tracer

    @property
    def _timing(self) -> bool:
        """Whether the step under way is timed."""
        tracer = self._tracer
        return tracer is not None and WARM_UP <= tracer.step_num < WARM_UP + self._steps

    @property
    def _tracing(self) -> bool:
        """Whether the step under way is traced."""
        return self._tracer is not None and self._tracer.current_action in _RECORDING

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
        return self._time(name) if self._timing else self._named(name)

    def step(self) -> None:
        """Count a finished step; the last ones write the table and the trace."""
        if self._tracer is None:
            return
        was_timing, was_tracing = self._timing, self._tracing
        self._seconds["step"] += self._elapsed()
        self._timed += was_timing
        if was_tracing:
            self._synchronise()
        self._tracer.step()
        if self._timing and not was_timing:
            self._synchronise()
        elif was_timing and not self._timing:
            self._write_table()
        elif was_tracing and not self._tracing:
            self._stop()

    def close(self) -> None:
        """Write what there is, if the run ended first."""
        if self._tracer is None:
            return
        if not self._timed:
            self._report(
                f"note: --profile {self._steps} measured nothing: the run had "
                f"{self._tracer.step_num} steps, and the first {WARM_UP} are warm-up."
            )
        elif self._timing:
            self._write_table()
        self._stop()

    def _stop(self) -> None:
        """End the trace, which writes it if there is one."""
        assert self._tracer is not None
        self._synchronise()
        self._tracer.stop()
        self._tracer = None

    def _elapsed(self) -> float:
        return time.perf_counter() - self._began if self._timing else 0.0

    def _named(self, name: str) -> AbstractContextManager[Any]:
        return torch.profiler.record_function(name) if self._tracing else _NOTHING

    @contextmanager
    def _time(self, name: str) -> Iterator[None]:
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

    def _write_table(self) -> None:
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

    def _write_trace(self, tracer: torch.profiler.profile) -> None:
        trace = self._run_dir / "profile.json"
        tracer.export_chrome_trace(str(trace))
        order = "self_device_time_total" if self._device.type == "cuda" else "self_cpu_time_total"
        operators = tracer.key_averages().table(sort_by=order, row_limit=20)
        text = f"{self.table()}\n\nOperators, {self._steps} steps under the profiler\n{operators}"
        write_text(self._run_dir / "profile.txt", text)
        self._report(f"Profile: {trace}, {self._run_dir / 'profile.txt'}")
