"""What the tests of the protocols share: a configuration, and a training that only pretends."""

import csv
import dataclasses
import json
import zlib
from pathlib import Path

import numpy as np

from fastleuk.config import Config, assemble
from fastleuk.data.from_config import open_dataset
from fastleuk.data.split.make import make_split
from fastleuk.files import write_json, write_rows


def tiny_config(data: Path | str, subject_regex: str = "", **optim) -> Config:
    """A run of a second or two."""
    return assemble(
        {
            "data": {"data": str(data), "subject_regex": subject_regex, "val_fraction": 0.25},
            "loader": {"size": 48, "batch_size": 8, "workers": 1},
            "model": {"backbone": "test_efficientnet", "weights": "none"},
            "optim": {"epochs": 1, "lr": 1e-3, **optim},
            "run": {"device": "cpu"},
        }
    )


def change(config: Config, section: str, **values) -> Config:
    """Return the configuration with other values in one section."""
    changed = dataclasses.replace(getattr(config, section), **values)
    return dataclasses.replace(config, **{section: changed})


class PretendedTraining:
    """Stands in for ``train``: leaves random predictions of the run's own test part.

    ``calls`` lists the names of the run folders.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, config: Config, *, report) -> Path:
        run = Path(config.run.out)
        self.calls.append(run.name)
        dataset = open_dataset(config.data, report=report)
        manifest, names = dataset.manifest, dataset.manifest.class_names
        split = make_split(
            manifest, dataset.groups, mode=config.data.split, seed=config.run.seed,
            val_fraction=config.data.val_fraction, test_fraction=config.data.test_fraction,
        )  # fmt: skip
        rng = np.random.default_rng([zlib.crc32(run.name.encode()), config.run.seed])
        rows = []
        for i in split.indices("test"):
            chances = rng.dirichlet(
                np.ones(len(names)) + 2 * np.eye(len(names))[manifest.labels[i]]
            )
            rows.append(
                {
                    "path": manifest.paths[i],
                    "subject": manifest.subjects[i],
                    "label": manifest.label_name(i),
                    **{f"p_{n}": float(p) for n, p in zip(names, chances, strict=True)},
                }
            )
        run.mkdir()
        write_rows(run / "test_predictions.csv", rows)
        write_json(run / "test_metrics.json", {"data": dataset.content_hash, "f1_macro": 0.5})
        return run


def read_json(path: Path):
    """Read a JSON document."""
    return json.loads(path.read_text())


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a table."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def is_picture(path: Path) -> bool:
    """Say whether a file is a picture with something in it."""
    from PIL import Image

    from fastleuk.evaluation import plots

    with Image.open(path) as image:
        return min(image.size) > 2 * plots.DPI and len(image.convert("RGB").getcolors(1 << 24)) > 50
