"""``fastleuk train --out DIR`` once more: whether DIR holds that very run, stopped on its way.

Batch systems give the same command again after a job's time was over.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from fastleuk.augment import AugmentPolicy
from fastleuk.config import Config, read_config
from fastleuk.errors import DataError, listed
from fastleuk.loading import load_policy
from fastleuk.models.backbone_name import FOLDER, source_of
from fastleuk.run_folder.identity import PLACES, differences, flat
from fastleuk.run_folder.names import CONFIG, LAST, POLICY
from fastleuk.run_folder.state import RUNNING, TESTED, read_state
from fastleuk.shell import quoted

_CHOSEN = ("loader.loader", "augment.applier")
"""Keys whose ``auto`` a run's own configuration holds resolved."""


def unfinished(config: Config) -> Path | None:
    """Return the folder ``--out`` if it holds this run, with a checkpoint and not tested yet.

    The data count by content, which is compared when the run goes on.

    Args:
        config: What was asked for.

    Raises:
        DataError: it holds another run that has not ended; all that differs is listed.
        ConfigError: the configuration in it can't be read.
    """
    run_dir = Path(config.run.out)
    if not config.run.out or not all((run_dir / name).is_file() for name in (CONFIG, POLICY, LAST)):
        return None
    if read_state(run_dir).name in (RUNNING, TESTED):
        return None  # refused where a folder is taken
    wrong = _differences(run_dir, config)
    if wrong:
        raise DataError(
            f"--out {run_dir} holds another run, which has not ended:\n{listed(wrong, 20)}\n"
            "Choose a new folder, or go on with that run: fastleuk train --resume "
            f"{quoted(run_dir)}"
        )
    return run_dir


def changes_for(config: Config) -> dict[str, dict[str, Any]]:
    """Return what a run that goes on takes from the command: places, machines, trackers."""
    run, loader = config.run, config.loader
    changes: dict[str, dict[str, Any]] = {
        "loader": {"workers": loader.workers, "prefetch": loader.prefetch},
        "run": {
            name: getattr(run, name)
            for name in ("checkpoint_every", "profile", "tensorboard", "wandb")
        },
    }
    if config.data.data:
        changes["data"] = {"data": config.data.data, "root": config.data.root}
    return changes


def _differences(run_dir: Path, config: Config) -> list[str]:
    kept = read_config(run_dir / CONFIG)
    before, now = (flat(dataclasses.asdict(each)) for each in (kept, config))
    now["model.backbone"] = _absolute_backbone(config.model.backbone)
    if config.model.weights not in ("hub", "bundled", "none"):
        now["model.weights"] = str(Path(config.model.weights).resolve())
    free = PLACES | {"augment.augment"} | {key for key in _CHOSEN if now[key] == "auto"}
    policies = (AugmentPolicy.from_toml(run_dir / POLICY), load_policy(config.augment.augment))
    before |= flat({"policy": policies[0].to_dict()})
    now |= flat({"policy": policies[1].to_dict()})
    return differences(before, now, free=free)


def _absolute_backbone(backbone: str) -> str:
    source, name = source_of(backbone)
    return f"{source}{Path(name).resolve()}" if source == FOLDER else backbone
