"""Runs of a few seconds on the cells of the tests, and what they leave."""

import csv
import dataclasses
from pathlib import Path

from fastleuk import config as cfg
from fastleuk.training.checkpoint.file import load_checkpoint
from tests.makers.cells import SUBJECT_REGEX

TIMED = {"seconds", "images_per_s", "data_wait", "val_seconds"}
"""Columns of ``metrics.csv`` that no second run repeats."""

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
"""Options of training that have a state of their own, all at once."""


def small_config(data: Path | str, out: Path | str, **changes) -> cfg.Config:
    """Return a run of a few seconds; ``changes`` go to whichever section knows the name."""
    config = cfg.Config(
        data=cfg.DataConfig(
            data=str(data), subject_regex=SUBJECT_REGEX, val_fraction=0.25, test_fraction=0.25
        ),
        loader=cfg.LoaderConfig(size=48, batch_size=8, workers=1),
        model=cfg.ModelConfig(backbone="test_efficientnet", weights="none"),
        optim=cfg.OptimConfig(epochs=3, lr=1e-3),
        run=cfg.RunConfig(out=str(out), device="cpu"),
    )
    for section in dataclasses.fields(config):
        current = getattr(config, section.name)
        mine = {k: v for k, v in changes.items() if hasattr(current, k)}
        config = dataclasses.replace(config, **{section.name: dataclasses.replace(current, **mine)})
    return config


def small_options() -> list[str]:
    """Return such a run's options on the command line, but for data, epochs and folder."""
    words = "--backbone test_efficientnet --weights none --size 48 --batch-size 8 --device cpu"
    fractions = "--val-fraction 0.25 --test-fraction 0.25 --workers 1"
    return [*words.split(), *fractions.split(), "--subject-regex", SUBJECT_REGEX]


def quiet(text: str) -> None:
    """Take a report and say nothing."""


def metrics(run: Path) -> list[dict[str, str]]:
    """Return the rows of ``metrics.csv``, without times."""
    with (run / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in TIMED} for row in csv.DictReader(file)]


def left_by(run: Path) -> tuple[list, dict[str, bytes], dict]:
    """Return all that a run leaves and that must repeat: metrics, best weights, checkpoint."""
    state = load_checkpoint(run / "last.ckpt")
    for row in state["progress"]["history"]:
        for column in TIMED:
            del row[column]
    weights = {file.name: file.read_bytes() for file in run.glob("best*")}
    return metrics(run), weights, state


def same(left, right) -> bool:
    """Say whether two nested values are equal, their tensors bit for bit."""
    import torch

    if torch.is_tensor(left):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right
