"""Signals that end a command, and what is left of its terminal when that is closed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType


class Ended(KeyboardInterrupt):
    """A signal that ends a command as Ctrl-C does.

    Attributes:
        exit_code: The shell's for that signal: 143 for SIGTERM, 129 for SIGHUP.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Received:
    """The signal that has ended a command, if one has."""

    number: int | None = None


def handled(numbers: Iterable[int]) -> list[int]:
    """Return the signals that may be handled here.

    Those that are ignored stay so: by nohup, which a run in the background is started with, or by
    a shell for its background jobs. Python delivers signals to the main thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        return []
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def ended_by_signals() -> Iterator[Received]:
    """End a command by SIGTERM and SIGHUP as by Ctrl-C: files are closed, locks are released.

    A second SIGTERM ends the process at once. A second SIGHUP has no effect: the shell and the
    system each send one when a terminal is closed.
    """
    received, terminals = Received(), open_terminals()

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        hung_up = number == signal.SIGHUP
        signal.signal(number, signal.SIG_IGN if hung_up else signal.SIG_DFL)
        if hung_up:
            leave(terminals)
        received.number = number
        raise Ended(number)

    before = {n: signal.signal(n, end) for n in handled((signal.SIGTERM, signal.SIGHUP))}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ended_at_once() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the process at once: in a call that does not return to Python.

    Python runs its own handlers between its instructions only, so a wait of minutes in a library
    would outlast the signal.
    """
    numbers = handled((signal.SIGTERM, signal.SIGHUP))
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def open_terminals() -> list[int]:
    """Return which of standard output and error are terminals."""
    return [stream for stream in (1, 2) if os.isatty(stream)]


def leave(terminals: Iterable[int]) -> None:
    """Drop what is written to terminals that have been closed: it would raise OSError."""
    for stream in terminals:
        if not os.isatty(stream):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream)
            os.close(null)
