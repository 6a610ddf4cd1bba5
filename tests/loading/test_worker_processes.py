"""Worker processes of the torchvision loader: no room, sudden ends, signals to all of them."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fastleuk.errors import ConfigError, FastleukError
from fastleuk.loading import torchvision as module
from fastleuk.loading.torchvision import check_shared_memory
from fastleuk.loading.watch import RUNS_OWN, children_ignore_signals, leave_signals_to_the_run

SCRIPT = """
import os, signal, sys, time
import numpy as np
from fastleuk.config import LoaderConfig
from fastleuk.augment import NONE
from fastleuk.data.discover import discover
from fastleuk.errors import FastleukError
from fastleuk.loading import make_loader, torchvision
from fastleuk.loading.stream import EvalStream
import torch

if __name__ == "__main__":
    torchvision.check_shared_memory = lambda **_: None
    manifest = discover(sys.argv[1]).manifest
    loader = make_loader(
        manifest=manifest, stream=EvalStream(np.arange(64), batch_size=8),
        config=LoaderConfig(loader="torchvision", size=int(sys.argv[2]), batch_size=8, workers=2),
        policy=NONE, mean=(.5,) * 3, std=(.5,) * 3, device=torch.device("cpu"), seed=0,
    )
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGTERM)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    try:
        batches = loader.epoch()
        count = len(next(batches).labels)
        if len(sys.argv) > 3:
            for number in numbers:
                os.killpg(0, number)
            time.sleep(1)
        count += sum(len(batch.labels) for batch in batches)
        print("images:", count)
    except FastleukError as error:
        print("error:", error)
"""


def run(tmp_path, *words, before=()):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [*before, sys.executable, str(script), *map(str, words)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=100, start_new_session=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def may_mount():
    mount = "unshare -m mount -t tmpfs -o size=1m tmpfs /dev/shm"
    return subprocess.run(mount.split(), capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or not may_mount(), reason="mounting needs root")
def test_a_full_shm_is_an_error_and_not_a_hang(cells, tmp_path):
    code = 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@"'
    said = run(tmp_path, cells, 200, before=["unshare", "-m", "sh", "-c", code, "-"])
    assert said.startswith("error: /dev/shm: full (")
    assert "--shm-size" in said
    assert "--workers 0" in said


@pytest.mark.slow
def test_signals_to_all_processes_of_a_run_leave_its_workers(cells, tmp_path):
    """A closed terminal and batch systems signal the workers and their fork server, too."""
    assert run(tmp_path, cells, 32, "signals") == "images: 64\n"


def test_workers_whose_batches_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr(module, "shared_memory_free", lambda: 64 << 20)
    sizes = {"size": 224, "batches": 100}
    with pytest.raises(ConfigError, match=r"(?s)--workers 2: 5 batches of 19\.3 MB .*--shm-size"):
        check_shared_memory(batch_size=32, workers=2, prefetch=2, **sizes)
    with pytest.raises(ConfigError, match=r"Use --workers 1"):
        check_shared_memory(batch_size=32, workers=2, prefetch=2, **sizes)
    with pytest.raises(ConfigError, match=r"Use --workers 0 \(slower\)"):
        check_shared_memory(batch_size=256, workers=1, prefetch=1, **sizes)
    check_shared_memory(batch_size=32, workers=0, prefetch=2, **sizes)
    check_shared_memory(batch_size=32, workers=1, prefetch=2, **sizes)
    check_shared_memory(size=224, batch_size=32, batches=3, workers=8, prefetch=2)
    monkeypatch.setattr(module, "shared_memory_free", lambda: None)
    check_shared_memory(batch_size=32, workers=8, prefetch=2, **sizes)


def test_a_batch_that_finds_no_room_names_the_remedy(monkeypatch):
    def full(_tensor):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2>: 28")

    monkeypatch.setattr(module, "get_worker_info", lambda: SimpleNamespace(id=0))
    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    batch = tuple(torch.zeros(1000, 1000) for _ in range(3))
    with pytest.raises(FastleukError, match=r"a batch of 12 MB is due .*--shm-size"):
        module._in_shared_memory(batch)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("DataLoader timed out after 600 seconds", "no batch for 10 minutes"),
        (
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that "
            "dataloader's workers are out of shared memory. Please try to raise your limit.",
            "--shm-size",
        ),
        ("DataLoader worker (pid 7) is killed by signal: Killed. ", "for want of memory"),
        ("DataLoader worker (pid(s) 7, 8) exited unexpectedly", "--workers 0, errors appear"),
        ("DataLoader worker (pid 7) is killed by signal: Segmentation fault. ", "--workers 0"),
    ],
)
def test_workers_that_end_are_reported_with_a_remedy(text, says):
    def fail():
        raise RuntimeError(text)
        yield

    with pytest.raises(FastleukError, match=says):
        module._Running(fail()).next()


def test_other_errors_pass():
    def fail():
        raise RuntimeError("expected scalar type Float")
        yield

    with pytest.raises(RuntimeError, match="scalar type"):
        module._Running(fail()).next()


@pytest.mark.slow
def test_a_batch_that_can_not_be_sent_ends_the_worker():
    """multiprocessing's queues print such an error, and the run would wait for ever."""
    code = (
        "import os, multiprocessing, sys\n"
        "from fastleuk.loading import torchvision as module\n"
        "module._start_worker(os.getppid(), 0)\n"
        "queue = multiprocessing.Queue()\n"
        "queue.put(lambda: None)\n"
        "import time; time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=90)
    assert done.returncode == 1
    assert "can't send a batch" in done.stderr


def in_child(work):
    """Run ``work`` in a fork and return its exit code."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_second_sigterm_ends_a_worker():
    def work():
        leave_signals_to_the_run()
        for number in (*RUNS_OWN, signal.SIGTERM):
            signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)
        time.sleep(60)

    assert in_child(work) == 143


def test_started_processes_ignore_what_the_run_answers():
    code = "import signal; print([int(signal.getsignal(n)) for n in (1, 2, 10, 15)])"
    with children_ignore_signals():
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.stdout == "[1, 1, 1, 1]\n"
    assert not any(signal.getsignal(n) == signal.SIG_IGN for n in (1, 15))


def test_the_batch_is_the_same_in_shared_memory():
    batch = tuple(torch.from_numpy(np.arange(6)) for _ in range(3))
    assert module._in_shared_memory(batch) is batch
