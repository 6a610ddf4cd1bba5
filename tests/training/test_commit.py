"""Weights and record agree whenever a run is killed; clipping; what a longer run does."""

import csv
import json
import re

import numpy as np
import pytest
import torch
from safetensors import safe_open

from fastleuk.training import loop
from fastleuk.training.checkpoint import keeper
from fastleuk.training.checkpoint.agreement import departures
from fastleuk.training.checkpoint.file import load_checkpoint
from tests.makers.trainers import Killed, RandomBatches, die_at, tiny_trainer
from tests.makers.training_runs import same


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)


def _metadata(file):
    with safe_open(file, framework="pt") as opened:
        return json.loads(opened.metadata()["fastleuk"])


def _agree(run, keep_best):
    """Check that checkpoint, table and weights name the same best epochs with the same scores."""
    kept = load_checkpoint(run / "last.ckpt")["progress"]["kept"]
    with (run / "metrics.csv").open() as file:
        rows = {int(row["epoch"]): row for row in csv.DictReader(file)}
    files = [run / "best.safetensors"]
    if keep_best > 1:
        files += [run / f"best-{place}.safetensors" for place in range(1, len(kept) + 1)]
    for file, known in zip(files, [kept[0], *kept] if keep_best > 1 else kept, strict=True):
        found = _metadata(file)
        assert {key: found[key] for key in known} == known, file
        for key in ("val_f1_macro", "val_loss"):
            assert float(rows[known["epoch"]][key]) == known[key]
    best = [epoch for epoch, row in rows.items() if row["best"] == "1"]
    assert best[-1] == kept[0]["epoch"]


def _scores(monkeypatch, values):
    """Let the validation of each call have the next macro-F1."""
    real, given = loop.classification_metrics, iter(values)

    def metrics(*arguments):
        return {**real(*arguments), "f1_macro": next(given)}

    monkeypatch.setattr(loop, "classification_metrics", metrics)


@pytest.mark.parametrize("keep_best", [1, 2])
@pytest.mark.parametrize("moment", ["before the checkpoint", "after it", "before the table"])
def test_killed_between_weights_and_record_and_resumed_otherwise(
    tmp_path, monkeypatch, keep_best, moment
):
    """As on a GPU, where the epoch that is repeated doesn't repeat bit for bit: it gets worse."""
    run = tmp_path / "run"
    name = {"before the checkpoint": "save_checkpoint", "after it": "publish"}
    with monkeypatch.context() as patch:
        _scores(patch, [0.5, 0.9])
        name = name.get(moment, "write_rows")
        die_at(patch, keeper, name, lambda: (run / "metrics.csv").exists())
        with pytest.raises(Killed):
            tiny_trainer(run, keep_best=keep_best).fit()
    _agree_so_far(run)
    resumed = tiny_trainer(run, keep_best=keep_best)
    state = load_checkpoint(run / "last.ckpt")
    done = state["progress"]["epoch"]
    assert done == (1 if moment == "before the checkpoint" else 2)
    state["model"]["classifier.bias"] += 0.01
    resumed.restore(state)
    _scores(monkeypatch, [0.4, 0.3][done - 1 :])
    resumed.fit()
    _agree(run, keep_best)
    assert _metadata(run / "best.safetensors")["epoch"] == done
    assert not list(run.glob(".*"))


def _agree_so_far(run):
    """What lies there after a kill is of one epoch that the table knows."""
    with (run / "metrics.csv").open() as file:
        rows = {int(row["epoch"]): row for row in csv.DictReader(file)}
    found = _metadata(run / "best.safetensors")
    known = load_checkpoint(run / "last.ckpt")["progress"]["kept"]
    assert found["epoch"] in rows or found["epoch"] in [kept["epoch"] for kept in known]


def test_lost_weights_are_told_and_the_next_best_takes_their_place(tmp_path, monkeypatch):
    """A run of an earlier version that was killed between its weights and its record."""
    run, said = tmp_path / "run", []
    _scores(monkeypatch, [0.9, 0.4, 0.3])
    tiny_trainer(run, epochs=1).fit()
    (run / "best.safetensors").unlink()
    resumed = tiny_trainer(run, report=said.append)
    resumed.restore(load_checkpoint(run / "last.ckpt"))
    resumed.fit()
    assert re.search(r"weights of epoch 1, one of the best, are not in", "\n".join(said))
    _agree_so_far(run)
    assert _metadata(run / "best.safetensors")["epoch"] == 2


def test_the_gradient_is_clipped_at_its_own_scale(tmp_path):
    """With float16 the gradient is 1,024 times and more too large until it is unscaled."""
    moved = []
    for scale in (1, 1024):
        trainer = tiny_trainer(tmp_path / str(scale), clip_grad=0.5, optimizer="sgd")
        trainer.state.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        before = [value.detach().clone() for value in trainer.state.model.parameters()]
        torch.manual_seed(3)
        trainer._backward(next(iter(RandomBatches(1).epoch())), 1.0)
        norm = (
            torch.nn.utils.get_total_norm(p.grad for p in trainer.state.model.parameters()) / scale
        )
        assert norm > 0.5  # else nothing is clipped
        trainer._update()
        after = list(trainer.state.model.parameters())
        steps = [new.detach() - old for new, old in zip(after, before, strict=True)]
        moved.append(steps)
        length = torch.nn.utils.get_total_norm(steps)
        nesterov = 1 + trainer.config.momentum
        assert float(length) == pytest.approx(0.5 * nesterov * trainer.config.lr, rel=1e-3)
    assert same(*moved)


def _departures(trainer, state):
    then = max(group["lr"] for group in state["optimizer"]["param_groups"])
    return departures(trainer.config, trainer.progress, lr_then=then, lr_now=trainer.state.lr)


def test_more_epochs_go_on_with_the_schedule_of_the_longer_run(tmp_path):
    run, options = tmp_path / "run", {"scheduler": "cosine", "patience": 9}
    tiny_trainer(run, epochs=2, **options).fit()
    state = load_checkpoint(run / "last.ckpt")
    same = tiny_trainer(run, epochs=2, **options)
    same.restore(state)
    assert same.finished
    assert _departures(same, state) == []
    longer = tiny_trainer(run, epochs=4, **options)
    longer.restore(state)
    (note,) = _departures(longer, state)
    assert "cosine now spans 4 epochs: the learning rate goes on at 0.005 instead of 0" in note
    longer.fit()
    lrs = [1e-2 * (1 + np.cos(np.pi * update / 20)) / 2 for update in (14, 19)]
    assert [row["lr"] for row in longer.progress.history[2:]] == pytest.approx(lrs)


def test_a_constant_rate_and_more_epochs_equal_the_longer_run(tmp_path):
    tiny_trainer(tmp_path / "whole", epochs=3).fit()
    tiny_trainer(tmp_path / "short", epochs=2).fit()
    longer = tiny_trainer(tmp_path / "short", epochs=3)
    state = load_checkpoint(tmp_path / "short" / "last.ckpt")
    longer.restore(state)
    assert _departures(longer, state) == []
    longer.fit()
    found, expected = (load_checkpoint(tmp_path / n / "last.ckpt") for n in ("short", "whole"))
    for name in ("model", "optimizer", "rng"):
        assert same(found[name], expected[name]), name


def test_patience_that_has_run_out_is_told_where_more_epochs_are_wanted(tmp_path, monkeypatch):
    _scores(monkeypatch, [0.5, 0.4])
    tiny_trainer(tmp_path / "run", epochs=9, patience=1).fit()
    state = load_checkpoint(tmp_path / "run" / "last.ckpt")
    longer = tiny_trainer(tmp_path / "run", epochs=20, patience=1)
    longer.restore(state)
    assert longer.finished
    (note,) = _departures(longer, state)
    assert "--patience is 1" in note


def test_a_checkpoint_of_two_processes_goes_on_in_one(tmp_path):
    trainer = tiny_trainer(tmp_path / "run")
    trainer._save()
    state = load_checkpoint(tmp_path / "run" / "last.ckpt")
    rng = [torch.Generator().manual_seed(n).get_state() for n in (1, 2)]
    state["ranks"] = [{"cpu": rng[n], "loss_sum": torch.tensor(2.0 + n)} for n in (0, 1)]
    one = tiny_trainer(tmp_path / "run")
    one.restore(state)
    assert torch.equal(torch.get_rng_state(), rng[0])
    assert one.progress.loss_sum == 2.5
