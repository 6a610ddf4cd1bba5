"""Other processes: one that holds a run, and the several of a distributed one."""

import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from tests.makers.zygote import Zygote

SOON = 60
"""Seconds after which processes that should have ended are said to hang."""


class Holder:
    """Another process that holds a run, until it is killed."""

    def __init__(self, run: Path) -> None:
        code = f"""
            import time
            from pathlib import Path
            from fastleuk.run_folder.start import hold
            with hold(Path({str(run)!r})):
                print("held", flush=True)
                time.sleep(100)
        """
        command = [sys.executable, "-c", textwrap.dedent(code)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "held\n"

    def __enter__(self) -> subprocess.Popen:
        return self.process

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.communicate()


class Processes:
    """Start fastleuk in several processes, as torchrun and the shell would, and wait for them."""

    def __init__(self, zygote: Zygote, folder: Path) -> None:
        self._zygote, self._folder, self._count = zygote, folder, 0

    def __call__(self, *arguments, before="", count=2, slurm=False, **environment):
        """Return exit codes and what each process printed (stdout and stderr), by rank."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        code = textwrap.dedent(before) + "\nfrom fastleuk.cli import main\nmain()\n"
        running, logs = [], []
        for rank in range(count):
            self._count += 1
            logs.append(self._folder / f"process-{self._count}.txt")
            about = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            if slurm:
                about |= {"SLURM_STEP_ID": 0, "SLURM_PROCID": rank, "SLURM_STEP_NUM_TASKS": count}
            else:
                about |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count}
                about |= {"LOCAL_WORLD_SIZE": count}
            child = self._zygote.start(
                code, arguments, log=logs[-1], environment={**about, **environment}
            )
            running.append(child)
        codes = self._wait(running)
        return codes, [log.read_text() for log in logs]

    @staticmethod
    def _wait(running):
        first_ended = None
        try:
            while any(process.poll() is None for process in running):
                ended = [process for process in running if process.poll() is not None]
                first_ended = first_ended or (time.monotonic() if ended else None)
                assert first_ended is None or time.monotonic() < first_ended + SOON, "one hangs"
                time.sleep(0.05)
        finally:
            for process in running:
                process.kill()
        return [process.wait() for process in running]
