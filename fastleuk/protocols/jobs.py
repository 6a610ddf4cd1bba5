"""Runs side by side in one folder: finished ones are kept, interrupted ones go on."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastleuk.config import Config
from fastleuk.errors import CheckpointError, DataError, listed
from fastleuk.files import write_json
from fastleuk.loading import load_policy
from fastleuk.training.interrupt import Interrupted
from fastleuk.training.run import resume, train

RUNS, LAST, BEST = "runs", "last.ckpt", "best.safetensors"
RESULTS = ("test_metrics.json", "test_predictions.csv")
# What may change between two starts of a protocol: places, machines, and what a run tells of
# itself. The data are compared by content, the augmentation policy too.
_FREE = {
    "run": ("out", "device", "recipe", "checkpoint_every", "profile", "tensorboard", "wandb"),
    "loader": ("workers", "prefetch", "cache"),
    "data": ("data", "positive"),
}
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One training run of a protocol."""

    name: str
    """Of its folder; unique in the protocol."""
    config: Config
    """As asked for; ``run.out`` is filled in by :func:`run_jobs`."""


def run_jobs(
    jobs: Sequence[Job], out: Path, *, content_hash: str, report: Report = print
) -> list[Path]:
    """Train what is not trained yet and return the run folders, in the order of ``jobs``.

    What was asked of a run is kept beside its folder, in ``out/runs/<name>.json``. Before
    anything is trained, every run that is there already is compared with it.

    Args:
        jobs: The runs, in the order in which they are trained.
        out: Folder of the protocol.
        content_hash: Identifies the data; finished runs must have been tested on them.
        report: Takes what is printed.

    Raises:
        CheckpointError: a run in ``out`` has another configuration or other data; all that
            differs is listed.
        Interrupted: a signal came; what is finished stays.
    """
    asked = {job.name: _asked(job.config) for job in jobs}
    _refuse_other_runs(jobs, asked, out, content_hash)
    finished = sum(_is_finished(_folder(out, job)) for job in jobs)
    if finished:
        report(f"{finished} of {len(jobs)} runs in {out / RUNS} are finished and are kept.")
    for number, job in enumerate(jobs, 1):
        folder = _folder(out, job)
        if _is_finished(folder):
            continue
        try:
            report(f"\n[{number}/{len(jobs)}] {job.name}")
            _run(job, folder, asked[job.name], report)
        except (Interrupted, KeyboardInterrupt) as stopped:
            done = sum(_is_finished(_folder(out, other)) for other in jobs)
            raise _interrupted(stopped, f"{done} of {len(jobs)} runs are finished") from stopped
    return [_folder(out, job) for job in jobs]


def _folder(out: Path, job: Job) -> Path:
    return out / RUNS / job.name


def _request(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def _is_finished(folder: Path) -> bool:
    return all((folder / name).is_file() for name in RESULTS)


def _asked(config: Config) -> dict[str, Any]:
    """Return what defines a run, fit for JSON."""
    same = dataclasses.asdict(config)
    for section, keys in _FREE.items():
        for key in keys:
            same[section].pop(key, None)
    return {**same, "policy": {"toml": load_policy(config.augment.augment).to_toml()}}


def _run(job: Job, folder: Path, asked: dict[str, Any], report: Report) -> None:
    if (folder / LAST).is_file():
        resume(folder, device=job.config.run.device, report=report)
        return
    try:
        if folder.exists():  # stopped before its first checkpoint; compared with `asked` before
            shutil.rmtree(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_json(_request(folder), asked)
    except OSError as error:
        raise DataError(f"Can't write {folder}: {error}. Choose another --out.") from error
    run = dataclasses.replace(job.config.run, out=str(folder))
    train(dataclasses.replace(job.config, run=run), report=report)


def _interrupted(stopped: BaseException, state: str) -> Interrupted:
    """Return an `Interrupted` that says how the protocol goes on, with the same exit code."""
    if not isinstance(stopped, Interrupted):
        stopped = Interrupted("Stopped.")
    first = str(stopped).split(" Go on with:")[0]
    stopped.args = (f"{first} {state}; give the same command again to go on.",)
    return stopped


def _refuse_other_runs(
    jobs: Sequence[Job], asked: dict[str, dict[str, Any]], out: Path, content_hash: str
) -> None:
    problems = []
    for job in jobs:
        folder = _folder(out, job)
        if not folder.exists() or not any(folder.iterdir()):
            continue
        before = _read_json(_request(folder))
        if before is None:
            problems.append(f"{job.name}: {_request(folder)} is missing or damaged")
            continue
        problems += [f"{job.name}: {text}" for text in _differences(before, asked[job.name])]
        if _is_finished(folder):
            tested = (_read_json(folder / RESULTS[0]) or {}).get("data")
            if tested != content_hash:
                problems.append(f"{job.name}: was trained on other data ({tested})")
        elif (folder / BEST).is_file() and not (folder / LAST).is_file():
            problems.append(f"{job.name}: has weights but no checkpoint to go on from")
    if problems:
        raise CheckpointError(
            f"{out} holds runs that are not the ones asked for:\n{listed(problems, 20)}\n"
            "Choose another --out, or give the options they were trained with."
        )


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    texts = []
    for section in sorted(before.keys() | now.keys()):
        old, new = before.get(section, {}), now.get(section, {})
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                texts.append(f"{section}.{key} was {old.get(key)!r}, is {new.get(key)!r}")
    return texts


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
