"""Training from configuration to pictures, and back from a checkpoint."""

import csv
import json
import os
import signal

import pytest
import torch

from fastleuk import config as cfg
from fastleuk.errors import CheckpointError, ConfigError, DataError, FastleukError
from fastleuk.evaluation.evaluate import evaluate_run
from fastleuk.training import loop
from fastleuk.training.checkpoint.file import load_checkpoint
from fastleuk.training.train import resume, train
from tests.makers.training_runs import metrics, quiet, small_config


@pytest.fixture(scope="module")
def finished(cells, tmp_path_factory):
    said = []
    out = tmp_path_factory.mktemp("runs") / "whole"
    # per_class: some augmented copies in every epoch, so that resumption is tested on them.
    run = train(small_config(cells, out, per_class="20"), report=said.append)
    return run, "\n".join(said)


def test_a_run_leaves_all_that_a_user_keeps(finished):
    run, said = finished
    names = {file.name for file in run.iterdir()}
    assert names == {
        "config.toml", "policy.toml", "split.csv", "metrics.csv", "best.safetensors", "last.ckpt",
        "test_metrics.json", "test_predictions.csv", "learning_curves.png", "confusion_matrix.png",
        "calibration.png", "test_subjects.csv",
        "run.json", "run.lock", "log.txt",
    }  # fmt: skip
    rows = metrics(run)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert any(row["best"] == "1" for row in rows)
    figures = json.loads((run / "test_metrics.json").read_text())
    assert figures["samples"] == 16
    assert figures["subjects"] == 4
    assert figures["synthetic"] is False
    assert cfg.read_config(run / "config.toml").loader.loader in ("dali", "torchvision")
    for said_once in ("Device: cpu", str(run / "learning_curves.png"), "macro", "sensitivity"):
        assert said_once in said


def test_the_pictures_are_pictures(finished):
    from PIL import Image

    from fastleuk.evaluation import plots

    for name in ("learning_curves.png", "confusion_matrix.png", "calibration.png"):
        with Image.open(finished[0] / name) as image:
            assert min(image.size) > 2 * plots.DPI  # inches
            assert len(image.convert("RGB").getcolors(1 << 24)) > 50


def test_evaluate_repeats_the_figures_exactly(finished):
    run, _ = finished
    before = (run / "test_metrics.json").read_bytes(), (run / "test_predictions.csv").read_bytes()
    evaluate_run(run, report=quiet)
    after = (run / "test_metrics.json").read_bytes(), (run / "test_predictions.csv").read_bytes()
    assert after == before


def test_the_same_seed_gives_the_same_run(finished, cells, tmp_path):
    run = train(small_config(cells, tmp_path / "again", per_class="20"), report=quiet)
    assert metrics(run) == metrics(finished[0])
    assert (run / "best.safetensors").read_bytes() == (
        finished[0] / "best.safetensors"
    ).read_bytes()


@pytest.mark.parametrize(
    "steps", [2, *(pytest.param(steps, marks=pytest.mark.slow) for steps in (5, 8))]
)  # an epoch has 5: in it, at its end, in the second
def test_a_run_stopped_and_resumed_equals_an_uninterrupted_one(
    finished, cells, tmp_path, monkeypatch, steps
):
    done = 0
    backward = loop.Trainer._backward

    def stopping(self, batch, share):
        nonlocal done
        done += 1
        if done == steps:
            os.kill(os.getpid(), signal.SIGTERM)
        return backward(self, batch, share)

    monkeypatch.setattr(loop.Trainer, "_backward", stopping)
    out = tmp_path / "stopped"
    with pytest.raises(loop.Interrupted, match=f"--resume {out}") as stopped:
        train(small_config(cells, out, per_class="20"), report=quiet)
    assert stopped.value.exit_code == 143
    assert not (out / "test_metrics.json").exists()
    torch.manual_seed(99)  # resumption must not lean on this process's state
    resume(out, report=quiet)
    whole, _ = finished
    assert metrics(out) == metrics(whole)
    assert (out / "best.safetensors").read_bytes() == (whole / "best.safetensors").read_bytes()
    assert (out / "test_metrics.json").read_bytes() == (whole / "test_metrics.json").read_bytes()
    left, right = (load_checkpoint(run / "last.ckpt") for run in (out, whole))
    assert all(torch.equal(left["model"][name], right["model"][name]) for name in left["model"])
    assert torch.equal(left["rng"]["cpu"], right["rng"]["cpu"])


def test_patience_stops_a_run_that_no_longer_learns(cells, tmp_path):
    config = small_config(cells, tmp_path / "run", lr=1e-12, epochs=9, patience=2)
    assert len(metrics(train(config, report=quiet))) == 3


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(cells, tmp_path, monkeypatch):
    backward = loop.Trainer._backward
    bad = []

    def poisoned(self, batch, share):
        if self.progress.step == 2:
            bad.extend(self.data.files[row] for row in batch.indices.tolist())
            batch.images[1] = float("nan")
        return backward(self, batch, share)

    monkeypatch.setattr(loop.Trainer, "_backward", poisoned)
    config = small_config(cells, tmp_path / "run", checkpoint_every=1e-9, lr=1e-3)
    with pytest.raises(FastleukError, match="loss became nan in epoch 1, step 3, at") as error:
        train(config, report=quiet)
    assert "learning rate 0.001" in str(error.value)
    assert set(str(error.value).split("images:\n")[1].split()) == set(bad)
    assert len(bad) == 8
    state = load_checkpoint(tmp_path / "run" / "last.ckpt")
    assert state["progress"]["step"] == 2
    assert all(value.isfinite().all() for value in state["model"].values())
    assert not (tmp_path / "run" / "best.safetensors").exists()


def test_the_torchvision_loader_trains_too(cells, tmp_path):
    config = small_config(cells, tmp_path / "run", loader="torchvision", epochs=1)
    assert len(metrics(train(config, report=quiet))) == 1


# What is refused, and when


def test_options_are_refused_before_any_file_is_read(tmp_path):
    for changes, says in (
        ({"backbone": "efficientnet_b33"}, "efficientnet_b3"),
        ({"weights": str(tmp_path / "no.pth")}, "no.pth"),
        ({"augment": "papr"}, "paper"),
        ({"per_class": "many"}, "--per-class"),
        ({"split": "subjects"}, "split"),
    ):
        with pytest.raises(FastleukError, match=says):
            train(
                small_config(tmp_path / "no-such-data", tmp_path / "run", **changes), report=quiet
            )
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_something_is_left_alone(finished, cells):
    run, _ = finished
    before = {file: file.read_bytes() for file in run.iterdir()}
    with pytest.raises(DataError, match="--resume"):
        train(small_config(cells, run), report=quiet)
    assert {file: file.read_bytes() for file in run.iterdir()} == before


def test_resuming_with_other_data_is_refused_and_says_what_differs(cells, tmp_path):
    import shutil

    moved = tmp_path / "cells"
    shutil.copytree(cells, moved)
    run = train(small_config(moved, tmp_path / "run", epochs=1), report=quiet)
    victim = sorted(moved.rglob("*.bmp"))[3]
    victim.write_bytes(sorted(moved.rglob("*.bmp"))[4].read_bytes()[:-3] + b"abc")
    for action in (resume, evaluate_run):
        with pytest.raises(DataError, match=victim.name):
            action(run, report=quiet)


def test_resuming_needs_a_sound_checkpoint_of_this_run(finished, tmp_path):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace("\nlr = 0.001", "\nlr = 0.01"))
    with pytest.raises(CheckpointError, match="config"):
        resume(run, report=quiet)
    (run / "config.toml").write_text(text)
    content = (run / "last.ckpt").read_bytes()
    (run / "last.ckpt").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        resume(run, report=quiet)
    torch.save({"format": 999}, run / "last.ckpt")
    with pytest.raises(CheckpointError, match="999"):
        resume(run, report=quiet)
    (run / "last.ckpt").unlink()
    with pytest.raises(CheckpointError, match="nothing to resume"):
        resume(run, report=quiet)
    with pytest.raises(CheckpointError, match="no run folder"):
        resume(tmp_path, report=quiet)


def test_bad_files_stop_a_run_unless_they_are_skipped(cells, tmp_path):
    import shutil

    data = tmp_path / "cells"
    shutil.copytree(cells, data)
    files = sorted(data.rglob("*.bmp"))
    files[0].write_bytes(b"")
    files[1].write_text("this is text")
    files[9].write_bytes(files[9].read_bytes()[:500])
    with pytest.raises(DataError) as error:
        train(small_config(data, tmp_path / "run"), report=quiet)
    for file in (files[0], files[1], files[9]):
        assert file.name in str(error.value)
    assert not (tmp_path / "run").exists()
    run = train(small_config(data, tmp_path / "run", skip_bad=True, epochs=1), report=quiet)
    with (run / "skipped.csv").open() as listed:
        skipped = {row["path"] for row in csv.DictReader(listed)}
    assert skipped == {f.relative_to(data).as_posix() for f in (files[0], files[1], files[9])}


def test_an_unknown_part_is_refused(finished):
    with pytest.raises(ConfigError, match="train, val, test"):
        evaluate_run(finished[0], part="all", report=quiet)
