"""A run that is killed at any moment and resumed equals one that was not, bit for bit."""

import contextlib
import csv
import dataclasses
import random
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from fastleuk.augment import NONE
from fastleuk.config import LoaderConfig, OptimConfig, RunConfig
from fastleuk.data.discover import discover
from fastleuk.errors import CheckpointError
from fastleuk.loading import has_dali, make_loader
from fastleuk.loading.batch import Batch
from fastleuk.loading.stream import EvalStream
from fastleuk.models.backbone import create_model
from fastleuk.models.device import choose_precision
from fastleuk.training import loop
from fastleuk.training.checkpoint import file as checkpoint
from fastleuk.training.checkpoint.file import load_checkpoint
from fastleuk.training.train import resume, train
from tests.makers.cells import SUBJECT_REGEX
from tests.training.test_training import TIMED, _config, _quiet, _rows

EVERYTHING = {
    "optimizer": "adamw",
    "weight_decay": 0.05,
    "scheduler": "cosine",
    "warmup_epochs": 0.5,
    "ema": 0.9,
    "accumulate": 2,
    "mixup": 0.4,
    "class_weights": "balanced",
    "label_smoothing": 0.1,
    "layer_decay": 0.8,
    "clip_grad": 1.0,
    "keep_best": 2,
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Networks this small are slower on several, and much slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch):
    """Many checkpoints a second: against SIGKILL, unlike against a power cut, none is needed."""
    monkeypatch.setattr("os.fsync", lambda _: None)


class _Killed(BaseException):
    """What SIGKILL is to a process: nothing below may catch it."""


class _Batches:
    """A loader of random batches, a pure function of (epoch, step)."""

    def __init__(self, count, *, fixed=False):
        self._count, self._fixed = count, fixed

    def __len__(self):
        return self._count

    def epoch(self, epoch=0, start=0):
        for step in range(start, self._count):
            torch_seed = step if self._fixed else 1000 * epoch + step
            generator = torch.Generator().manual_seed(torch_seed)
            labels = torch.arange(4) % 2
            images = torch.randn(4, 3, 32, 32, generator=generator) + labels[:, None, None, None]
            yield Batch(images, labels, torch.arange(4) + 4 * step)


def _trainer(run_dir, *, report=_quiet, **changes):
    torch.manual_seed(5)
    model = create_model("test_efficientnet", num_classes=2, weights="none")
    model.drop_rate = 0.3  # dropout draws from torch's own state
    run_dir.mkdir(exist_ok=True)
    run = {f.name for f in dataclasses.fields(RunConfig)}
    return loop.Trainer(
        model=model,
        train_loader=_Batches(5),
        val_loader=_Batches(3, fixed=True),
        precision=choose_precision(torch.device("cpu"), amp=False),
        config=OptimConfig(
            **{"epochs": 3, "lr": 1e-2, **{k: v for k, v in changes.items() if k not in run}}
        ),
        run=RunConfig(seed=3, **{k: v for k, v in changes.items() if k in run}),
        class_names=("a", "b"),
        class_counts=np.array([14, 6]),
        files=[f"{row}.bmp" for row in range(20)],
        run_dir=run_dir,
        identity={},
        metadata={"backbone": "test_efficientnet"},
        report=report,
    )


def _left_by(run_dir):
    """Everything that a run leaves and that must repeat."""
    state = load_checkpoint(run_dir / "last.ckpt")
    with (run_dir / "metrics.csv").open() as file:
        rows = [{k: v for k, v in row.items() if k not in TIMED} for row in csv.DictReader(file)]
    for row in state["progress"]["history"]:
        for column in TIMED:
            del row[column]
    weights = {file.name: file.read_bytes() for file in run_dir.glob("best*")}
    return rows, weights, state


def _same(left, right):
    if torch.is_tensor(left):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_same(left[k], right[k]) for k in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(_same, left, right))
    return left == right


def _moments(total):
    """Where to kill: in a step, in validation, while the checkpoint or the metrics are written."""
    rng = random.Random(7)
    steps = [("step", rng.randrange(1, total + 1)) for _ in range(2)]
    return [*steps, ("validation", 2), ("checkpoint", 7), ("metrics", 2)]


@pytest.mark.parametrize("options", [EVERYTHING, {"freeze_epochs": 1, "ema": 0.99}])
def test_killed_anywhere_and_resumed_is_as_if_nothing_had_been(tmp_path, monkeypatch, options):
    options = {**options, "checkpoint_every": 1e-9}
    _trainer(tmp_path / "whole", **options).fit()
    expected = _left_by(tmp_path / "whole")
    assert len(expected[0]) == 3
    assert len(expected[2]["model"]) > 20
    for what, when in _moments(15):
        run_dir = tmp_path / f"{what}-{when}"
        with monkeypatch.context() as patch:
            _kill_at(patch, what, when)
            with pytest.raises(_Killed):
                _trainer(run_dir, **options).fit()
        torch.manual_seed(99)
        resumed = _trainer(run_dir, **options)
        resumed.restore(load_checkpoint(run_dir / "last.ckpt"))
        resumed.fit()
        found = _left_by(run_dir)
        assert found[0] == expected[0], (what, when)
        assert found[1] == expected[1], (what, when)
        assert _same(found[2], expected[2]), (what, when)


@pytest.mark.parametrize(("minutes", "saves"), [(0.0, 3), (1e-9, 9), (60.0, 3)])
def test_checkpoints_come_as_often_as_asked(tmp_path, monkeypatch, minutes, saves):
    """Two epochs of three updates: at the start and each epoch's end, and between if asked."""
    written = []
    monkeypatch.setattr(loop, "save_checkpoint", lambda path, _: written.append(path))
    _trainer(tmp_path / "run", epochs=2, accumulate=2, checkpoint_every=minutes).fit()
    assert len(written) == saves


def _kill_at(patch, what, when):
    """Raise `_Killed` instead of the ``when``-th call of that."""
    owner, name = {
        "step": (loop.Trainer, "_backward"),
        "validation": (loop, "classification_metrics"),
        "checkpoint": (checkpoint, "write_atomically"),
        "metrics": (loop, "write_rows"),
    }[what]
    real, calls = getattr(owner, name), 0

    def dying(*arguments, **named):
        nonlocal calls
        calls += 1
        if calls == when:
            raise _Killed
        return real(*arguments, **named)

    patch.setattr(owner, name, dying)


def test_accumulated_batches_equal_a_large_one(tmp_path):
    """Without batch statistics, four batches of an update are one batch four times the size."""
    states = []
    for accumulate in (1, 4):
        trainer = _trainer(tmp_path / str(accumulate), accumulate=accumulate, optimizer="sgd")
        trainer.model.eval()
        batches = list(_Batches(4).epoch())
        if accumulate == 1:
            joined = [torch.cat([getattr(b, n) for b in batches]) for n in ("images", "labels")]
            batches = [Batch(*joined, torch.arange(16))]
        for batch in batches:
            trainer._backward(batch, 1 / accumulate)
        trainer._update()
        states.append(trainer.model.state_dict())
    for name, value in states[0].items():
        assert torch.allclose(value, states[1][name], rtol=1e-4, atol=1e-6), name


def test_the_average_is_what_is_validated_and_kept(tmp_path):
    from safetensors.torch import load_file

    trainer = _trainer(tmp_path / "run", ema=0.9, epochs=1)
    trainer.fit()
    kept = load_file(tmp_path / "run" / "best.safetensors")
    averaged, last = trainer.ema.module.state_dict(), trainer.model.state_dict()
    assert all(torch.equal(kept[name], averaged[name]) for name in kept)
    assert not torch.equal(kept["classifier.weight"], last["classifier.weight"])
    loss = loop.predict(trainer.ema.module, trainer.val_loader, trainer.precision).loss
    assert trainer.progress.history[0]["val_loss"] == loss


def test_a_compiled_run_keeps_plain_names_and_can_be_resumed_without(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model: _Wrapped(model))
    trainer = _trainer(tmp_path / "run", epochs=1, compile=True, ema=0.9)
    trainer.fit()
    assert trainer.network.calls == 5
    plain = _trainer(tmp_path / "run", epochs=1, ema=0.9)
    state = load_checkpoint(tmp_path / "run" / "last.ckpt")
    assert state["model"].keys() == plain.model.state_dict().keys()
    plain.restore(state)
    assert _same(plain.model.state_dict(), trainer.model.state_dict())


class _Wrapped(torch.nn.Module):
    """Renames the parameters as ``torch.compile`` does."""

    def __init__(self, model):
        super().__init__()
        self._orig_mod, self.calls = model, 0

    def forward(self, images):
        self.calls += 1
        return self._orig_mod(images)


def test_weights_that_overflow_never_reach_the_disk(tmp_path):
    """A finite loss with an infinite gradient: only the weights show it."""
    trainer = _trainer(tmp_path / "run", checkpoint_every=1e-9, epochs=1)
    update, seen = trainer._update, 0

    def overflowing():
        nonlocal seen
        seen += 1
        if seen == 3:
            trainer.model.conv_stem.weight.grad[0] = float("inf")
        update()

    trainer._update = overflowing
    with pytest.raises(loop.NonFiniteError, match=r"conv_stem.* epoch 1, step 3") as error:
        trainer.fit()
    assert "8.bmp" in str(error.value)
    state = load_checkpoint(tmp_path / "run" / "last.ckpt")
    assert state["progress"]["step"] == 2
    assert all(v.isfinite().all() for v in state["model"].values())
    assert not list((tmp_path / "run").glob("best*"))


def test_the_lr_column_is_that_of_the_epochs_last_step(tmp_path):
    trainer = _trainer(tmp_path / "run", scheduler="cosine", epochs=2, patience=2)
    trainer.fit()
    lrs = [1e-2 * (1 + np.cos(np.pi * update / 10)) / 2 for update in range(10)]
    assert [row["lr"] for row in trainer.progress.history] == pytest.approx([lrs[4], lrs[9]])


@pytest.mark.parametrize("name", ["dali", "torchvision"])
def test_a_loader_draws_nothing_from_torchs_own_state(cells, name):
    """Dropout does; a loader that did too would differ where an epoch is resumed."""
    if name == "dali" and not has_dali():
        pytest.skip("NVIDIA DALI is not installed")
    manifest = discover(cells, subject_regex=SUBJECT_REGEX).manifest
    loader = make_loader(
        manifest=manifest,
        stream=EvalStream(np.arange(8), batch_size=4),
        config=LoaderConfig(loader=name, size=32, workers=int(name == "dali")),
        policy=NONE,
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
        device=torch.device("cpu"),
    )
    before = torch.get_rng_state()
    assert len(list(loader.epoch())) == 2
    assert torch.equal(torch.get_rng_state(), before)
    loader.close()


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


def test_sigkill_amid_an_epoch(cells, tmp_path):
    options = {**EVERYTHING, "epochs": 3, "checkpoint_every": 1e-9, "lr": 1e-2}
    whole = train(_config(cells, tmp_path / "whole", **options), report=_quiet)
    killed = _config(cells, tmp_path / "killed", **options)
    (tmp_path / "config.toml").write_text(killed.to_toml())
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), tmp_path / "config.toml"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    run = tmp_path / "killed"
    state = load_checkpoint(run / "last.ckpt")
    assert (state["progress"]["epoch"], state["progress"]["step"]) == (1, 2)
    assert not (run / "test_metrics.json").exists()
    (run / ".last.ckpt.1.tmp").write_bytes(b"half a checkpoint")
    resume(run, report=_quiet)
    found, expected = _left_by(run), _left_by(whole)
    assert found[0] == expected[0]
    assert found[1] == expected[1]
    assert {"best.safetensors", "best-1.safetensors"} <= found[1].keys()
    for name in ("model", "ema", "optimizer", "schedule", "scaler", "rng", "progress"):
        assert _same(found[2][name], expected[2][name]), name
    for name in ("test_metrics.json", "test_predictions.csv"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    assert not list(run.glob(".*"))


def test_the_saved_configuration_repeats_the_run(cells, tmp_path, monkeypatch):
    from fastleuk.cli import main

    policy = tmp_path / "mine.toml"
    policy.write_text("p_hflip = 0.5\np_rotation = 1.0\ndegrees = 90.0\n")
    options = {**EVERYTHING, "epochs": 2, "lr": 1e-2, "augment": str(policy)}
    first = train(_config(cells, tmp_path / "first", **options), report=_quiet)
    policy.write_text("p_vflip = 1.0\n")  # the run folder's copy counts
    arguments = ["train", "--config", str(first / "config.toml"), "--out", str(tmp_path / "again")]
    monkeypatch.setattr(sys, "argv", ["fastleuk", *arguments])
    with contextlib.suppress(SystemExit):
        main()
    assert _rows(tmp_path / "again") == _rows(first)
    best = (first / "best.safetensors").read_bytes()
    assert (tmp_path / "again" / "best.safetensors").read_bytes() == best


# Checkpoints that are not what they should be


def test_a_damaged_checkpoint_is_a_checkpoint_error_whatever_the_damage(tmp_path):
    trainer = _trainer(tmp_path / "run", epochs=1)
    trainer._save()
    path = tmp_path / "run" / "last.ckpt"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        kind = rng.integers(3)
        if kind == 0:
            data = data[: rng.integers(len(data))]
        elif kind == 1:  # in the pickle and the directory, where the structure is
            for place in rng.integers(3000, size=4):
                data[place] ^= int(rng.integers(1, 256))
        else:
            for place in len(data) - 1 - rng.integers(3000, size=4):
                data[place] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        with contextlib.suppress(CheckpointError):
            trainer.restore(load_checkpoint(path))  # any other error fails the test
            continue
        refused += 1
    assert refused > 50


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    import os

    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    path = tmp_path / "last.ckpt"
    torch.save({"format": checkpoint.FORMAT, "identity": Malicious()}, path)
    with pytest.raises(CheckpointError, match="could run code") as told:
        load_checkpoint(path)
    assert "Weights only" not in str(told.value)  # torch's text advises to switch the check off
    assert not (tmp_path / "owned").exists()


def test_other_versions_are_told_in_a_line(cells, tmp_path, monkeypatch):
    run = train(_config(cells, tmp_path / "run", epochs=1), report=_quiet)
    found = checkpoint.versions()
    assert {"fastleuk", "torch", "timm"} <= found.keys()
    state = load_checkpoint(run / "last.ckpt")
    del state["format"]
    checkpoint.save_checkpoint(run / "last.ckpt", state)
    said = []
    monkeypatch.setattr("fastleuk.training.train.versions", lambda: {**found, "timm": "9.9"})
    resume(run, report=said.append)
    told = [line for line in said if "9.9" in line]
    assert told == [
        f"note: the checkpoint was written with timm {found['timm']} (now 9.9): "
        "figures may differ slightly."
    ]
