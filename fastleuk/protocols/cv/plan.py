"""The runs of a cross-validation: which folds, by which seeds, and whether they can be had."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from fastleuk.config import Config
from fastleuk.data.dataset import DataSet
from fastleuk.data.split.make import make_split
from fastleuk.errors import ConfigError
from fastleuk.protocols.jobs import Job


@dataclass(frozen=True, eq=False)
class Plan:
    """Which runs there are: ``modes`` × ``seeds``."""

    config: Config
    folds: str
    names: tuple[str, ...]
    modes: tuple[str, ...]
    seeds: tuple[int, ...]
    unseen: np.ndarray
    """Rows of the manifest that no run trains, validates or tests on."""
    notes: tuple[str, ...]

    @property
    def jobs(self) -> list[Job]:
        """Return the runs, one seed's folds after the other's."""
        return [
            Job(name=f"{name}-seed-{seed}", config=_config(self.config, mode, seed))
            for seed in self.seeds
            for name, mode in zip(self.names, self.modes, strict=True)
        ]


def parse_folds(folds: str) -> int | None:
    """Return K; None for the official folds."""
    if folds == "official":
        return None
    if not (folds.isascii() and folds.isdigit()) or not 2 <= int(folds) < 10**6:
        raise ConfigError(f"--folds is {folds!r}, but must be official or a number from 2 on.")
    return int(folds)


def _config(config: Config, mode: str, seed: int) -> Config:
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, split=mode),
        run=dataclasses.replace(config.run, seed=seed, out=""),
    )


def plan_runs(config: Config, dataset: DataSet, folds: str, seeds: int) -> Plan:
    """Decide on the runs and make every split once, so that what is wrong shows before training."""
    manifest, first = dataset.manifest, config.run.seed
    count = parse_folds(folds)
    if count is None:
        there = sorted({int(f) for f in manifest.folds[manifest.labelled] if f >= 0})
        if len(there) < 2:
            have = "no official folds" if not there else f"fold {there[0]} alone"
            raise ConfigError(
                f"--folds official: {manifest.root} has {have}. --folds 5 draws five folds by "
                "subject; a manifest CSV with a column fold names them."
            )
        modes = tuple(f"fold:{fold}" for fold in there)
        names = tuple(f"fold-{fold}" for fold in there)
    else:
        draw = f"@{first}" if first else ""
        modes = tuple(f"kfold:{fold}/{count}{draw}" for fold in range(count))
        names = tuple(f"fold-{fold}-of-{count}" for fold in range(count))
    numbers = tuple(range(first, first + seeds))
    notes: list[str] = []
    for seed in numbers:
        for mode in modes:
            split = make_split(
                manifest,
                dataset.groups,
                mode=mode,
                val_fraction=config.data.val_fraction,
                test_fraction=config.data.test_fraction,
                seed=seed,
            )
            notes += [note for note in split.notes if note not in notes]
    unseen = _unseen(dataset) if count is None else np.zeros(0, dtype=np.int64)
    return Plan(config, folds, names, modes, numbers, unseen, tuple(notes))


def _unseen(dataset: DataSet) -> np.ndarray:
    """Return the labelled rows in no official fold whose subjects no fold knows either."""
    manifest, groups = dataset.manifest, dataset.groups
    rows = manifest.labelled
    inside = rows[manifest.folds[rows] >= 0]
    outside = rows[manifest.folds[rows] < 0]
    return outside[~np.isin(groups[outside], groups[inside])]
