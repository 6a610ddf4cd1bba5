"""Runs side by side: kept, gone on with, refused."""

import json
import os
import signal
from pathlib import Path

import pytest

from fastleuk.data.from_config import open_dataset
from fastleuk.errors import CheckpointError
from fastleuk.protocols import jobs as module
from fastleuk.protocols.jobs import Job, run_jobs
from fastleuk.training.interrupt import Interrupted
from tests.makers.cells import SUBJECT_REGEX
from tests.makers.protocol_runs import PretendedTraining, change, tiny_config
from tests.makers.training_runs import quiet


@pytest.fixture
def training(monkeypatch):
    pretended = PretendedTraining()
    monkeypatch.setattr(module, "train", pretended)
    monkeypatch.setattr(module, "resume", lambda *_, **__: pytest.fail("nothing to resume"))
    return pretended


@pytest.fixture(scope="module")
def content_hash(cells):
    return open_dataset(tiny_config(cells, SUBJECT_REGEX).data, report=quiet).content_hash


@pytest.fixture
def go(cells, content_hash, tmp_path):
    """Run two seeds of one configuration in ``tmp_path``."""

    def run(config=None, names=("a", "b"), report=quiet):
        config = config or tiny_config(cells, SUBJECT_REGEX)
        asked = [
            Job(name=name, config=change(config, "run", seed=seed))
            for seed, name in enumerate(names)
        ]
        return run_jobs(asked, tmp_path, content_hash=content_hash, report=report)

    return run


def test_finished_runs_are_kept(go, training, tmp_path):
    said = []
    assert go() == [tmp_path / "runs" / name for name in "ab"]
    assert training.calls == ["a", "b"]
    go(report=said.append)
    assert training.calls == ["a", "b"]
    assert "2 of 2 runs" in said[0]
    go(names=("a", "b", "c"))
    assert training.calls == ["a", "b", "c"]


def test_places_and_machines_may_change(go, training, cells):
    config = tiny_config(cells, SUBJECT_REGEX)
    go(config)
    config = change(config, "run", device="auto", checkpoint_every=3.0)
    config = change(config, "loader", workers=2, prefetch=5, cache="off")
    go(change(config, "data", data=f"{cells}/../{cells.name}"))
    assert training.calls == ["a", "b"]


def test_another_configuration_is_refused_before_anything_is_trained(go, training, cells):
    config = tiny_config(cells, SUBJECT_REGEX)
    go(config, names=("b",))
    other = change(change(config, "optim", lr=0.01), "augment", augment="none")
    with pytest.raises(CheckpointError) as caught:
        go(other, names=("a", "b"))
    for said in ("b: optim.lr was 0.001, is 0.01", "augment.augment was 'paper', is 'none'",
                 "b: policy.toml was", "Choose another --out"):  # fmt: skip
        assert said in str(caught.value)
    assert "a:" not in str(caught.value)
    assert training.calls == ["b"]


@pytest.mark.usefixtures("training")
def test_a_policy_file_counts_by_content(go, cells, tmp_path):
    from fastleuk.augment import PAPER

    file = tmp_path / "mine.toml"
    config = change(tiny_config(cells, SUBJECT_REGEX), "augment", augment=str(file))
    file.write_text(PAPER.to_toml())
    go(config, names=("a",))
    file.write_text(PAPER.replace(degrees=(-180.0, 180.0)).to_toml())
    with pytest.raises(CheckpointError, match="policy"):
        go(config, names=("a",))


@pytest.mark.usefixtures("training")
def test_other_data_are_refused(go, tmp_path):
    go()
    metrics = tmp_path / "runs" / "a" / "test_metrics.json"
    metrics.write_text(json.dumps({"data": "another"}))
    with pytest.raises(CheckpointError, match=r"a: was trained on other data \(another\)"):
        go()


def test_a_folder_of_unknown_origin_is_left_alone(go, training, tmp_path):
    stranger = tmp_path / "runs" / "b" / "thesis.txt"
    stranger.parent.mkdir(parents=True)
    stranger.write_text("years of work")
    with pytest.raises(CheckpointError, match=r"b\.json is missing"):
        go()
    assert stranger.read_text() == "years of work"
    assert training.calls == []


def test_a_run_killed_before_its_first_checkpoint_starts_anew(go, training, tmp_path):
    go()
    folder = tmp_path / "runs" / "b"
    for file in folder.iterdir():
        file.unlink()
    (folder / "config.toml").write_text("[run]\n")
    go()
    assert training.calls == ["a", "b", "b"]
    assert not (folder / "config.toml").exists()


def test_a_run_with_a_checkpoint_goes_on_from_it(go, training, monkeypatch, tmp_path):
    go()
    folder = tmp_path / "runs" / "b"
    kept = (folder / "test_metrics.json").read_text()
    (folder / "test_metrics.json").unlink()
    (folder / "last.ckpt").write_bytes(b"a checkpoint")
    resumed = []

    def resume(run: Path, *, device, **_):
        resumed.append((run, device))
        (run / "test_metrics.json").write_text(kept)
        return run

    monkeypatch.setattr(module, "resume", resume)
    go()
    assert resumed == [(folder, "cpu")]
    assert training.calls == ["a", "b"]


@pytest.mark.parametrize("signalled", [False, True])
def test_ctrl_c_between_and_in_runs_says_how_to_go_on(go, training, monkeypatch, signalled):
    stopped = KeyboardInterrupt()
    if signalled:
        stopped = Interrupted("Stopped after step 3. Go on with: fastleuk train --resume x")
        stopped.exit_code = 75

    def stopping(config, *, report):
        if Path(config.run.out).name == "b":
            raise stopped
        return training(config, report=report)

    monkeypatch.setattr(module, "train", stopping)
    with pytest.raises(Interrupted, match="1 of 2 runs are finished; give the same") as caught:
        go()
    assert caught.value.exit_code == (75 if signalled else 130)
    assert "--resume" not in str(caught.value)
    monkeypatch.setattr(module, "train", training)
    go()
    assert training.calls == ["a", "b"]


def test_a_real_run_stopped_in_its_second_epoch_ends_like_an_uninterrupted_one(
    cells, content_hash, tmp_path
):
    config = tiny_config(cells, SUBJECT_REGEX, epochs=2)
    asked = [Job(name="a", config=config)]

    def stop_once(text: str) -> None:
        if text.startswith("epoch   1/2"):
            os.kill(os.getpid(), signal.SIGINT)

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run_jobs(asked, whole, content_hash=content_hash, report=quiet)
    with pytest.raises(Interrupted, match="0 of 1 runs"):
        run_jobs(asked, stopped, content_hash=content_hash, report=stop_once)
    assert not (stopped / "runs/a/test_metrics.json").exists()
    run_jobs(asked, stopped, content_hash=content_hash, report=quiet)
    for name in ("test_metrics.json", "test_predictions.csv", "best.safetensors"):
        assert (stopped / "runs/a" / name).read_bytes() == (whole / "runs/a" / name).read_bytes()
