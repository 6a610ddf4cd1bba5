"""Several processes train as one does, are resumed as one is, and end together."""

import json
import shutil
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fastleuk.errors import CheckpointError
from fastleuk.training.train import resume, train
from tests.makers.processes import Processes
from tests.makers.training_runs import EVERYTHING, left_by, metrics, quiet, same, small_config

STOPPING = """
    import os, signal
    from fastleuk.training import loop

    backward, done = loop.Trainer._backward, 0

    def stopping(self, batch, share):
        global done
        done += 1
        if done == int(os.environ["STOP_AT"]) and self.ranks.rank == int(os.environ["STOP_RANK"]):
            {what}
        return backward(self, batch, share)

    loop.Trainer._backward = stopping
"""


@pytest.fixture
def processes(zygote, tmp_path):
    return Processes(zygote, tmp_path)


def _file(config, path):
    path.write_text(config.to_toml())
    return path


def test_two_processes_train_as_one_with_twice_the_batch(cells, tmp_path, processes):
    options = {
        "backbone": "test_vit",  # has no batch normalisation
        "optimizer": "sgd",
        "lr": 0.05,
        "accumulate": 2,
        "val_fraction": 0.2,
    }
    cells = shutil.copytree(cells, tmp_path / "cells")
    (cells / "small" / "s1_0.bmp").unlink()
    whole = train(small_config(cells, tmp_path / "one", **options), report=quiet)
    config = _file(
        small_config(cells, tmp_path / "two", **options, batch_size=4), tmp_path / "two.toml"
    )
    codes, (said, other) = processes("train", "--config", config)
    assert codes == [0, 0], said
    assert (said + other).count("epoch   1/3") == 1
    assert "2 processes × --batch-size 4 × --accumulate 2 = 16 images an update" in said
    assert "--lr 0.05 is not scaled" in said
    assert (whole / "split.csv").read_text().count(",val,") % 2  # an odd number is validated
    one, two = metrics(whole), metrics(tmp_path / "two")
    for column in ("train_loss", "val_loss", "val_f1_macro", "val_accuracy", "lr"):
        found, expected = ([float(row[column]) for row in rows] for rows in (two, one))
        np.testing.assert_allclose(found, expected, rtol=2e-4, err_msg=column)
    weights, expected = (load_file(run / "best.safetensors") for run in (tmp_path / "two", whole))
    assert weights.keys() == expected.keys()
    for name, value in weights.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4)
    figures, expected = (
        json.loads((run / "test_metrics.json").read_text()) for run in (tmp_path / "two", whole)
    )
    assert figures["samples"] == expected["samples"]


@pytest.mark.slow
def test_stopped_killed_and_resumed_is_as_if_nothing_had_been(cells, tmp_path, processes):
    options = {**EVERYTHING, "epochs": 3, "checkpoint_every": 1e-9, "lr": 1e-2, "batch_size": 4}
    whole = _file(small_config(cells, tmp_path / "whole", **options), tmp_path / "whole.toml")
    codes, said = processes("train", "--config", whole)
    assert codes == [0, 0], said

    run = tmp_path / "stopped"
    config = _file(small_config(cells, run, **options), tmp_path / "stopped.toml")
    term = STOPPING.format(what="os.kill(os.getpid(), signal.SIGTERM)")
    codes, said = processes("train", "--config", config, before=term, STOP_AT=2, STOP_RANK=1)
    assert codes == [143, 143], said
    assert f"fastleuk train --resume {run}" in said[0]
    assert "error" not in said[1]
    assert not (run / "run.owner").exists()
    alone = shutil.copytree(run, tmp_path / "alone")

    kill = STOPPING.format(what="os.kill(os.getpid(), signal.SIGKILL)")
    codes, said = processes("train", "--resume", run, before=kill, STOP_AT=4, STOP_RANK=1)
    assert codes[1] == -signal.SIGKILL
    assert codes[0] > 0
    assert "Another process of this run has ended" in said[0]
    assert "Traceback" not in said[0]
    assert not (run / "test_metrics.json").exists()

    codes, said = processes("train", "--resume", run)
    assert codes == [0, 0], said
    found, expected = left_by(run), left_by(tmp_path / "whole")
    assert found[0] == expected[0]
    assert found[1] == expected[1]
    for name in ("model", "ema", "optimizer", "schedule", "scaler", "ranks", "progress"):
        assert same(found[2][name], expected[2][name]), name
    for name in ("test_metrics.json", "test_predictions.csv"):
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()

    with pytest.raises(CheckpointError, match="2 processes × --batch-size 4 = 8"):
        resume(run, report=quiet)
    told = []
    resume(alone, changes={"loader": {"batch_size": 8}}, report=told.append)
    assert any("no longer equals an undisturbed one bit for bit" in line for line in told)
    assert len(metrics(alone)) == 3
    resume(alone, report=quiet)  # it is one process's now


@pytest.mark.slow
def test_an_error_that_all_meet_is_told_once(cells, tmp_path, processes):
    config = _file(small_config(cells, tmp_path / "run"), tmp_path / "config.toml")
    codes, said = processes("train", "--config", config, "--batch-size", 4096)
    assert codes == [2, 2]
    assert "".join(said).count("error: ") == 1
    assert "batch-size" in said[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_error_of_one_process_ends_the_other(cells, tmp_path, processes):
    config = _file(small_config(cells, tmp_path / "run"), tmp_path / "config.toml")
    failing = STOPPING.format(what="raise RuntimeError('the second is out of memory')")
    codes, said = processes("train", "--config", config, before=failing, STOP_AT=2, STOP_RANK=1)
    assert codes == [2, 1], said
    assert "the second is out of memory" in said[1]
    assert "In process 1 of 2" in said[1]
    assert "Another process of this run has ended" in said[0]


TALK = """
    import os, time
    import numpy as np, torch
    from fastleuk.evaluation.predict import Predictions
    from fastleuk.training.distributed.join import joined
    from fastleuk.training.distributed.launch import find_launch
    from fastleuk.training.step_losses import NonFiniteError

    def tell(error, who):
        raise error

    with joined(find_launch(), tell) as ranks:
        me = ranks.rank
        assert ranks.gather({"rank": me}) == [{"rank": 0}, {"rank": 1}, {"rank": 2}]
        assert ranks.shared(f"of {me}") == "of 0"
        assert ranks.mean(float(me)) == 1.0
        assert list(ranks.highest(me, -me)) == [2, 0]
        assert not ranks.everywhere(me != 1) and ranks.everywhere(True)
        tensors = ranks.gather_tensors({"a": torch.full((me + 1, 2), float(me))})
        assert [tuple(t["a"].shape) for t in tensors] == [(1, 2), (2, 2), (3, 2)]
        for count in (3, 7, 8, 100):  # each sample once, in order, whatever the remainder
            rows = np.arange(count)[me::3]
            logits = np.stack([rows, -rows], axis=1) * 0.5
            mine = Predictions(indices=rows, labels=rows % 2, logits=logits)
            all_ = ranks.gather_predictions(mine)
            assert np.array_equal(all_.indices, np.arange(count)), count
            assert np.array_equal(all_.logits[:, 1], -0.5 * np.arange(count))
        values = [torch.full((3,), float(me)), torch.full((2, 2), 10.0 * me)]
        ranks.average_(values)
        assert torch.equal(values[0], torch.ones(3))
        assert torch.equal(values[1], torch.full((2, 2), 10.0))

        def work():
            time.sleep(0.2)
            return time.time()
        ends = ranks.gather(ranks.in_turns(work))
        assert ends[0] + 0.15 < min(ends[1:]), ends
        try:
            with ranks.together():
                if me:
                    raise NonFiniteError(f"bad in {me}", step=7 - me)
        except NonFiniteError as error:
            assert error.step == 5 and str(error) == "In process 2: bad in 2"
        else:
            raise AssertionError("not told")
        ranks.require_same({"data": "x"})
        try:
            ranks.require_same({"data": "x" if me < 2 else "y"})
        except Exception as error:
            assert "data is x in the first and y in process 2" in str(error)
        else:
            raise AssertionError("not refused")
        ranks.disband()
    print("well")
    raise SystemExit
"""


def test_what_processes_tell_each_other(processes):
    codes, said = processes(before=TALK, count=3, slurm=True)
    assert codes == [0, 0, 0], said
    assert all("well" in text for text in said)
