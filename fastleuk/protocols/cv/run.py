"""Cross-validation: ``fastleuk cv``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastleuk import run_log
from fastleuk.config import Config
from fastleuk.data.dataset import DataSet
from fastleuk.data.from_config import open_dataset
from fastleuk.files import write_json, write_rows, write_text
from fastleuk.models.backbone import check_backbone, check_weights
from fastleuk.models.backbone_size import size_arguments
from fastleuk.protocols.checks import check_free_split, check_seeds
from fastleuk.protocols.comparisons import compare_all, compare_ensemble, mean_intervals
from fastleuk.protocols.cv.plan import Plan, parse_folds, plan_runs
from fastleuk.protocols.cv.plot import plot_cv
from fastleuk.protocols.cv.report import format_cv
from fastleuk.protocols.figures import data_facts, mean_sd, reported
from fastleuk.protocols.jobs import RESULTS, Share, finished_runs, refuse_busy, run_jobs
from fastleuk.protocols.predictions import (
    PredictionTable,
    average,
    pool,
    predict_rows,
    read_predictions,
)

Report = Callable[[str], None]


def cross_validate(
    config: Config,
    *,
    folds: str,
    seeds: int,
    out: Path,
    report: Report = print,
    merge: bool = False,
) -> dict[str, Any]:
    """Train on every fold with every seed and write ``cv.json``, ``.md``, ``.png`` and ``.csv``.

    The test folds are the same for every seed. A run's seed changes its validation part, the new
    head, the order of the images and their augmentation.

    Args:
        config: Of each run; ``run.seed`` is the first seed, and draws the K folds.
        folds: ``official``, or the number K of folds to draw by subject.
        seeds: Number of seeds.
        out: Folder of the protocol. Finished runs in it are kept, interrupted ones go on.
        report: Takes what is printed.
        merge: Train nothing: all runs are there, such as from :func:`cross_validate_share`.

    Returns:
        What ``cv.json`` holds.

    Raises:
        ConfigError: ``folds`` or ``seeds`` make no sense for these data.
        CheckpointError: with ``merge``, runs that are not finished.
        FastleukError: any other of its family.
    """
    dataset, plan = _prepare(config, folds, seeds, out, report)
    if merge:
        runs = finished_runs(plan.jobs, out, content_hash=dataset.content_hash)
    else:
        runs = run_jobs(plan.jobs, out, content_hash=dataset.content_hash, report=report)
    result, rows = _collect(plan, dataset, runs, report)
    write_json(out / "cv.json", result)
    write_text(out / "cv.md", format_cv(result))
    write_rows(out / "cv_predictions.csv", rows)
    plot_cv(result, out / "cv.png")
    run_log.result(report, "\n" + format_cv(result))
    report(f"Written: {', '.join(str(out / f'cv{end}') for end in ('.json', '.md', '.png'))}")
    report(f"Predictions: {out / 'cv_predictions.csv'}")
    return result


def cross_validate_share(
    config: Config, *, folds: str, seeds: int, out: Path, share: Share, report: Report = print
) -> list[Path]:
    """Train one job's share of the runs of a cross-validation; ``merge`` puts them together.

    Args:
        config: As in :func:`cross_validate`; so are ``folds``, ``seeds``, ``out``, ``report``.
        folds: See there.
        seeds: See there.
        out: The same folder for all jobs.
        share: Which runs are this job's.
        report: See there.

    Returns:
        The run folders of this share.

    Raises:
        FastleukError: as in :func:`cross_validate`.
    """
    dataset, plan = _prepare(config, folds, seeds, out, report, share)
    mine = share.of(plan.jobs)
    report(
        f"Job {share.index} of 0 to {share.count - 1}: {len(mine)} of {len(plan.jobs)} runs"
        + (f" ({', '.join(job.name for job in mine)})" if mine else ", nothing to do")
    )
    hash_ = dataset.content_hash
    runs = run_jobs(plan.jobs, out, content_hash=hash_, report=report, share=share)
    report(f"When all jobs have ended: the same command with --merge instead of --job. {out}")
    return runs


def _prepare(
    config: Config,
    folds: str,
    seeds: int,
    out: Path,
    report: Report,
    share: Share | None = None,
) -> tuple[DataSet, Plan]:
    """Refuse what can be refused, open the data and decide on the runs."""
    check_seeds(seeds)
    check_free_split(config, "cv")
    parse_folds(folds)
    check_backbone(config.model.backbone)
    check_weights(config.model.backbone, config.model.weights)
    refuse_busy(out, share)
    size_arguments(config.model.backbone, config.loader.size)
    dataset = open_dataset(config.data, report=report)
    return dataset, plan_runs(config, dataset, folds, seeds)


def _collect(
    plan: Plan, dataset: DataSet, runs: list[Path], report: Report
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what ``cv.json`` holds, and the rows of ``cv_predictions.csv``."""
    names, shape = dataset.manifest.class_names, (len(plan.seeds), len(plan.modes))
    tables = [read_predictions(run / RESULTS[1], names, dataset.positive) for run in runs]
    figures = [table.figures() for table in tables]
    by_seed = [tables[k : k + shape[1]] for k in range(0, len(tables), shape[1])]
    pooled = [pool(of_seed) for of_seed in by_seed]
    mean = average(pooled)
    of_seeds = {f"seed {seed}": table for seed, table in zip(plan.seeds, pooled, strict=True)}
    by_image = dataset.manifest.subject_is_image
    fold_of = {
        path: mode
        for mode, table in zip(plan.modes, by_seed[0], strict=True)
        for path in table.paths
    }
    rows = mean.rows(part="out-of-fold", fold="")
    for row in rows:
        row["fold"] = fold_of[row["path"]]
    ensemble = None
    if len(plan.unseen):
        singles = [
            predict_rows(run, dataset, plan.unseen, device=plan.config.run.device, report=report)
            for run in runs
        ]
        members = {job.name: each for job, each in zip(plan.jobs, singles, strict=True)}
        ensemble = _ensemble("unseen part", members, by_image)
        rows += average(singles).rows(part="unseen", fold="")
    elif len(plan.seeds) > 1:
        ensemble = _ensemble("out-of-fold", of_seeds, by_image)
    config, manifest = plan.config, dataset.manifest
    jobs = plan.jobs
    result = {
        "protocol": "cv",
        "data": data_facts(dataset),
        "synthetic": manifest.synthetic,
        "class_names": list(names),
        "positive_class": dataset.positive,
        "folds": plan.folds,
        "splits": list(plan.modes),
        "seeds": list(plan.seeds),
        "config": dataclasses.asdict(config),
        "runs": [
            {"name": job.name, "split": job.config.data.split, "seed": job.config.run.seed, **each}
            for job, each in zip(jobs, figures, strict=True)
        ],
        "summary": _summary(figures, shape),
        "pooled": {
            **_pooled(pooled),
            "intervals": mean_intervals(pooled, subject_is_image=by_image),
        },
        "comparisons": compare_all(
            {name: [table] for name, table in of_seeds.items()}, subject_is_image=by_image
        ),
        "ensemble": ensemble,
        "notes": list(plan.notes),
    }
    return result, rows


def _summary(figures: list[dict[str, Any]], shape: tuple[int, int]) -> dict[str, Any]:
    """Return for each figure the mean over all runs, and its deviation over folds and seeds.

    A fold's value is its mean over the seeds, and a seed's its mean over the folds.
    """
    summary = {}
    for name in reported(figures[0]):
        values = np.array([np.nan if f[name] is None else f[name] for f in figures]).reshape(shape)
        summary[name] = {
            "mean": float(values.mean()),
            "sd_folds": mean_sd([float(v) for v in values.mean(axis=0)])["sd"],
            "sd_seeds": mean_sd([float(v) for v in values.mean(axis=1)])["sd"],
        }
    return summary


def _pooled(pooled: list[PredictionTable]) -> dict[str, Any]:
    """Return the figures over all folds' test images together, one seed's at a time."""
    each = [table.figures() for table in pooled]
    return {
        "samples": each[0]["samples"],
        "subjects": each[0]["subjects"],
        "figures": {name: mean_sd([f[name] for f in each]) for name in reported(each[0])},
        "confusion_matrix": np.mean([f["confusion_matrix"] for f in each], axis=0).tolist(),
        "seeds": each,
    }


def _ensemble(on: str, members: dict[str, PredictionTable], by_image: bool) -> dict[str, Any]:
    """Return the figures of the averaged probabilities beside those of the single models."""
    single = [table.figures() for table in members.values()]
    mean = average(list(members.values()))
    together = mean.figures()
    return {
        "on": on,
        "members": len(members),
        "samples": together["samples"],
        "subjects": together["subjects"],
        "figures": together,
        "single": {name: mean_sd([f[name] for f in single]) for name in reported(together)},
        "comparisons": compare_ensemble(mean, members, subject_is_image=by_image),
    }
