"""Worker processes that end with the run they work for, however it ends, and not before it.

A run that is killed, by the system for want of memory for instance, tells its workers nothing.
Those of a fork server are no children of the run: neither the parent's number, which PyTorch's
workers look at, nor Linux' signal on a parent's death says anything to them.

A terminal that is closed, Ctrl-C and batch systems signal every process of a run. The run then
stops at the next update, for which it needs its workers.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from types import FrameType

RUNS_OWN = (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""Signals that the run answers, not its workers."""


def end_with(run: int) -> None:
    """End this worker process as soon as the process ``run``, which started it, is gone."""
    thread = threading.Thread(target=_watch, args=(run,), daemon=True, name="fastleuk-watch")
    thread.start()


def leave_signals_to_the_run() -> None:
    """Ignore, in this worker process, what the run answers.

    The second SIGTERM ends the process: the first may be for all processes of the run, and is also
    how PyTorch ends a worker that does not answer, which it then tries again.
    """
    for number in RUNS_OWN:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _first_sigterm)


def _first_sigterm(number: int, frame: FrameType | None) -> None:
    del number, frame
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))


@contextmanager
def children_ignore_signals() -> Iterator[None]:
    """Let processes that are started within, such as a fork server, ignore what the run answers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (*RUNS_OWN, signal.SIGTERM)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
