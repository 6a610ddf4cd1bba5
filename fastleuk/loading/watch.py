"""Worker processes that end with the run they work for, however it ends.

A run that is killed, by the system for want of memory for instance, tells its workers nothing.
Those of a fork server are no children of the run: neither the parent's number, which PyTorch's
workers look at, nor Linux' signal on a parent's death says anything to them.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.connection import wait


def end_with(run: int) -> None:
    """End this worker process as soon as the process ``run``, which started it, is gone."""
    thread = threading.Thread(target=_watch, args=(run,), daemon=True, name="fastleuk-watch")
    thread.start()


def _watch(run: int) -> None:
    wait_for_end(run)
    os._exit(1)  # not sys.exit: the main thread may wait for ever for what the run would send


def wait_for_end(run: int) -> None:
    """Return when the process ``run``, which started this one by ``multiprocessing``, is gone."""
    try:
        wait([os.pidfd_open(run)])
        return
    except ProcessLookupError:
        return
    except (AttributeError, OSError):  # no Linux, one before 5.3, or a container forbids it
        parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])  # a pipe whose other end closes with the run
