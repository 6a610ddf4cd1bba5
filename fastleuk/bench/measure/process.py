"""A process that serves commands, and both ends of the line to it.

A line of JSON is a command, a line of JSON the answer. Whatever else the process prints is read
all the time, so that it never waits for a full pipe, and its end is shown when it fails.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from fastleuk.bench.measure.allocator import environment
from fastleuk.errors import FastleukError

TAIL = 4096
"""Bytes that are kept of what a process prints."""

QUIET = {"NO_ALBUMENTATIONS_UPDATE": "1", "PYTHONWARNINGS": "ignore"}


class Process:
    """A contender in a process of its own, so that none inherits another's memory or threads.

    Args:
        name: What errors call it.
        command: What runs :func:`serve`.
        first: Its first command; the answer is :attr:`first`.
        allocator: A key of :data:`fastleuk.bench.measure.allocator.ALLOCATORS`.

    Raises:
        FastleukError: it ended before its first answer; its last words are in the text.
    """

    def __init__(
        self, name: str, command: Sequence[str], first: str, *, allocator: str = "kept"
    ) -> None:
        started = time.perf_counter()
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(allocator) | QUIET,
        )
        assert self._process.stderr is not None
        self._words = _Tail(self._process.stderr)
        self.first = self._ask(first)
        self.first_batch_s = time.perf_counter() - started

    def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command; return the answer.

        Raises:
            FastleukError: the process ended; its last words are in the text.
        """
        return self._ask(json.dumps(command))

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # the answer below is empty then
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            code = self._process.wait()
            words = self._words.text().strip().splitlines()
            self.close()
            last = words[-1] if words else "without a word"
            raise FastleukError(f"{self.name} {_how_it_ended(code)}: {last}")
        return json.loads(answer)

    def close(self) -> None:
        """End the process and its workers."""
        process = self._process
        if process.poll() is None and process.stdin is not None:
            try:
                process.stdin.write(b'{"quit": true}\n')
                process.stdin.close()
                process.wait(10)
            except (OSError, subprocess.TimeoutExpired):
                process.kill()
                process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None and not pipe.closed:
                with suppress(BrokenPipeError):  # what it never read
                    pipe.close()
        self._words.close()


def _how_it_ended(code: int) -> str:
    if code == -signal.SIGKILL:
        return "was killed, as the kernel does where memory runs out (give fewer --methods)"
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


class _Tail:
    """Reads a pipe to its end in a thread and keeps the last bytes."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe, self._end = pipe, b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while chunk := os.read(self._pipe.fileno(), 1 << 16):
            self._end = (self._end + chunk)[-TAIL:]

    def text(self) -> str:
        """Return the end of what was printed, after the process has ended."""
        self._thread.join(10)  # a worker that outlives the process may hold the pipe open
        return self._end.decode(errors="replace")

    def close(self) -> None:
        """Close the pipe once it has been read to its end."""
        self._thread.join(10)
        if not self._thread.is_alive():
            self._pipe.close()


def serve(commands: Callable[[str], Mapping[str, Callable[[Any], dict[str, Any]]]]) -> None:
    """Be the other end: answer every command until told to quit.

    Args:
        commands: Takes the first line; returns what does each command, by name. ``first`` answers
            the first line.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answers

    def answer(value: dict[str, Any]) -> None:
        print(json.dumps(value), file=answers, flush=True)

    known = commands(sys.stdin.readline())
    answer(known["first"](None))
    for line in sys.stdin:
        ((name, value),) = json.loads(line).items()
        if name == "quit":
            return
        answer(known[name](value))
