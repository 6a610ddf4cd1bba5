"""Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 as a request that the loop answers between two updates."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

from fastleuk.errors import FastleukError
from fastleuk.stop_signals import handled, leave, open_terminals


class Interrupted(FastleukError):
    """The run was stopped by a signal; its checkpoint is complete.

    The exit code is the shell's for that signal: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP
    (a terminal or an SSH connection was closed), 138 for SIGUSR1 (what SLURM sends before a job's
    time is over: ``sbatch --signal``).
    """

    def __init__(self, message: str, signal_number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
_REPEATED = (signal.SIGHUP, signal.SIGUSR1)


class StopRequest:
    """Context in which the first of :data:`STOPPING` is noted and another one interrupts.

    A second SIGUSR1 or SIGHUP does not: a batch system, or a terminal that is closed, may send it
    to a process and to its parent, who passes it on. Signals that are ignored, as SIGHUP is under
    nohup, stay ignored.

    Outside the main thread, where Python delivers no signals, it notes nothing.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, object] = {}
        self._terminals: list[int] = []

    def __enter__(self) -> StopRequest:
        """Take the signals over."""
        self._terminals = open_terminals()
        for number in handled(STOPPING):
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
        if number == signal.SIGHUP:
            leave(self._terminals)
        if self.signal is None:
            self.signal = number
        elif number not in _REPEATED:
            raise KeyboardInterrupt
