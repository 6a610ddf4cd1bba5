"""Keeping what a GPU still reads: memory is dropped on the host before the GPU has used it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol


class Event(Protocol):
    """A point in a stream of work, as ``torch.cuda.Event`` is."""

    def query(self) -> bool:
        """Whether all work before it is done."""

    def synchronize(self) -> None:
        """Wait for that."""


class Hold:
    """Holds batches until the GPU has done the work that was queued while they were in use.

    DALI takes a buffer back as soon as nobody refers to it, and may write the next batch there
    while the step that reads it is still waiting in torch's stream. So a reference stays here
    until an event, recorded after the batch's use was queued, has passed.

    Args:
        limit: Batches held at most; for room the oldest one's event is waited for.
        record: Makes the event; by default on torch's current stream.
        device: For the default of ``record``: what torch takes for one.
    """

    def __init__(
        self,
        limit: int,
        *,
        record: Callable[[], Event] | None = None,
        device: Any = None,
    ) -> None:
        self._limit, self._device = limit, device
        self._record = record or self._on_current_stream
        self._held: deque[tuple[Event, Any]] = deque()

    def __len__(self) -> int:
        """Return the number of batches held."""
        return len(self._held)

    def add(self, tensors: Any) -> None:
        """Hold ``tensors`` until the work that is queued by now is done; let go what is over."""
        self._held.append((self._record(), tensors))
        while self._held and self._held[0][0].query():
            self._held.popleft()
        while len(self._held) > self._limit:
            self._held[0][0].synchronize()
            self._held.popleft()

    def close(self) -> None:
        """Wait for all events and let everything go."""
        while self._held:
            self._held[0][0].synchronize()
            self._held.popleft()

    def _on_current_stream(self) -> Event:
        import torch

        event: Event = torch.cuda.current_stream(self._device).record_event()
        return event
