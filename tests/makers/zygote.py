"""A process that has imported what a run needs, and forks for each that the tests ask for.

To import torch and timm takes a process five seconds; many tests start several processes. The
forks are real ones: they have signals, exit codes and connections of their own, and can be killed.
Nothing has been computed before the fork, so no threads are lost in it.

Run as a script it reads requests from stdin, a line of JSON each, and answers in lines of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

PRELOADED = ("fastleuk.cli", "fastleuk.training.train", "fastleuk.training.distributed.join")


class Zygote:
    """Starts processes; ends with the tests."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, *PRELOADED],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"},
        )

    def start(self, code: str, arguments=(), *, log: Path, environment=None) -> Child:
        """Run ``code`` with ``sys.argv`` in a new process, what it prints in ``log``."""
        words, added = [str(word) for word in arguments], environment or {}
        request = {"start": code, "arguments": words, "log": str(log), "environment": added}
        return Child(self, self.ask(request))

    def ask(self, request: dict):
        """Send a request and return the answer."""
        self._process.stdin.write(f"{json.dumps(request)}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.communicate()


class Child:
    """A process that was forked; like :class:`subprocess.Popen`."""

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self.pid, self.returncode, self._zygote = pid, None, zygote

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""
        if self.returncode is None:
            self.returncode = self._zygote.ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float = 120) -> int:
        """Wait for its end."""
        until = time.monotonic() + timeout
        while self.poll() is None:
            assert time.monotonic() < until, f"process {self.pid} hangs"
            time.sleep(0.02)
        return self.returncode

    def kill(self) -> None:
        """Kill it, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, 9)
            self.wait()


def _become(request: dict) -> None:
    """Be the process that was asked for, until its end."""
    code = 1
    try:
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update({name: str(value) for name, value in request["environment"].items()})
        sys.argv = ["fastleuk", *request["arguments"]]
        exec(compile(request["start"], "<test>", "exec"), {"__name__": "__main__"})
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _serve() -> None:
    for name in sys.argv[1:]:
        __import__(name)
    from light import lighten  # it lies beside this script

    lighten()
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            answer = os.fork()
            if answer == 0:
                _become(request)
        else:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
