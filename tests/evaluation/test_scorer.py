"""One way of predicting: its precision is the validation's, for the test and for the folds."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch

from fastleuk.config import OptimConfig
from fastleuk.data.from_config import open_dataset
from fastleuk.errors import CheckpointError
from fastleuk.evaluation.evaluate import evaluate_run
from fastleuk.evaluation.scorer import Scorer, _precision
from fastleuk.models import device as devices
from fastleuk.protocols.predictions import predict_rows
from fastleuk.training.train import train
from tests.makers.cells import SUBJECT_REGEX
from tests.makers.protocol_runs import change, tiny_config
from tests.makers.training_runs import quiet


@pytest.fixture(scope="module")
def lower(cells, tmp_path_factory):
    """A run in bfloat16 on a CPU that has to emulate it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "cpu_has_bf16", lambda: False)
        config = tiny_config(cells, SUBJECT_REGEX, amp=True, amp_dtype="bf16")
        config = change(config, "data", test_fraction=0.25)
        out = tmp_path_factory.mktemp("runs") / "run"
        yield train(change(config, "run", out=str(out)), report=quiet)


def test_validation_test_and_folds_compute_in_one_precision(lower):
    with (lower / "metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    again = evaluate_run(lower, part="val", report=quiet)
    assert again["loss"] == float(row["val_loss"])
    assert again["f1_macro"] == float(row["val_f1_macro"])
    scorer = Scorer(lower, report=quiet)
    assert scorer.precision.dtype is torch.bfloat16
    dataset = open_dataset(scorer.config.data, report=quiet)
    with (lower / "test_predictions.csv").open() as file:
        tested = {row["path"]: float(row["p_small"]) for row in csv.DictReader(file)}
    rows = np.array([dataset.manifest.paths.index(path) for path in sorted(tested)])
    table = predict_rows(lower, dataset, rows, device="cpu", report=quiet)
    assert dict(zip(table.paths, table.probabilities[:, 1], strict=True)) == tested


def test_a_precision_that_is_not_here_is_replaced_and_that_is_said(lower):
    cpu, said = torch.device("cpu"), []
    config = Scorer(lower, report=quiet).config
    half = dataclasses.replace(config, optim=OptimConfig(amp=True, amp_dtype="fp16"))
    assert _precision(half, cpu, said.append).dtype is torch.float32
    assert "fp16" in said[0]
    assert "float32 is used" in said[0]
    plain = dataclasses.replace(config, optim=OptimConfig(amp_dtype="fp16"))
    assert _precision(plain, cpu, said.append).dtype is torch.float32
    assert len(said) == 1


def test_data_of_other_classes_are_refused(lower):
    scorer = Scorer(lower, report=quiet)
    dataset = open_dataset(scorer.config.data, report=quiet)
    manifest = dataclasses.replace(dataset.manifest, class_names=("large", "tiny"))
    other = dataclasses.replace(dataset, manifest=manifest)
    with pytest.raises(CheckpointError, match=r"large, small.*large, tiny"):
        scorer.predict(other, np.arange(2))


def test_the_figures_are_those_of_the_predictions(lower):
    figures = json.loads((lower / "test_metrics.json").read_text())
    with (lower / "test_predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    right = np.mean([row["label"] == row["predicted"] for row in rows])
    assert figures["accuracy"] == pytest.approx(right)
    assert figures["samples"] == len(rows)
