"""tools/train.sbatch, with stand-ins for srun and scontrol, and torchrun on two "nodes"."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastleuk.run_folder.names import LAST
from tests.makers.cells import PROJECT
from tests.makers.training_runs import metrics, small_config

SCRIPT = PROJECT / "tools" / "train.sbatch"
SRUN = """#!/bin/bash
# Leaves srun's options out and starts the rest once for each node, as srun would.
while [[ $1 == -* ]]; do shift; done
steps=()
for node in $(seq "$SLURM_JOB_NUM_NODES"); do
    "$@" & steps+=($!)
done
trap 'kill -TERM "${steps[@]}"' TERM
code=0
for step in "${steps[@]}"; do
    while kill -0 "$step" 2>/dev/null; do wait "$step" || code=$?; done
done
exit $code
"""
SCONTROL = """#!/bin/bash
case "$1 $2" in
    "show hostnames") echo 127.0.0.1; echo unused ;;
    requeue*) echo "requeue $2" >> "$CALLS" ;;
esac
"""


@pytest.fixture
def job(tmp_path):
    """Start the script as SLURM would."""
    tools = tmp_path / "bin"
    tools.mkdir()
    torchrun = f'#!/bin/bash\nexec {shlex.quote(sys.executable)} -m torch.distributed.run "$@"\n'
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("torchrun", torchrun)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    calls = tmp_path / "calls.txt"
    calls.touch()
    started = []

    def start(*arguments, nodes=2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PYTHONPATH": str(PROJECT),
            "SLURM_JOB_ID": str(10000 * 7 + (port - 20000) % 10000),
            "SLURM_JOB_NODELIST": "a,b",
            "SLURM_JOB_NUM_NODES": str(nodes),
            "SLURM_GPUS_ON_NODE": "1",
            "CALLS": str(calls),
            "OMP_NUM_THREADS": "1",
        }
        log = (tmp_path / f"log-{len(started)}.txt").open("w+")
        process = subprocess.Popen(
            ["bash", str(SCRIPT), *map(str, arguments)],
            env=os.environ | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        started.append(process)
        process.log = log
        process.calls = calls
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.log.close()


def said(process):
    process.log.flush()
    return Path(process.log.name).read_text()


def test_the_script_is_sound_bash():
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)


def test_what_it_asks_of_slurm():
    asked = re.findall(r"^#SBATCH (--\S+)", SCRIPT.read_text(), re.MULTILINE)
    assert {"--requeue", "--signal=B:USR1@120", "--open-mode=append"} <= set(asked)
    text = SCRIPT.read_text()
    assert "--rdzv-backend c10d" in text
    assert re.search(r"srun .*torchrun", text)


def test_without_out_it_refuses_at_once(job):
    process = job("--data", "nowhere")
    assert process.wait(20) == 2
    assert "give --out" in said(process)


@pytest.mark.slow
def test_two_nodes_are_stopped_requeued_and_end_as_if_nothing_had_been(cells, tmp_path, job):
    config = small_config(cells, tmp_path / "run", batch_size=4, epochs=6)
    (tmp_path / "c.toml").write_text(config.to_toml())
    command = ("--config", tmp_path / "c.toml", "--out", tmp_path / "run")
    process = job(*command)
    until = time.monotonic() + 120
    while not (tmp_path / "run" / "metrics.csv").exists():
        assert process.poll() is None, said(process)
        assert time.monotonic() < until, said(process)
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGUSR1)
    assert process.wait(100) != 0
    assert process.calls.read_text().startswith("requeue "), said(process)
    assert (tmp_path / "run" / LAST).is_file()
    assert len(metrics(tmp_path / "run")) < 6
    again = job(*command)
    assert again.wait(180) == 0, said(again)
    assert "Resuming" in said(again)
    assert process.calls.read_text().count("requeue") == 1
    straight = job(*command[:2], "--out", tmp_path / "straight")
    assert straight.wait(180) == 0, said(straight)
    for name in ("best.safetensors", "test_predictions.csv"):
        mine, other = ((tmp_path / run / name).read_bytes() for run in ("run", "straight"))
        assert mine == other, name
    assert len(metrics(tmp_path / "run")) == 6
