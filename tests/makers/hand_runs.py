"""A tested run written out by hand, with names as odd as they can be."""

import json
from pathlib import Path

import numpy as np

from fastleuk import config as cfg
from fastleuk.evaluation.metrics import classification_metrics
from fastleuk.files import write_json, write_rows
from fastleuk.run_folder.state import TESTED, set_mark

ODD = ("<b>hem</b> & co", 'A$LL$ "1"')


def hand_run(
    folder: Path, *, names=ODD, positive=None, subjects=12, each=5, seed=0, known=True
) -> Path:
    """Write what a run of two classes leaves, but for its weights; half of the subjects a class."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    positive = names[1] if positive is None else positive
    config = cfg.Config(
        data=cfg.DataConfig(data="/nowhere/cells", positive=positive),
        model=cfg.ModelConfig(backbone="test_efficientnet", weights="none"),
        run=cfg.RunConfig(out=str(folder)),
    )
    (folder / "config.toml").write_text(config.to_toml())
    (folder / "policy.toml").write_text("p_hflip = 0.5\n")
    split, rows, labels, chances = [], [], [], []
    for number in range(3 * subjects):
        part = ("train", "val", "test")[number % 3]
        label = number // 3 % 2
        for cell in range(each):
            path = f"{label}/s{number}<i>_{cell}.png"
            subject = f"s{number}<i>" if known else path
            split.append(
                {
                    "path": path,
                    "label": names[label],
                    "subject": subject,
                    "group": number if known else number * each + cell,
                    "part": part,
                    "sha256": f"{number:032x}{cell:032x}",
                    "mode": "subject",
                    "seed": 0,
                }
            )
            if part == "test":
                score = 1 / (1 + np.exp(-rng.normal(1.2 * (2 * label - 1), 1.2)))
                labels.append(label)
                chances.append([1 - score, score])
                rows.append({"path": path, "subject": subject, "label": names[label],
                             "predicted": names[int(score > 0.5)],
                             **dict(zip((f"p_{n}" for n in names), (1 - score, score),
                                        strict=True))})  # fmt: skip
    figures = classification_metrics(np.array(labels), np.array(chances), names, positive=positive)
    write_rows(folder / "split.csv", split)
    write_rows(folder / "test_predictions.csv", rows)
    write_rows(
        folder / "metrics.csv",
        [{"epoch": e, "train_loss": 1 / e, "val_loss": 1.2 / e, "val_f1_macro": 0.5 + e / 10,
          "val_auc": "", "lr": 1e-3, "best": int(e == 3), "seconds": 12.0, "images_per_s": 55.0,
          "data_wait": 0.02, "val_seconds": 2.0} for e in (1, 2, 3)],
    )  # fmt: skip
    told = {"part": "test", "split": "subject", "backbone": "test_efficientnet", "data": "ab" * 32,
            "synthetic": False, "subjects": subjects, "loss": 0.4, **figures}  # fmt: skip
    write_json(folder / "test_metrics.json", told)
    set_mark(folder, TESTED)
    return folder


def change_json(path: Path, **changes) -> None:
    """Change keys of a JSON document; None removes one."""
    found = json.loads(path.read_text())
    found.update(changes)
    write_json(path, {key: value for key, value in found.items() if value is not None})
