"""Worker processes of the torchvision loader: they end with the run, and say one clear thing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LINUX = sys.platform == "linux"

PARENT = """
import multiprocessing, os, sys, time

def work(run, hold):
    sys.stdout = sys.stderr = open(os.devnull, "w")
    from fastleuk.loading import watch
    if sys.argv[-1] == "pipe":
        del os.pidfd_open
    watch.end_with(run)
    hold.set()
    time.sleep(600)

if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    hold = context.Event()
    worker = context.Process(target=work, args=(os.getpid(), hold))
    worker.start()
    hold.wait()
    print(worker.pid, flush=True)
    time.sleep(600)
"""

RUN = """
import sys, time, multiprocessing
import numpy as np, torch
from fastleuk.augment import NONE
from fastleuk.config import LoaderConfig
from fastleuk.data.discover import discover
from fastleuk.loading import make_loader
from fastleuk.loading.stream import EvalStream

if __name__ == "__main__":
    manifest = discover(sys.argv[1]).manifest
    loader = make_loader(
        manifest=manifest, stream=EvalStream(np.arange(64), batch_size=1),
        config=LoaderConfig(loader="torchvision", size=32, workers=2), policy=NONE,
        mean=(0.5,) * 3, std=(0.2,) * 3, device=torch.device("cpu"),
    )
    batches = loader.epoch()
    next(batches)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(600)
"""


def _gone(pid):
    """Whether a process has ended; one that nobody has reaped has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _kill_and_see(script, *args):
    """The workers that stay after the run that ``script`` is was killed."""
    run = subprocess.Popen(
        [sys.executable, script, *args], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        workers = [int(pid) for pid in run.stdout.readline().split()]
        assert workers
        assert not any(map(_gone, workers))
        run.kill()  # not reaped yet: it is a zombie, as in a container whose init reaps nothing
        for _ in range(200):
            if all(map(_gone, workers)):
                break
            time.sleep(0.1)
        return [pid for pid in workers if not _gone(pid)]
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        run.stdout.close()


@pytest.mark.skipif(not LINUX, reason="reads /proc")
@pytest.mark.parametrize("how", ["handle", "pipe"])
def test_a_worker_ends_with_the_run_that_is_killed(how, tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    assert _kill_and_see(script, how) == []


@pytest.mark.slow
@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_the_torchvision_loaders_workers_end_with_the_run(cells, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(RUN)
    assert _kill_and_see(script, cells) == []
