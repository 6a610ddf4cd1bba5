"""Ctrl-C, SIGTERM and SIGUSR1 as a request that the loop answers between two updates."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

from fastleuk.errors import FastleukError


class Interrupted(FastleukError):
    """The run was stopped by a signal; its checkpoint is complete.

    The exit code is the shell's for that signal: 130 for SIGINT, 143 for SIGTERM, 138 for SIGUSR1
    (what SLURM is told to send before a job's time is over: ``sbatch --signal``).
    """

    def __init__(self, message: str, signal_number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Context in which the first of :data:`STOPPING` is noted and another one interrupts.

    A second SIGUSR1 does not: a batch system may send it to a process and to its parent, who
    passes it on.

    Outside the main thread, where Python delivers no signals, it notes nothing.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        """Take the signals over."""
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.signal is None:
            self.signal = number
        elif number != signal.SIGUSR1:
            raise KeyboardInterrupt
