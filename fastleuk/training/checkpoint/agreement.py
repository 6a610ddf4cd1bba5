"""What a run and its resumption must have in common, and what may change but is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastleuk.augment import NONE
from fastleuk.config import Config, OptimConfig
from fastleuk.errors import CheckpointError, ConfigError, listed
from fastleuk.run_folder.identity import CHANGEABLE, PLACES, TOLD, differences, flat
from fastleuk.run_folder.names import CONFIG
from fastleuk.training.state import Progress

SAME_PROCESSES = PLACES | {"augment.augment", "model.weights"}
"""Keys in which the processes of a run may differ: the policy counts by content, and the weights
that a run begins with are the first process's."""

_SHARED = {"loader.batch_size", "processes"}
_FREE = SAME_PROCESSES | {*TOLD, *_SHARED}


def check_agreement(saved: Mapping[str, Any], now: Mapping[str, Any], run_dir: Path) -> list[str]:
    """Compare the identities of a checkpoint and of what is to go on with it.

    Args:
        saved: Flat, of the checkpoint.
        now: Flat, of this run.
        run_dir: The run folder.

    Returns:
        Notes on what differs and may.

    Raises:
        CheckpointError: they are different runs, or the batches of all processes together have
            another size than before.
    """
    defaults = {**flat(dataclasses.asdict(Config())), **flat({"policy": NONE.to_dict()})}
    wrong = differences(saved, now, free=_FREE, defaults=defaults)
    if wrong:
        raise CheckpointError(
            f"The checkpoint in {run_dir} belongs to another run than {CONFIG} and the data "
            f"there:\n{listed(wrong, 20)}\nRestore what it was trained on, or start a new run."
        )
    told = {key: value for key, value in saved.items() if key in TOLD}
    notes = [f"note: {text}" for text in differences(told, {k: now[k] for k in told})]
    return notes + _global_batch(saved, now, run_dir)


def _global_batch(saved: Mapping[str, Any], now: Mapping[str, Any], run_dir: Path) -> list[str]:
    then, today = (
        (each.get("processes", 1), each.get("loader.batch_size", now["loader.batch_size"]))
        for each in (saved, now)
    )
    if then == today:
        return []
    whole = then[0] * then[1]
    if today[0] * today[1] != whole:
        fitting = (
            f"Give --batch-size {whole // today[0]}"
            if whole % today[0] == 0
            else f"Start a number of processes that divides {whole}, with the --batch-size to it"
        )
        raise CheckpointError(
            f"{run_dir} was trained with batches of {_batch(*then)}; now they would be "
            f"{_batch(*today)}, and its epochs and updates would be others. {fitting}."
        )
    return [
        f"note: batches of {_batch(*then)} until now, {_batch(*today)} from here: the same images "
        "an update, but batch normalisation and dropout see them in other groups, so the run no "
        "longer equals an undisturbed one bit for bit."
    ]


def _batch(processes: int, each: int) -> str:
    plural = "es" if processes > 1 else ""
    return f"{processes} process{plural} × --batch-size {each} = {processes * each}"


def changed(config: Config, changes: Mapping[str, Mapping[str, Any]]) -> Config:
    """Return the configuration of a run with what was given to its resumption.

    Raises:
        ConfigError: something that can't change in the midst of a run.
    """
    refused = sorted(key for key in flat(changes) if key not in CHANGEABLE)
    if refused:
        raise ConfigError(f"A run that is resumed keeps {', '.join(refused)}: start a new one.")
    cache = changes.get("loader", {}).get("cache", config.loader.cache)
    if (cache == "off") != (config.loader.cache == "off"):
        raise ConfigError(
            f"--cache {cache} can't be given with --resume: augmented images of a decoded cache "
            "differ by a little from the files', so a run keeps what it began with."
        )
    for section, values in changes.items():
        part = dataclasses.replace(getattr(config, section), **values)
        config = dataclasses.replace(config, **{section: part})
    given = changes.get("data", {}).get("data")
    if given:
        root = changes["data"].get("root", "")  # the old one was of the old manifest
        part = dataclasses.replace(config.data, data=str(Path(given).resolve()), root=root)
        config = dataclasses.replace(config, data=part)
    return config


def check_epochs(config: Config, progress: Mapping[str, Any], run_dir: Path) -> None:
    """Refuse fewer epochs than there have been.

    Raises:
        ConfigError: says how many.
    """
    done = int(progress.get("epoch", 0))
    if config.optim.epochs < done:
        raise ConfigError(
            f"--epochs {config.optim.epochs}: {run_dir} has {done} epochs behind it. Give {done} "
            "or more."
        )


def departures(
    config: OptimConfig, progress: Progress, *, lr_then: float, lr_now: float
) -> list[str]:
    """Say where a resumed run goes another way than it would have, or not at all.

    Args:
        config: How it is trained from now on.
        progress: How far it has come.
        lr_then: Learning rate of the next update, by the checkpoint.
        lr_now: By the schedule of now.
    """
    notes = []
    if lr_then != lr_now:
        notes.append(
            f"note: --scheduler {config.scheduler} now spans {config.epochs} epochs: the learning "
            f"rate goes on at {lr_now:.3g} instead of {lr_then:.3g}. The run is neither the "
            "shorter nor the longer one."
        )
    if progress.stale >= config.patience and progress.epoch < config.epochs:
        notes.append(
            f"note: no epoch has been better for {progress.stale} epochs, and --patience is "
            f"{config.patience}: give a larger one to train on."
        )
    return notes
