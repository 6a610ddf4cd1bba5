"""Small arrays on their way to a GPU: written once the last reader has finished, never sooner.

A kernel's parameters go up while the GPU works on earlier batches. Three things happen to a
buffer in turn, each on a clock of its own: the host writes it, a stream of its own copies it, the
stream of the training step reads it. :class:`UploadRing` says who waits for whom. It knows
streams and events only by what they do, so that the tests can put slow ones in their place.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class Streams(Protocol):
    """What a device offers: CUDA's streams and events, or those of a test."""

    def host_buffer(self, nbytes: int) -> np.ndarray:
        """uint8 ``(nbytes,)``, from which copies can run by themselves: pinned memory."""

    def device_buffer(self, nbytes: int) -> Any:
        """As many bytes on the device."""

    def copy(self, target: Any, source: np.ndarray, nbytes: int) -> None:
        """Copy the beginning of a host buffer on the stream for uploads; returns at once."""

    def upload_waits(self, event: Any) -> None:
        """What is put on the stream for uploads from now on waits for ``event``."""

    def step_waits(self, event: Any) -> None:
        """Likewise the stream on which the caller computes."""

    def after_upload(self) -> Any:
        """Return an event that passes when the stream for uploads has done what it has now."""

    def after_step(self) -> Any:
        """Likewise the stream on which the caller computes."""

    def wait(self, event: Any) -> None:
        """Wait on the host until ``event`` has passed."""


@dataclass(eq=False, slots=True)
class Slot:
    """A host buffer and the device buffer that it is copied to."""

    host: np.ndarray
    device: Any
    uploaded: Any = None
    read: Any = None


class UploadRing:
    """Buffers that are used again and again, as many uploads ahead as there are slots.

    Args:
        streams: The device.
        slots: How many; one that no slot is left for waits.
        nbytes: Of the largest upload.
    """

    def __init__(self, streams: Streams, *, slots: int, nbytes: int) -> None:
        assert slots > 0
        self.nbytes, self._streams = nbytes, streams
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for _ in range(slots):
            self._free.put(Slot(streams.host_buffer(nbytes), streams.device_buffer(nbytes)))

    def upload(self, parts: Callable[[Any], Sequence[np.ndarray]]) -> Slot:
        """Begin to copy arrays, one behind the other; any thread may call this.

        Args:
            parts: Returns them, C-contiguous, together at most ``nbytes``; it is given the device
                buffer, in case that they are to name places in it.

        Returns:
            The slot, to be given to :meth:`reading`.
        """
        streams, slot = self._streams, self._free.get()
        try:
            self._send(slot, parts(slot.device), streams)
        except BaseException:
            self._free.put(slot)
            raise
        return slot

    @staticmethod
    def _send(slot: Slot, parts: Sequence[np.ndarray], streams: Streams) -> None:
        if slot.uploaded is not None:
            streams.wait(slot.uploaded)  # passed long ago, but for a device that is far behind
        first = 0
        for part in parts:
            raw = part.reshape(-1).view(np.uint8)
            slot.host[first : first + len(raw)] = raw
            first += len(raw)
        if slot.read is not None:
            streams.upload_waits(slot.read)
        streams.copy(slot.device, slot.host, first)
        slot.uploaded = streams.after_upload()

    @contextmanager
    def reading(self, slot: Slot) -> Iterator[Any]:
        """Lend the device buffer to what the caller puts on its stream within the block."""
        self._streams.step_waits(slot.uploaded)
        try:
            yield slot.device
        finally:
            slot.read = self._streams.after_step()
            self._free.put(slot)


class HostStreams:
    """No device: what is copied is there at once. For kernels that are interpreted."""

    def host_buffer(self, nbytes: int) -> np.ndarray:
        """Return plain memory."""
        return np.zeros(nbytes, np.uint8)

    def device_buffer(self, nbytes: int) -> Any:
        """Return a tensor on the CPU."""
        import torch

        return torch.zeros(nbytes, dtype=torch.uint8)

    def copy(self, target: Any, source: np.ndarray, nbytes: int) -> None:
        """Copy."""
        target.numpy()[:nbytes] = source[:nbytes]

    def upload_waits(self, event: Any) -> None:
        """Nothing is ever pending."""

    def step_waits(self, event: Any) -> None:
        """Nothing is ever pending."""

    def after_upload(self) -> Any:
        """Return nothing to wait for."""
        return ()

    def after_step(self) -> Any:
        """Return nothing to wait for."""
        return ()

    def wait(self, event: Any) -> None:
        """Nothing is ever pending."""


class CudaStreams:
    """A CUDA device; the caller's stream is torch's current one at each call.

    Args:
        device: ``cuda:N``.
    """

    def __init__(self, device: Any) -> None:
        import torch

        self._torch, self._device = torch, torch.device(device)
        self._side = torch.cuda.Stream(self._device)

    def host_buffer(self, nbytes: int) -> np.ndarray:
        """Return pinned memory, which lives as long as the array."""
        return self._torch.empty(nbytes, dtype=self._torch.uint8, pin_memory=True).numpy()

    def device_buffer(self, nbytes: int) -> Any:
        """Return memory that torch gives to nobody else before both streams are done with it."""
        buffer = self._torch.empty(nbytes, dtype=self._torch.uint8, device=self._device)
        buffer.record_stream(self._side)
        # The memory may have had an owner whose last kernel is still queued on this stream.
        self._side.wait_stream(self._torch.cuda.current_stream(self._device))
        return buffer

    def copy(self, target: Any, source: np.ndarray, nbytes: int) -> None:
        """Copy on the side stream, from pinned memory and so without a wait."""
        with self._torch.cuda.stream(self._side):
            pinned = self._torch.from_numpy(source[:nbytes])
            target[:nbytes].copy_(pinned, non_blocking=True)

    def upload_waits(self, event: Any) -> None:
        """Order the side stream after ``event``."""
        self._side.wait_event(event)

    def step_waits(self, event: Any) -> None:
        """Order torch's current stream after ``event``."""
        self._torch.cuda.current_stream(self._device).wait_event(event)

    def after_upload(self) -> Any:
        """Record on the side stream."""
        return self._side.record_event()

    def after_step(self) -> Any:
        """Record on torch's current stream."""
        return self._torch.cuda.current_stream(self._device).record_event()

    def wait(self, event: Any) -> None:
        """Block this thread; others go on."""
        event.synchronize()
