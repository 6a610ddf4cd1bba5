"""Moments on a device: CUDA events on a GPU, which the host need not wait for, else its clock."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import torch

LAG = 8
"""Training steps that the host may be ahead of a GPU."""


class Mark(Protocol):
    """A moment."""

    def record(self) -> None:
        """This is the moment: on a GPU, once what was queued before is done."""

    def synchronize(self) -> None:
        """Wait until it has passed."""

    def elapsed_time(self, end: Any, /) -> float:
        """Milliseconds from this to ``end``."""


class HostMark:
    """A moment on the host."""

    def __init__(self) -> None:
        self._time = 0.0

    def record(self) -> None:
        """Take the time."""
        self._time = time.perf_counter()

    def synchronize(self) -> None:
        """It has passed."""

    def elapsed_time(self, end: HostMark, /) -> float:
        """Milliseconds from this to ``end``."""
        return 1e3 * (end._time - self._time)


class CudaMark:
    """A moment on a GPU's current stream, whichever GPU is torch's current one.

    Args:
        device: ``cuda[:N]``.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._event = torch.cuda.Event(enable_timing=True)

    def record(self) -> None:
        """Put an event on the stream."""
        self._event.record(torch.cuda.current_stream(self._device))

    def synchronize(self) -> None:
        """Wait until the GPU has come to it."""
        self._event.synchronize()

    def elapsed_time(self, end: CudaMark, /) -> float:
        """Milliseconds on the GPU from this to ``end``."""
        return self._event.elapsed_time(end._event)


def new_mark(device: torch.device) -> Callable[[], Mark]:
    """Return what makes marks for ``device``."""
    return HostMark if device.type != "cuda" else lambda: CudaMark(device)


class Clock:
    """Times from batch to batch.

    Args:
        make: Makes marks, see :func:`new_mark`.
    """

    def __init__(self, make: Callable[[], Mark]) -> None:
        self._make = make
        self._marks: list[Mark] = []
        self._started = time.perf_counter()
        self.mark()

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._marks) - 1

    def mark(self) -> None:
        """A batch has been handed over."""
        self._marks.append(self._make())
        self._marks[-1].record()

    @property
    def host_seconds(self) -> float:
        """Seconds since the beginning, as the host sees them."""
        return time.perf_counter() - self._started

    def latencies(self) -> list[float]:
        """Seconds from batch to batch, after waiting for the device."""
        self._marks[-1].synchronize()
        pairs = zip(self._marks, self._marks[1:], strict=False)
        return [a.elapsed_time(b) / 1e3 for a, b in pairs]


class Waits:
    """Time in which the device did no training step: from the end of one to the next one's start.

    On a GPU the host runs ahead, so how long it waits for a batch says nothing about the device.
    Here the gaps are the device's own: none where the next batch was there and its step queued
    before the last step had ended. Uploading and augmenting on the training's stream are gaps.

    Args:
        make: Makes marks, see :func:`new_mark`.
    """

    def __init__(self, make: Callable[[], Mark]) -> None:
        self._make = make
        self._gaps: list[tuple[Mark, Mark]] = []
        self._ends: deque[Mark] = deque()
        self.stepped()

    def fed(self) -> None:
        """A batch is there; its step is queued next."""
        start = self._make()
        start.record()
        self._gaps.append((self._ends[-1], start))

    def stepped(self) -> None:
        """A step has been queued. Waits for the one ``LAG`` before it."""
        end = self._make()
        end.record()
        self._ends.append(end)
        if len(self._ends) > LAG:
            self._ends.popleft().synchronize()

    def seconds(self) -> float:
        """Return the sum of the gaps, after waiting for the device."""
        self._ends[-1].synchronize()
        return sum(end.elapsed_time(start) for end, start in self._gaps) / 1e3
