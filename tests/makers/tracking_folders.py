"""Run folders written out by hand, for the tests that list and compare them."""

import csv
import json
from pathlib import Path

import numpy as np

from fastleuk import config as cfg
from fastleuk.evaluation.metrics import classification_metrics

NAMES = ("hem", "ALL")


def _write(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def metrics_rows(scores, lr=1e-4):
    """Rows of metrics.csv, one for each validation macro-F1 in ``scores``."""
    best = max(scores)
    return [
        {
            "epoch": epoch,
            "train_loss": 1 / epoch,
            "val_loss": 1.5 / epoch,
            "val_f1_macro": score,
            "val_auc": "",
            "lr": lr,
            "best": int(score == best),
            "seconds": 12.0,
            "val_seconds": 2.0,
        }
        for epoch, score in enumerate(scores, start=1)
    ]


def write_run(
    folder: Path,
    *,
    scores=(0.5, 0.7, 0.6),
    labels=None,
    predicted=None,
    groups=None,
    hashes=None,
    split="subject",
    backbone="test_efficientnet",
    data="/data/C-NMC_Leukemia",
    synthetic=False,
    tested=True,
    lr=1e-4,
) -> Path:
    """Write what ``fastleuk train`` would have; by default 40 samples of 8 subjects, all right."""
    labels = np.arange(40) % 2 if labels is None else np.asarray(labels)
    predicted = labels if predicted is None else np.asarray(predicted)
    groups = np.arange(len(labels)) % 8 if groups is None else groups
    hashes = [f"{i:064x}" for i in range(len(labels))] if hashes is None else hashes
    folder.mkdir(parents=True)
    config = cfg.Config(
        data=cfg.DataConfig(data=data, split=split),
        model=cfg.ModelConfig(backbone=backbone),
        optim=cfg.OptimConfig(epochs=9, lr=lr),
        run=cfg.RunConfig(out=str(folder)),
    )
    (folder / "config.toml").write_text(config.to_toml())
    (folder / "policy.toml").write_text("p_hflip = 0.5\n")
    part = [
        {"path": f"c/{h}.bmp", "part": "test", "sha256": h, "group": g, "label": NAMES[label]}
        for h, g, label in zip(hashes, groups, labels, strict=True)
    ]
    other = {"path": "c/v.bmp", "part": "val", "sha256": "v", "group": 99, "label": "hem"}
    _write(folder / "split.csv", [*part, other])
    if scores:
        _write(folder / "metrics.csv", metrics_rows(scores, lr))
    if tested:
        chances = np.eye(2)[predicted] * 0.6 + 0.2
        figures = {"synthetic": synthetic, "split": split, "subjects": len(set(groups))}
        figures.update(classification_metrics(labels, chances, NAMES))
        (folder / "test_metrics.json").write_text(json.dumps(figures))
        rows = [
            {"path": row["path"], "label": row["label"], "predicted": NAMES[code]}
            for row, code in zip(part, predicted, strict=True)
        ]
        _write(folder / "test_predictions.csv", rows[::-1])
    return folder
