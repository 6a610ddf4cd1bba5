"""What :class:`.upload.UploadRing` asks of a device: buffers, copies, and who waits for whom."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from fastleuk.errors import ConfigError


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

    def step_uses(self, buffer: Any) -> None:
        """A device buffer that is dropped stays until that stream has done what it has by then."""

    def after_upload(self) -> Any:
        """Return an event that passes when the stream for uploads has done what it has now."""

    def after_step(self) -> Any:
        """Likewise the stream on which the caller computes."""

    def wait(self, event: Any) -> None:
        """Wait on the host until ``event`` has passed."""


class HostStreams:
    """No device: what is copied is there at once. For kernels that run on the CPU."""

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

    def step_uses(self, buffer: Any) -> None:
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
        """Return memory that torch gives to nobody else before both streams are done with it.

        Raises:
            ConfigError: there isn't as much.
        """
        try:
            buffer = self._torch.empty(nbytes, dtype=self._torch.uint8, device=self._device)
        except self._torch.OutOfMemoryError as error:
            raise too_large(nbytes, self._device) from error
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

    def step_uses(self, buffer: Any) -> None:
        """Tell torch's allocator of its current stream."""
        buffer.record_stream(self._torch.cuda.current_stream(self._device))

    def after_upload(self) -> Any:
        """Record on the side stream."""
        return self._side.record_event()

    def after_step(self) -> Any:
        """Record on torch's current stream."""
        return self._torch.cuda.current_stream(self._device).record_event()

    def wait(self, event: Any) -> None:
        """Block this thread; others go on."""
        event.synchronize()


def streams_of(device: Any) -> Streams:
    """Return those of a torch device."""
    return CudaStreams(device) if device.type == "cuda" else HostStreams()


def too_large(nbytes: int, device: Any) -> ConfigError:
    """Return the error of a batch that doesn't fit, with how much it needs."""
    return ConfigError(
        f"A batch needs {nbytes / 2**20:,.0f} MiB of {device}'s memory beside what is there "
        "already, and there isn't as much: use a smaller batch."
    )
