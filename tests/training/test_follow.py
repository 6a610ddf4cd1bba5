"""A run follows its data, its weights file, its epochs; what has not ended says so."""

import dataclasses
import json
import os
import shutil
import signal

import pytest

from fastleuk.config import read_config
from fastleuk.data.from_config import open_dataset
from fastleuk.errors import CheckpointError, DataError
from fastleuk.evaluation.evaluate import evaluate_run
from fastleuk.protocols.jobs import Job, refuse_busy, run_jobs
from fastleuk.run_folder.state import ENDED, has_ended, is_tested, read_state, set_mark
from fastleuk.tracking.runs import read_run
from fastleuk.training import loop
from fastleuk.training.train import resume, train
from tests.makers.cells import SUBJECT_REGEX
from tests.makers.processes import Holder
from tests.makers.protocol_runs import tiny_config
from tests.makers.trainers import Killed
from tests.makers.training_runs import metrics, quiet, small_config


@pytest.fixture(scope="module")
def ended(cells, tmp_path_factory):
    """A run of one epoch that began with a weights file, and where its data were."""
    place = tmp_path_factory.mktemp("follow")
    data = shutil.copytree(cells, place / "data")
    weights = place / "weights.safetensors"
    shutil.copy(_first_weights(place), weights)
    run = train(small_config(data, place / "run", epochs=1, weights=str(weights)), report=quiet)
    return run, data, weights


def _first_weights(place):
    from safetensors.torch import save_file

    from fastleuk.models.backbone import create_model

    model = create_model("test_efficientnet", num_classes=2, weights="none")
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, place / "w.safetensors")
    return place / "w.safetensors"


@pytest.fixture
def run(ended, tmp_path):
    return shutil.copytree(ended[0], tmp_path / "run")


def test_data_and_weights_that_are_gone_and_more_epochs(ended, run, tmp_path, fastleuk):
    _, data, weights = ended
    elsewhere, kept = tmp_path / "moved", tmp_path / "kept"
    shutil.move(data, elsewhere)
    shutil.move(weights, kept)
    try:
        code, _, error = fastleuk("train", "--resume", run, "--epochs", 2)
        assert code == 2
        assert f"fastleuk train --resume {run} --data DIR" in error
        assert read_config(run / "config.toml").optim.epochs == 1
        code, said, error = fastleuk(
            "train", "--resume", run, "--data", elsewhere, "--epochs", 2, "--workers", 2
        )
        assert code == 0, error
    finally:
        shutil.move(elsewhere, data)
        shutil.move(kept, weights)
    assert "note: optim.epochs was 1, is 2" in said
    assert f"Resuming {run} in epoch 2" in said
    assert len(metrics(run)) == 2
    config = read_config(run / "config.toml")
    assert config.data.data == str(elsewhere)
    assert (config.optim.epochs, config.loader.workers) == (2, 2)
    assert config.model.weights == str(weights)
    assert is_tested(run)
    code, _, error = fastleuk("train", "--resume", run, "--lr", 0.1, "--data", data)
    assert code == 2
    assert "leave out --lr," in error


def test_another_policy_or_batch_is_refused_with_what_differs(run):
    with pytest.raises(CheckpointError, match=r"1 process × --batch-size 8 = 8; now .*4 = 4"):
        resume(run, changes={"loader": {"batch_size": 4}}, report=quiet)
    text = (run / "policy.toml").read_text()
    assert "p_hflip = 0.5" in text
    (run / "policy.toml").write_text(text.replace("p_hflip = 0.5", "p_hflip = 0.25"))
    with pytest.raises(CheckpointError, match=r"\n  policy\.p_hflip was 0\.5, is 0\.25\n"):
        resume(run, report=quiet)


def test_a_live_run_is_neither_resumed_nor_trained_over(run):
    writing = run / ".last.ckpt.123.tmp"
    writing.write_bytes(b"what the live one is writing")
    with Holder(run) as process:
        told = rf"{run} is being trained by \S+ pid {process.pid} since \d"
        with pytest.raises(CheckpointError, match=told):
            resume(run, report=quiet)
        with pytest.raises(CheckpointError, match=told):
            train(small_config("/no/such/data", run), report=quiet)
        assert writing.exists()


def test_a_folder_that_holds_something_is_refused_before_the_data_are_read(run):
    with pytest.raises(DataError, match=f"--out {run} is not empty"):
        train(small_config("/no/such/data", run), report=quiet)


@pytest.mark.parametrize("again", ["train", "resume"])
def test_killed_before_the_first_checkpoint_it_starts_over(ended, tmp_path, monkeypatch, again):
    whole, data, weights = ended
    out = tmp_path / "run"
    config = small_config(data, out, epochs=1, weights=str(weights))

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("fastleuk.training.train.open_writers", killed)  # where wandb may hang
        with pytest.raises(Killed):
            train(config, report=quiet)
    assert not (out / "last.ckpt").exists()
    assert read_state(out).name == "new"
    said = []
    if again == "train":
        other = dataclasses.replace(config.optim, lr=0.5)
        with pytest.raises(DataError, match=r"optim\.lr was 0\.001, is 0\.5"):
            train(dataclasses.replace(config, optim=other), report=quiet)
        train(config, report=said.append)
    else:
        resume(out, report=said.append)
    assert f"{out} was stopped before its first checkpoint: it starts over" in said
    for name in ("best.safetensors", "test_predictions.csv", "split.csv"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def test_an_interrupted_run_that_is_evaluated_has_not_ended(cells, tmp_path, fastleuk):
    config = tiny_config(cells, SUBJECT_REGEX, epochs=2)
    content_hash = open_dataset(config.data, report=quiet).content_hash

    def stop(text):
        if text.startswith("epoch   1/2"):
            os.kill(os.getpid(), signal.SIGINT)

    jobs, run = [Job(name="a", config=config)], tmp_path / "runs" / "a"
    with pytest.raises(loop.Interrupted):
        run_jobs(jobs, tmp_path, content_hash=content_hash, report=stop)
    code, said, error = fastleuk("evaluate", run)
    assert code == 0, error
    assert "this run has not ended: epoch 1 of 2" in said
    assert json.loads((run / "test_metrics.json").read_text())["note"] == (
        "this run has not ended: epoch 1 of 2"
    )
    assert not is_tested(run)
    assert read_run(run, name="a").state == "interrupted"
    said = []
    run_jobs(jobs, tmp_path, content_hash=content_hash, report=said.append)
    assert f"Resuming {run} in epoch 2" in said
    assert len(metrics(run)) == 2
    assert "note" not in json.loads((run / "test_metrics.json").read_text())
    assert read_run(run, name="a").state == "finished"


def test_ended_but_not_tested_any_evaluation_tests_it(run):
    set_mark(run, ENDED)
    assert has_ended(run)
    assert not is_tested(run)
    evaluate_run(run, part="val", report=quiet)
    assert not is_tested(run)
    evaluate_run(run, report=quiet)
    assert is_tested(run)


def test_a_read_only_run_folder_is_evaluated_elsewhere(ended, tmp_path, monkeypatch):
    run, _, _ = ended
    before = {file: file.read_bytes() for file in run.iterdir()}
    real = os.access
    monkeypatch.setattr(
        os,
        "access",
        lambda path, mode: real(path, mode) and str(path) != str(run),
    )
    with pytest.raises(DataError, match=f"{run} is read-only.*--out DIR"):
        evaluate_run(run, report=quiet)
    out = tmp_path / "figures" / "of-a-colleague"
    evaluate_run(run, out=out, report=quiet)
    assert {file.name for file in out.iterdir()} == {
        "test_metrics.json", "test_predictions.csv", "confusion_matrix.png", "log.txt",
        "calibration.png", "test_subjects.csv",
    }  # fmt: skip
    for name in ("test_metrics.json", "test_predictions.csv"):
        assert (out / name).read_bytes() == before[run / name]
    assert {file: file.read_bytes() for file in run.iterdir()} == before


def test_two_protocols_in_one_folder(cells, tmp_path):
    from fastleuk.protocols.jobs import PROTOCOL_LOCK
    from fastleuk.run_folder.start import hold

    jobs = [Job(name="a", config=tiny_config(cells, SUBJECT_REGEX))]
    with hold(tmp_path, lock=PROTOCOL_LOCK):
        pid = json.loads((tmp_path / "protocol.owner").read_text())["pid"]
        assert pid == os.getpid()
        with pytest.raises(CheckpointError, match=rf"worked on by \S+ pid {pid} since"):
            refuse_busy(tmp_path)
        with pytest.raises(CheckpointError, match=rf"worked on by \S+ pid {pid} since"):
            run_jobs(jobs, tmp_path, content_hash="", report=quiet)
    assert not (tmp_path / "runs").exists()


def test_a_run_of_a_protocol_that_was_resumed_with_more_epochs_is_told(cells, tmp_path):
    config = tiny_config(cells, SUBJECT_REGEX)
    jobs, run = [Job(name="a", config=config)], tmp_path / "runs" / "a"
    content_hash = open_dataset(config.data, report=quiet).content_hash
    run_jobs(jobs, tmp_path, content_hash=content_hash, report=quiet)
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace("epochs = 1\n", "epochs = 2\n", 1))
    with pytest.raises(CheckpointError, match=r"a: optim\.epochs was 1, is 2: it was resumed"):
        run_jobs(jobs, tmp_path, content_hash=content_hash, report=quiet)
