"""Images that a caller drops before the GPU has read them: torch's own memory, and others'."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterable
from typing import Any

from fastleuk.augment.hold import Hold

BATCHES = 4
"""Of others' memory that are held at most; for room the host waits for the oldest one."""

_holds: dict[Any, Hold] = {}
_lock = threading.Lock()


def keep_until_read(tensors: Iterable[Any]) -> None:
    """Dropped tensors stay until torch's current stream has done what it has now.

    Torch's allocator sees to that for its own memory. What came by DLPack, from DALI say, belongs
    to somebody who doesn't know torch's stream: such tensors are held here.
    """
    import torch

    others = []
    for tensor in tensors:
        if tensor.device.type == "cuda":
            tensor.record_stream(torch.cuda.current_stream(tensor.device))
            if not tensor.untyped_storage().resizable():  # not of torch's allocator
                others.append(tensor)
    if others:
        with _lock:
            device = others[0].device
            if device not in _holds:
                _holds[device] = Hold(BATCHES, device=device)
            _holds[device].add(others)


@atexit.register
def let_go() -> None:
    """Wait for what is still read, and let all of it go."""
    with _lock:
        for hold in _holds.values():
            hold.close()
        _holds.clear()
