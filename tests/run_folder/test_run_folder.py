"""The run folder: its state by mark and lock, whose it is, and what two runs differ in."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from fastleuk.augment import NONE, PAPER
from fastleuk.config import Config, LoaderConfig, OptimConfig, RunConfig
from fastleuk.errors import CheckpointError, ConfigError, DataError
from fastleuk.files import write_text
from fastleuk.run_folder.identity import differences, flat, read_identity
from fastleuk.run_folder.start import check_vacant, claim, hold, reserved
from fastleuk.run_folder.state import (
    BEGUN,
    ENDED,
    TESTED,
    clear_temporaries,
    has_ended,
    is_tested,
    not_ended,
    read_state,
    set_mark,
)
from fastleuk.tracking.runs import find_runs, read_run
from fastleuk.training.checkpoint.agreement import changed, check_agreement, check_epochs
from tests.makers.processes import Holder
from tests.makers.tracking_folders import write_run

# State


def test_only_the_mark_says_that_a_run_has_ended(tmp_path):
    run = write_run(tmp_path / "run", scores=(0.5,))  # test figures are there, of an evaluate
    (run / "last.ckpt").write_bytes(b"")
    for mark, ended, tested, state in (
        (BEGUN, False, False, "interrupted"),
        (ENDED, True, False, "ended"),
        (TESTED, True, True, "finished"),
    ):
        set_mark(run, mark)
        (run / "run.lock").touch()
        assert (has_ended(run), is_tested(run)) == (ended, tested)
        assert read_run(run, name="run").state == state
        assert not_ended(run) == ("" if ended else "this run has not ended: epoch 1 of 9")
    (run / "test_predictions.csv").unlink()
    assert not is_tested(run)
    assert has_ended(run)
    (run / "run.json").write_text("{]")
    assert not has_ended(run)


@pytest.mark.parametrize(
    ("scores", "patience", "ended"),
    [
        ((0.1, 0.2), 15, False),
        (tuple(n / 10 for n in range(9)), 15, True),  # all of nine epochs
        ((0.5, 0.5, 0.4), 2, True),
        ((0.5, 0.6, 0.6), 2, False),
    ],
)
def test_a_run_of_an_earlier_version_has_ended_where_its_table_is_full(
    tmp_path, scores, patience, ended
):
    run = write_run(tmp_path / "run", scores=scores)
    text = (run / "config.toml").read_text().replace("patience = 15", f"patience = {patience}")
    (run / "config.toml").write_text(text)
    (run / "last.ckpt").write_bytes(b"")
    assert has_ended(run) == is_tested(run) == ended
    (run / "last.ckpt").unlink()  # it can't go on
    assert is_tested(run)
    (run / "test_metrics.json").unlink()
    assert has_ended(run) == ended
    assert not is_tested(run)


def test_weights_that_were_handed_on_alone_have_ended(tmp_path):
    run = write_run(tmp_path / "run", scores=(), tested=False)
    assert not has_ended(run)
    (run / "best.safetensors").write_bytes(b"")
    assert has_ended(run)


def test_who_trains_a_run_is_known_and_nobody_else_gets_it(tmp_path):
    run = write_run(tmp_path / "runs" / "run", tested=False)
    set_mark(run, BEGUN)
    with Holder(run) as process:
        (found,) = find_runs(tmp_path / "runs")
        assert found.state == "running"
        assert f"pid {process.pid} since" in found.owner
        for attempt in (lambda: hold(run), lambda: claim(run)):
            with pytest.raises(CheckpointError, match=rf"trained by \S+ pid {process.pid} since"):  # noqa: SIM117
                with attempt():
                    pytest.fail("held twice")
        with pytest.raises(CheckpointError, match=f"pid {process.pid}"):
            check_vacant(run, {}, {})
        assert read_state(run).owner.pid == process.pid
    assert read_run(run, name="run").state == "interrupted"
    with hold(run):
        pass


def test_only_what_training_was_writing_is_removed_while_others_may_write(tmp_path):
    for name in (".last.ckpt.7.tmp", ".best.safetensors.7.tmp", ".test_metrics.json.7.tmp"):
        (tmp_path / name).touch()
    clear_temporaries(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [".test_metrics.json.7.tmp"]


@pytest.mark.parametrize("ends", [True, False])
def test_what_a_killed_process_was_writing_goes_with_the_next_writing(tmp_path, ends):
    script = (
        "import sys, time; from pathlib import Path; from fastleuk.files import write_atomically\n"
        "write_atomically(Path(sys.argv[1]), lambda file: print(flush=True) or time.sleep(60))"
    )
    target = tmp_path / "test_[1].json"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(target)], stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        (begun,) = tmp_path.iterdir()
        if ends:
            process.kill()
            process.wait()
        write_text(target, "whole")
        if not ends:
            clear_temporaries(tmp_path)
        assert begun.exists() is not ends
        process.kill()
        process.wait()
    clear_temporaries(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [target.name]


# A folder of its own


def test_runs_that_start_in_the_same_second_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda *_: "20260102-030405")
    with reserved("", "net") as first, reserved("", "net") as second, reserved("", "net") as third:
        assert (first, second, third) == tuple(
            f"runs/20260102-030405-net{end}" for end in ("", "-2", "-3")
        )
        assert Path(third).is_dir()
    with pytest.raises(KeyboardInterrupt), reserved("", "hf-hub:a/b") as failed:
        raise KeyboardInterrupt
    assert failed == "runs/20260102-030405-hf-hub-a-b"
    assert not Path(failed).exists()
    with reserved("mine", "net") as named:
        assert named == "mine"
        assert not Path(named).exists()


def _tables(**optim):
    return dataclasses.asdict(Config(optim=OptimConfig(**optim)))


def _begun(folder):
    folder.mkdir()
    (folder / "config.toml").write_text(Config(optim=OptimConfig(lr=0.01)).to_toml())
    (folder / "policy.toml").write_text(PAPER.to_toml())
    (folder / "split.csv").write_text("path\n")
    (folder / "log.txt").write_text("")
    (folder / ".last.ckpt.7.tmp").write_text("half")
    set_mark(folder, BEGUN)
    return folder


def test_a_run_that_has_no_checkpoint_may_start_over_if_it_is_the_same(tmp_path):
    run, paper = _begun(tmp_path / "run"), PAPER.to_dict()
    assert check_vacant(run, _tables(lr=0.01), paper)
    assert not check_vacant(tmp_path / "none", _tables(lr=0.01), paper)
    with pytest.raises(DataError, match=r"optim\.lr was 0\.01, is 0\.02\n(.*\n)*.*--resume"):
        check_vacant(run, _tables(lr=0.02), paper)
    with pytest.raises(DataError, match=r"policy\.p_hflip was 0\.5, is 0\.0"):
        check_vacant(run, _tables(lr=0.01), NONE.to_dict())
    with claim(run):
        assert not list(run.glob(".*"))
    assert read_state(run).name == "new"
    for name in ("last.ckpt", "metrics.csv", "best.safetensors", "notes.txt"):
        (run / name).touch()
        with pytest.raises(DataError, match="is not empty"):
            check_vacant(run, _tables(lr=0.01), paper)
        with pytest.raises(DataError, match="meanwhile"), claim(run):
            pytest.fail("taken")
        assert (run / name).exists()
        (run / name).unlink()


# Identity


def test_differences_name_keys_and_both_values():
    before = flat({"optim": {"lr": 0.1, "ema": 0.0}, "policy": {"degrees": (-1.0, 1.0)}})
    now = flat({"optim": {"lr": 0.2, "new": 3}, "policy": {"degrees": [-1.0, 1.0]}})
    assert differences(before, now) == [
        "optim.ema was 0.0, is not set",
        "optim.lr was 0.1, is 0.2",
        "optim.new was not set, is 3",
    ]
    assert differences(before, now, free={"optim.ema", "optim.lr"}, defaults={"optim.new": 3}) == []


def _identity(processes=1, batch_size=8, policy=PAPER, **optim):
    config = Config(
        optim=OptimConfig(**optim),
        loader=LoaderConfig(batch_size=batch_size),
        run=RunConfig(out=f"run-{processes}"),
    )
    return {
        "data": "abc",
        "processes": processes,
        **flat(dataclasses.asdict(config)),
        **flat({"policy": policy.to_dict()}),
    }


def test_a_checkpoint_of_an_earlier_version_is_compared_by_the_same_keys(tmp_path):
    config = dataclasses.asdict(Config(optim=OptimConfig(lr=0.1)))
    del config["run"]["out"], config["optim"]["sync_bn"]  # free then, unknown then
    saved = {
        "data": "abc",
        "processes": "1",
        "policy": PAPER.to_toml(),
        "config": json.dumps(config, sort_keys=True),
    }
    now = _identity(lr=0.1, batch_size=Config().loader.batch_size)
    assert check_agreement(read_identity(saved), now, tmp_path) == []
    assert read_identity(json.loads(json.dumps(now))) == now
    with pytest.raises(CheckpointError) as told:
        check_agreement(read_identity(saved), {**now, "optim.lr": 0.2}, tmp_path)
    assert "  optim.lr was 0.1, is 0.2\n" in str(told.value)
    assert len(str(told.value)) < 400


def test_another_policy_is_another_run(tmp_path):
    with pytest.raises(CheckpointError, match=r"policy\.degrees was \[-25.0, 25.0\], is"):
        check_agreement(_identity(), _identity(policy=NONE), tmp_path)


def test_other_processes_may_go_on_with_the_same_global_batch(tmp_path):
    saved = _identity(processes=2, batch_size=4)
    (note,) = check_agreement(saved, _identity(processes=1, batch_size=8), tmp_path)
    assert "2 processes × --batch-size 4 = 8 until now, 1 process × --batch-size 8 = 8" in note
    with pytest.raises(CheckpointError, match=r"= 8; now they would be 1 process × .*= 4") as told:
        check_agreement(saved, _identity(processes=1, batch_size=4), tmp_path)
    assert "Give --batch-size 8." in str(told.value)
    with pytest.raises(CheckpointError, match="a number of processes that divides 8"):
        check_agreement(saved, _identity(processes=3, batch_size=4), tmp_path)


def test_what_is_told_and_what_is_refused_of_a_resumption(tmp_path):
    saved = _identity(epochs=5, patience=3)
    notes = check_agreement(saved, _identity(epochs=9, patience=4), tmp_path)
    assert notes == ["note: optim.epochs was 5, is 9", "note: optim.patience was 3, is 4"]
    config = changed(Config(), {"data": {"data": "x"}, "optim": {"epochs": 80}})
    assert config.data.data == str(Path("x").resolve())
    assert config.optim.epochs == 80
    with pytest.raises(ConfigError, match=r"optim\.lr"):
        changed(Config(), {"optim": {"lr": 0.1}})
    from_files = Config(loader=LoaderConfig(cache="off"))
    for run, cache in ((Config(), "off"), (from_files, "auto")):
        with pytest.raises(ConfigError, match=f"--cache {cache} can't"):
            changed(run, {"loader": {"cache": cache}})
    with pytest.raises(ConfigError, match=r"--epochs 80: .* has 90 epochs behind it"):
        check_epochs(config, {"epoch": 90}, tmp_path)
