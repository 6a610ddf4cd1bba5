"""The same command again goes on with the run in --out; another one is refused."""

import os
import shutil
import signal
import threading

import pytest
from typer.testing import CliRunner

from fastleuk.cli import app
from fastleuk.errors import DataError
from fastleuk.training.go_on import unfinished
from fastleuk.training.interrupt import Interrupted, StopRequest
from fastleuk.training.run import train
from tests.makers.training_runs import metrics, quiet, small_config


def stop_in_second_epoch(text):
    if text.startswith("epoch   1"):
        os.kill(os.getpid(), signal.SIGUSR1)


@pytest.fixture(scope="module")
def stopped(cells, tmp_path_factory):
    """A run that SIGUSR1 has stopped, and its configuration."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    config = small_config(cells, out)
    with pytest.raises(Interrupted) as told:
        train(config, report=stop_in_second_epoch)
    assert told.value.exit_code == 128 + signal.SIGUSR1
    return out, config


def test_sigusr1_leaves_a_checkpoint_and_the_command_goes_on(stopped, cells, tmp_path):
    out, config = stopped
    run = shutil.copytree(out, tmp_path / "run")
    (tmp_path / "c.toml").write_text(config.to_toml())
    again = ["train", "--config", str(tmp_path / "c.toml"), "--out", str(run), "--workers", "1"]
    result = CliRunner().invoke(app, again)
    assert result.exit_code == 0, result.output
    assert f"Resuming {run} in epoch 2" in result.output
    whole = train(small_config(cells, tmp_path / "whole"), report=quiet)
    for name in ("best.safetensors", "test_predictions.csv"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    assert [row["train_loss"] for row in metrics(run)] == [
        row["train_loss"] for row in metrics(whole)
    ]
    refused = CliRunner().invoke(app, again)  # it has ended and been tested
    assert isinstance(refused.exception, DataError)
    assert "is not empty" in str(refused.exception)


@pytest.mark.parametrize(
    ("change", "told"),
    [({"lr": 0.5}, "optim.lr was"), ({"augment": "stain"}, "policy."), ({"seed": 9}, "run.seed")],
)
def test_another_run_is_refused_and_said_why(stopped, cells, change, told):
    out, _ = stopped
    with pytest.raises(DataError, match=told) as error:
        unfinished(small_config(cells, out, **change))
    assert f"--resume {out}" in str(error.value)


def test_machines_and_choices_left_to_the_run_do_not_matter(stopped, cells):
    out, _ = stopped
    assert unfinished(small_config(cells, out, workers=1, prefetch=3, loader="auto")) == out


def test_no_folder_or_another_one_begins_a_run(cells, tmp_path):
    assert unfinished(small_config(cells, "")) is None
    assert unfinished(small_config(cells, tmp_path / "none")) is None
    (tmp_path / "notes.txt").write_text("mine")
    assert unfinished(small_config(cells, tmp_path)) is None


def test_a_second_sigusr1_is_no_impatience():
    assert threading.current_thread() is threading.main_thread()
    with StopRequest() as stop:
        for _ in range(2):
            signal.raise_signal(signal.SIGUSR1)
        assert stop.signal == signal.SIGUSR1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
