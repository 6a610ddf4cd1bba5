"""The upload and the kernels of a batch as one CUDA graph, for batches of one form.

A graph is one launch for the host instead of one copy and three kernels. It reads a host buffer of
its own, which may be written again once the graph has run: so there are a few for each form, used
in turns, and the host waits only where it is so many batches ahead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch

from fastleuk.augment.gpu.packing import Layout, Packed
from fastleuk.augment.gpu.streams import Streams, streams_of

IN_TURNS = 3
FORMS = 4
"""So many are kept: those used last."""

Launch = Callable[[torch.Tensor, Layout], torch.Tensor]


class Recorder(Protocol):
    """Records work on a device to do it again."""

    def __call__(self, work: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
        """Return what does it again, and the tensor that it writes its result to."""


class CapturedKernels:
    """The kernels for batches whose images are on the GPU, captured at the first of each form.

    Args:
        launch: Of :class:`.kernels.Kernels`.
        streams: Of a device; None for those of the batch's.
        record: Records work; None for a CUDA graph.
    """

    def __init__(
        self,
        launch: Launch,
        *,
        streams: Callable[[Any], Streams] = streams_of,
        record: Recorder | None = None,
    ) -> None:
        self._launch, self._streams, self._record = launch, streams, record or cuda_graph
        self._forms: dict[tuple[Layout, torch.device], deque[_Captured]] = {}

    def __call__(self, packed: Packed, device: torch.device) -> torch.Tensor:
        """Augment a batch on ``device``; the result is a tensor of its own."""
        assert not packed.layout.pixels, "images that go up have no fixed form"
        form = packed.layout, device
        captured = self._forms.pop(form, None)
        if captured is None:
            captured = deque()
        self._forms[form] = captured
        if len(captured) < IN_TURNS:
            streams = self._streams(device)
            captured.appendleft(_Captured(packed, streams, self._launch, self._record))
            while len(self._forms) > FORMS:
                for old in self._forms.pop(next(iter(self._forms))):
                    old.close()
        result = captured[0](packed)
        captured.rotate(-1)
        return result


class _Captured:
    """One graph with the buffer that it reads."""

    def __init__(self, packed: Packed, streams: Streams, launch: Launch, record: Recorder) -> None:
        self._streams = streams
        layout = packed.layout
        self._nbytes = layout.images_up.stop
        self._host = streams.host_buffer(self._nbytes)
        self._device = streams.device_buffer(layout.room.stop)
        self._done: Any = None
        self._fill(packed)

        def work() -> torch.Tensor:
            source = torch.from_numpy(self._host[: self._nbytes])
            self._device[: self._nbytes].copy_(source, non_blocking=True)
            return launch(self._device, layout)

        with _on(self._device):
            self._replay, self._output = record(work)

    def _fill(self, packed: Packed) -> None:
        first = 0
        for part in packed.uploads(self._device.data_ptr()):
            part.fill(self._host[first : first + part.nbytes])
            first += part.nbytes

    def __call__(self, packed: Packed) -> torch.Tensor:
        if self._done is not None:
            self._streams.wait(self._done)
        self._fill(packed)
        self._streams.step_uses(self._device)
        with _on(self._device):
            self._replay()
            result = self._output.clone()
        self._done = self._streams.after_step()
        return result

    def close(self) -> None:
        """Wait until it has run: nobody else may get its memory before."""
        if self._done is not None:
            self._streams.wait(self._done)


def _on(tensor: torch.Tensor) -> AbstractContextManager:
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def cuda_graph(work: Callable[[], torch.Tensor]) -> tuple[Callable[[], None], torch.Tensor]:
    """Capture work on torch's current device; DALI may free memory in the background meanwhile."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        work()  # Triton compiles here, not in the capture
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        output = work()
    return graph.replay, output
