"""A run that is killed at any moment and resumed equals one that was not, bit for bit."""

import random
import signal
import textwrap

import pytest
import torch

from fastleuk.training import loop
from fastleuk.training.checkpoint import file, keeper
from fastleuk.training.checkpoint.file import load_checkpoint
from fastleuk.training.train import resume, train
from tests.makers.trainers import Killed, counting, die_at, tiny_trainer
from tests.makers.training_runs import EVERYTHING, left_by, metrics, quiet, same, small_config


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch):
    """Many checkpoints a second: against SIGKILL, unlike against a power cut, none is needed."""
    monkeypatch.setattr("os.fsync", lambda _: None)


def _kill_at(patch, what, when):
    """Raise `Killed` instead of the ``when``-th call of that."""
    owner, name = {
        "step": (loop.Trainer, "_backward"),
        "validation": (loop, "classification_metrics"),
        "checkpoint": (file, "write_atomically"),
        "metrics": (keeper, "write_rows"),
    }[what]
    die_at(patch, owner, name, counting(when))


def _moments(total):
    """Where to kill: in a step, in validation, while the checkpoint or the metrics are written."""
    rng = random.Random(7)
    steps = [("step", rng.randrange(1, total + 1)) for _ in range(2)]
    return [*steps, ("validation", 2), ("checkpoint", 7), ("metrics", 2)]


@pytest.mark.parametrize(
    "options", [pytest.param(EVERYTHING, marks=pytest.mark.slow), {"freeze_epochs": 1, "ema": 0.99}]
)
def test_killed_anywhere_and_resumed_is_as_if_nothing_had_been(tmp_path, monkeypatch, options):
    options = {**options, "checkpoint_every": 1e-9}
    tiny_trainer(tmp_path / "whole", **options).fit()
    expected = left_by(tmp_path / "whole")
    assert len(expected[0]) == 3
    assert len(expected[2]["model"]) > 20
    for what, when in _moments(15):
        run_dir = tmp_path / f"{what}-{when}"
        with monkeypatch.context() as patch:
            _kill_at(patch, what, when)
            with pytest.raises(Killed):
                tiny_trainer(run_dir, **options).fit()
        torch.manual_seed(99)
        resumed = tiny_trainer(run_dir, **options)
        resumed.restore(load_checkpoint(run_dir / "last.ckpt"))
        resumed.fit()
        found = left_by(run_dir)
        assert found[0] == expected[0], (what, when)
        assert found[1] == expected[1], (what, when)
        assert same(found[2], expected[2]), (what, when)


# A real process, really killed


CHILD = """
    import os, signal, sys
    os.fsync = lambda file: None
    import torch
    torch.set_num_threads(1)
    from fastleuk.config import read_config
    from fastleuk.training import loop
    from fastleuk.training.train import train
    from pathlib import Path

    backward, done = loop.Trainer._backward, 0

    def dying(self, batch, share):
        global done
        done += 1
        if done == 8:  # the second epoch's third batch, amid an update of two
            os.kill(os.getpid(), signal.SIGKILL)
        return backward(self, batch, share)

    loop.Trainer._backward = dying
    train(read_config(Path(sys.argv[1])), report=print)
"""


def test_sigkill_amid_an_epoch(cells, tmp_path, zygote):
    options = {**EVERYTHING, "epochs": 3, "checkpoint_every": 1e-9, "lr": 1e-2}
    whole = train(small_config(cells, tmp_path / "whole", **options), report=quiet)
    killed = small_config(cells, tmp_path / "killed", **options)
    (tmp_path / "config.toml").write_text(killed.to_toml())
    log = tmp_path / "child.txt"
    child = zygote.start(textwrap.dedent(CHILD), [tmp_path / "config.toml"], log=log)
    assert child.wait() == -signal.SIGKILL, log.read_text()
    run = tmp_path / "killed"
    state = load_checkpoint(run / "last.ckpt")
    assert (state["progress"]["epoch"], state["progress"]["step"]) == (1, 2)
    assert not (run / "test_metrics.json").exists()
    (run / ".last.ckpt.1.tmp").write_bytes(b"half a checkpoint")
    resume(run, report=quiet)
    found, expected = left_by(run), left_by(whole)
    assert found[0] == expected[0]
    assert found[1] == expected[1]
    assert {"best.safetensors", "best-1.safetensors"} <= found[1].keys()
    for name in ("model", "ema", "optimizer", "schedule", "scaler", "rng", "progress"):
        assert same(found[2][name], expected[2][name]), name
    for name in ("test_metrics.json", "test_predictions.csv"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    assert not list(run.glob(".*"))


def test_the_saved_configuration_repeats_the_run(cells, tmp_path, fastleuk):
    policy = tmp_path / "mine.toml"
    policy.write_text("p_hflip = 0.5\np_rotation = 1.0\ndegrees = 90.0\n")
    options = {**EVERYTHING, "epochs": 2, "lr": 1e-2, "augment": str(policy)}
    first = train(small_config(cells, tmp_path / "first", **options), report=quiet)
    policy.write_text("p_vflip = 1.0\n")  # the run folder's copy counts
    again = tmp_path / "again"
    assert fastleuk("train", "--config", first / "config.toml", "--out", again)[0] == 0
    assert metrics(tmp_path / "again") == metrics(first)
    best = (first / "best.safetensors").read_bytes()
    assert (tmp_path / "again" / "best.safetensors").read_bytes() == best
