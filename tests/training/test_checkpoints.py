"""Checkpoints that are not what they should be, and those of other versions."""

import contextlib
import os

import numpy as np
import pytest
import torch

from fastleuk.errors import CheckpointError
from fastleuk.training.checkpoint import file
from fastleuk.training.checkpoint.file import load_checkpoint
from fastleuk.training.train import resume, train
from tests.makers.trainers import tiny_trainer
from tests.makers.training_runs import quiet, small_config


def test_a_damaged_checkpoint_is_a_checkpoint_error_whatever_the_damage(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", epochs=1)
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
    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    path = tmp_path / "last.ckpt"
    torch.save({"format": file.FORMAT, "identity": Malicious()}, path)
    with pytest.raises(CheckpointError, match="could run code") as told:
        load_checkpoint(path)
    assert "Weights only" not in str(told.value)  # torch's text advises to switch the check off
    assert not (tmp_path / "owned").exists()


def test_other_versions_are_told_in_a_line(cells, tmp_path, monkeypatch):
    run = train(small_config(cells, tmp_path / "run", epochs=1), report=quiet)
    found = file.versions()
    assert {"fastleuk", "torch", "timm"} <= found.keys()
    state = load_checkpoint(run / "last.ckpt")
    del state["format"]
    file.save_checkpoint(run / "last.ckpt", state)
    said = []
    monkeypatch.setattr("fastleuk.training.train.versions", lambda: {**found, "timm": "9.9"})
    resume(run, report=said.append)
    told = [line for line in said if "9.9" in line]
    assert told == [
        f"note: the checkpoint was written with timm {found['timm']} (now 9.9): "
        "figures may differ slightly."
    ]
