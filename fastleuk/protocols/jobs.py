"""Runs side by side in one folder: finished ones are kept, interrupted ones go on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastleuk.config import Config, read_config
from fastleuk.errors import CheckpointError, ConfigError, DataError, listed
from fastleuk.files import write_json
from fastleuk.loading import load_policy
from fastleuk.run_folder.identity import PLACES, TOLD, differences, flat
from fastleuk.run_folder.names import BEST, CONFIG, LAST, TEST_METRICS
from fastleuk.run_folder.names import RESULTS as RESULTS
from fastleuk.run_folder.start import check_idle, hold
from fastleuk.run_folder.state import is_tested
from fastleuk.training.interrupt import Interrupted
from fastleuk.training.train import resume, train

RUNS = "runs"
PROTOCOL_LOCK = "protocol.lock"
"""Held while a protocol trains; never removed."""

_WHAT = "worked on"
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One training run of a protocol."""

    name: str
    """Of its folder; unique in the protocol."""
    config: Config
    """As asked for; ``run.out`` is filled in by :func:`run_jobs`."""


@dataclass(frozen=True, slots=True)
class Share:
    """One job's part of the runs, of several that work in the same folder at the same time."""

    index: int
    """From 0."""
    count: int

    @classmethod
    def parse(cls, text: str) -> Share:
        """Read ``I/N``.

        Raises:
            ConfigError: it says something else, or I is not below N.

        >>> Share.parse("2/15")
        Share(index=2, count=15)
        """
        first, _, second = text.partition("/")
        numbers = [int(n) for n in (first, second) if n.isascii() and n.isdigit()]
        if len(numbers) != 2 or not numbers[0] < numbers[1]:
            raise ConfigError(
                f"--job is {text!r}, but must be I/N: the number of the job, from 0 to N - 1, and "
                "how many jobs there are, such as 0/15."
            )
        return cls(*numbers)

    def of(self, jobs: Sequence[Job]) -> list[Job]:
        """Return every ``count``-th job from ``index`` on: shares differ by one at most."""
        return list(jobs[self.index :: self.count])

    @property
    def lock(self) -> str:
        """Name of the lock that this share holds."""
        return f"job-{self.index}-of-{self.count}.lock"


def run_jobs(
    jobs: Sequence[Job],
    out: Path,
    *,
    content_hash: str,
    report: Report = print,
    share: Share | None = None,
) -> list[Path]:
    """Train what is not trained yet and return the run folders, in the order of ``jobs``.

    What was asked of a run is kept beside its folder, in ``out/runs/<name>.json``. Before
    anything is trained, every run that is there already is compared with it.

    Args:
        jobs: The runs, in the order in which they are trained.
        out: Folder of the protocol.
        content_hash: Identifies the data; finished runs must have been tested on them.
        report: Takes what is printed.
        share: Which of them are this job's; None for all. Other shares may work in ``out`` at
            the same time, and only this one's runs are compared and returned.

    Raises:
        CheckpointError: a run in ``out`` has another configuration or other data; all that
            differs is listed. Or another process is at it.
        Interrupted: a signal came; what is finished stays.
    """
    jobs = share.of(jobs) if share else jobs
    asked = {job.name: _asked(job.config) for job in jobs}
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(out, error) from error
    with hold(out, lock=share.lock if share else PROTOCOL_LOCK, what=_WHAT):
        _refuse_other_runs(jobs, asked, out, content_hash)
        return _run_all(jobs, asked, out, report)


def finished_runs(jobs: Sequence[Job], out: Path, *, content_hash: str) -> list[Path]:
    """Return the run folders of ``jobs``, all of which have to be finished; trains nothing.

    Raises:
        CheckpointError: some are missing or have not been tested, which are listed; or they are
            not the runs asked for, as in :func:`run_jobs`.
    """
    _refuse_other_runs(jobs, {job.name: _asked(job.config) for job in jobs}, out, content_hash)
    missing = [
        f"{job.name}: {'has not ended' if _folder(out, job).exists() else 'has not been trained'}"
        for job in jobs
        if not is_tested(_folder(out, job))
    ]
    if missing:
        raise CheckpointError(
            f"{len(missing)} of {len(jobs)} runs in {out} are not finished:\n{listed(missing)}\n"
            "Give their --job again, or leave out --merge to train them here."
        )
    return [_folder(out, job) for job in jobs]


def refuse_busy(out: Path, share: Share | None = None) -> None:
    """Refuse early a folder in which another process trains at this moment.

    Args:
        out: Folder of the protocol.
        share: The job's part: then only what would train the same runs is in the way.

    Raises:
        CheckpointError: names the process.
    """
    check_idle(out, lock=PROTOCOL_LOCK, what=_WHAT)
    if share:
        check_idle(out, lock=share.lock, what=_WHAT)


def _run_all(
    jobs: Sequence[Job], asked: dict[str, dict[str, Any]], out: Path, report: Report
) -> list[Path]:
    finished = sum(is_tested(_folder(out, job)) for job in jobs)
    if finished:
        report(f"{finished} of {len(jobs)} runs in {out / RUNS} are finished and are kept.")
    for number, job in enumerate(jobs, 1):
        folder = _folder(out, job)
        if is_tested(folder):
            continue
        try:
            report(f"\n[{number}/{len(jobs)}] {job.name}")
            _run(job, folder, asked[job.name], report)
        except (Interrupted, KeyboardInterrupt) as stopped:
            done = sum(is_tested(_folder(out, other)) for other in jobs)
            raise _interrupted(stopped, f"{done} of {len(jobs)} runs are finished") from stopped
    return [_folder(out, job) for job in jobs]


def _folder(out: Path, job: Job) -> Path:
    return out / RUNS / job.name


def _request(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def _asked(config: Config) -> dict[str, Any]:
    """Return what defines a run, fit for JSON."""
    same: dict[str, Any] = dataclasses.asdict(config)
    for key in PLACES:
        section, _, name = key.partition(".")
        same[section].pop(name, None)
    file = Path(config.model.weights)
    if config.model.weights not in ("hub", "bundled", "none") and file.is_file():
        same["model"]["weights_sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    return {**same, "policy": {"toml": load_policy(config.augment.augment).to_toml()}}


def _run(job: Job, folder: Path, asked: dict[str, Any], report: Report) -> None:
    if (folder / LAST).is_file():
        loader = job.config.loader
        changes: dict[str, dict[str, Any]] = {
            "loader": {"workers": loader.workers, "prefetch": loader.prefetch}
        }
        if job.config.data.data:
            changes["data"] = {"data": job.config.data.data}
        resume(folder, device=job.config.run.device, changes=changes, report=report)
        return
    try:
        if folder.exists():  # stopped before its first checkpoint; compared with `asked` before
            with hold(folder):  # nobody else is at it
                shutil.rmtree(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_json(_request(folder), asked)
    except OSError as error:
        raise _unwritable(folder, error) from error
    run = dataclasses.replace(job.config.run, out=str(folder))
    train(dataclasses.replace(job.config, run=run), report=report)


def _unwritable(folder: Path, error: OSError) -> DataError:
    return DataError(f"Can't write {folder}: {error}. Choose another --out.")


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
        problems += [f"{job.name}: {text}" for text in _resumed_otherwise(folder, before)]
        if is_tested(folder):
            tested = (_read_json(folder / TEST_METRICS) or {}).get("data")
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
    """Say what differs; weights count by content, where that is known, and not by place."""
    old, new = flat(before), flat(now)
    digest = "model.weights_sha256"
    free = {*PLACES}
    if old.get(digest) and old.get(digest) == new.get(digest):
        free.add("model.weights")
    elif digest not in old:  # of an earlier version
        free.add(digest)
    return differences(old, new, free=free, defaults=flat(dataclasses.asdict(Config())))


def _resumed_otherwise(folder: Path, asked: dict[str, Any]) -> list[str]:
    """Say what somebody has changed by ``fastleuk train --resume``, such as ``--epochs``."""
    if not ((folder / CONFIG).is_file() and (folder / LAST).is_file()):
        return []
    has = dataclasses.asdict(read_config(folder / CONFIG))
    keys = [key for key in TOLD if key in flat(asked)]
    then, now = ({key: flat(each)[key] for key in keys} for each in (asked, has))
    return [f"{text}: it was resumed with that" for text in differences(then, now)]


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
