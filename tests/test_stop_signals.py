"""SIGHUP and SIGTERM: commands end as by Ctrl-C, runs with a checkpoint; nohup is respected."""

import os
import pty
import signal
import subprocess
import sys
import time

import pytest

from fastleuk.stop_signals import Ended, ended_by_signals
from fastleuk.training.interrupt import STOPPING, StopRequest

CHILD = """
import signal, sys, time
from fastleuk.training.interrupt import StopRequest

with StopRequest() as stop:
    print("ready", flush=True)
    for _ in range(int(sys.argv[2])):
        time.sleep(0.02)
        print(".", end="", flush=True)  # as a progress bar
        print(".", end="", flush=True, file=sys.stderr)
        if stop.signal:
            break
    print("Stopped", flush=True)
with open(sys.argv[1], "w") as file:
    file.write(f"{stop.signal}")
"""


OPEN = "fastleuk.data.from_config.open_dataset"


@pytest.fixture(autouse=True)
def _handlers():
    numbers = (*STOPPING, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    assert {number: signal.getsignal(number) for number in numbers} == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_command_as_ctrl_c_does(number, code):
    cleaned = []

    def work():
        try:
            signal.raise_signal(number)
        finally:
            cleaned.append(True)
            if number == signal.SIGHUP:  # the shell's, after the system's
                signal.raise_signal(number)

    with ended_by_signals() as received, pytest.raises(KeyboardInterrupt) as ended:
        work()
    assert (cleaned, received.number) == ([True], number)
    assert isinstance(ended.value, Ended)
    assert ended.value.exit_code == code


@pytest.mark.parametrize("number", STOPPING)
def test_what_is_ignored_stays_ignored(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with ended_by_signals() as received, StopRequest() as stop:
            signal.raise_signal(number)
            assert signal.getsignal(number) is signal.SIG_IGN
        assert (received.number, stop.signal) == (None, None)
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", STOPPING)
def test_every_signal_is_a_request_to_stop(number):
    with StopRequest() as stop:
        signal.raise_signal(number)
        assert stop.signal == number


def test_a_second_hangup_is_no_impatience():
    with StopRequest() as stop:
        for _ in range(3):
            signal.raise_signal(signal.SIGHUP)
        assert stop.signal == signal.SIGHUP
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_closed_terminal_stops_a_run_that_prints_on(tmp_path):
    out = tmp_path / "checkpoint"
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", CHILD, str(out), "2000"])
    said = b""
    while b"ready" not in said:
        said += os.read(terminal, 100)
    os.close(terminal)
    status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) == 0
    assert out.read_text() == str(int(signal.SIGHUP))


def test_nohup_is_respected(tmp_path):
    out = tmp_path / "checkpoint"
    command = ["nohup", sys.executable, "-c", CHILD, str(out), "40"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        while b"ready" not in child.stdout.readline():
            pass
        child.send_signal(signal.SIGHUP)
        assert child.communicate(timeout=60)[0].count(b"Stopped") == 1
        assert out.read_text() == "None"
    finally:
        child.kill()


@pytest.mark.parametrize(
    ("command", "inner", "says"),
    [
        (["evaluate", "x"], "fastleuk.evaluation.evaluate.evaluate_run", "No figures were written"),
        (["predict", "x", "y"], "fastleuk.predict.words.split_words", "--resume goes on"),
        (["prepare", "--data", "x"], OPEN, "the same command goes on"),
        (["pack", "x"], OPEN, "No shards were left"),
        (["runs"], "fastleuk.tracking.runs.find_runs", "Nothing was left"),
    ],
)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_every_command_says_what_a_signal_left(
    fastleuk, monkeypatch, command, inner, says, number, code
):
    def signaled(*_, **__):
        signal.raise_signal(number)
        time.sleep(1)

    monkeypatch.setattr(inner, signaled)
    found, _, error = fastleuk(*command)
    assert found == code
    assert error.startswith("Stopped. ")
    assert says in error


def test_a_wait_for_other_processes_is_ended_at_once(tmp_path):
    """The wait is a call of torch that does not return to Python for ten minutes."""
    code = (
        "from datetime import timedelta\n"
        "from torch.distributed import TCPStore\n"
        "from fastleuk.stop_signals import ended_at_once, ended_by_signals\n"
        "with ended_by_signals(), ended_at_once():\n"
        "    print('waits', flush=True)\n"
        "    TCPStore('localhost', 0, 2, True, timeout=timedelta(seconds=100))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=tmp_path, text=True
    )
    assert process.stdout.readline() == "waits\n"
    time.sleep(1)
    process.terminate()
    assert process.wait(timeout=30) == -signal.SIGTERM
    process.stdout.close()
