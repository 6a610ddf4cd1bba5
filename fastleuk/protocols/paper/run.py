"""The paper's table, and the same models on unseen subjects: ``fastleuk paper``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastleuk import run_log
from fastleuk.config import Config
from fastleuk.data.dataset import DataSet
from fastleuk.data.from_config import open_dataset
from fastleuk.data.split.make import make_split
from fastleuk.data.split.parts import Split
from fastleuk.errors import ConfigError
from fastleuk.files import write_json, write_text
from fastleuk.loading import resolve_loader
from fastleuk.models.backbone_name import file_name
from fastleuk.models.backbone_size import size_arguments
from fastleuk.models.weights import BUNDLED_BACKBONE
from fastleuk.protocols.checks import check_free_split, check_seeds
from fastleuk.protocols.comparisons import compare_all
from fastleuk.protocols.figures import data_facts, mean_sd
from fastleuk.protocols.jobs import RESULTS, Job, refuse_busy, run_jobs
from fastleuk.protocols.paper.plot import plot_leak
from fastleuk.protocols.paper.published import PUBLISHED
from fastleuk.protocols.paper.report import format_paper
from fastleuk.protocols.paper.weights import weights_of
from fastleuk.protocols.predictions import PredictionTable, read_predictions
from fastleuk.protocols.shortcut import NAME as SHORTCUT
from fastleuk.protocols.shortcut import colour_statistics, shortcut_table

SPLITS = ("image", "subject")
QUICK_BACKBONES = (BUNDLED_BACKBONE, "test_efficientnet", "test_resnet")
PRESET: dict[str, dict[str, Any]] = {"augment": {"per_class": "10000"}}
"""What the paper's protocol adds to the defaults; a file and options override it."""
QUICK: dict[str, dict[str, Any]] = {
    "data": {"val_fraction": 0.15, "test_fraction": 0.2},
    "augment": {"per_class": "scaled"},
    "loader": {"size": 64, "batch_size": 16},
    "model": {"weights": "auto"},
    "optim": {"epochs": 5, "lr": 1e-3},
}
"""The same in miniature. ``scaled``: the paper's ratio of balanced samples to images. ``auto``:
bundled weights for the backbone that has some, random ones for the others."""
_PAPER_BALANCE = 10_000 / 8_491
"""The paper's samples of a class and epoch over the images of the larger class."""
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class _Plan:
    config: Config
    backbones: tuple[str, ...]
    weights: tuple[str, ...]
    seeds: tuple[int, ...]
    quick: bool

    @property
    def jobs(self) -> list[Job]:
        """Return the runs: a backbone's two splits one after the other, seed by seed."""
        return [
            Job(
                name=f"{file_name(backbone)}-{split}-seed-{seed}",
                config=_config(self.config, backbone, weights, split, seed),
            )
            for seed in self.seeds
            for backbone, weights in zip(self.backbones, self.weights, strict=True)
            for split in SPLITS
        ]


def run_paper(
    config: Config,
    *,
    out: Path,
    backbones: Sequence[str] = (),
    seeds: int = 1,
    quick: bool = False,
    report: Report = print,
) -> dict[str, Any]:
    """Train the backbones under both splits; write ``paper.json``, ``.md`` and ``.png``.

    A run's seed changes everything: the split, the new head, order and augmentation.

    Args:
        config: Of each run, such as :data:`PRESET` or :data:`QUICK` give; ``model.weights`` may
            be a folder with ``<backbone>.safetensors`` or ``.pth`` for each.
        out: Folder of the protocol. Finished runs in it are kept, interrupted ones go on.
        backbones: timm names; by default the paper's five, or small ones where ``quick``.
        seeds: Number of seeds, from ``run.seed`` on.
        quick: Say in the results that this was the miniature.
        report: Takes what is printed.

    Returns:
        What ``paper.json`` holds.

    Raises:
        FastleukError: any of its family, before training starts wherever that can be known.
    """
    check_seeds(seeds)
    check_free_split(config, "paper")
    chosen = tuple(backbones) or (QUICK_BACKBONES if quick else tuple(PUBLISHED))
    folders = [file_name(name) for name in chosen]
    twice = sorted({name for name in folders if folders.count(name) > 1})
    if twice:
        raise ConfigError(f"--backbones names {', '.join(twice)} more than once.")
    weights = weights_of(chosen, config.model.weights)
    refuse_busy(out)
    for backbone in chosen:
        size_arguments(backbone, config.loader.size)
    dataset = open_dataset(config.data, report=report)
    if config.augment.per_class == "scaled":
        config = _scaled(config, dataset)
    first = config.run.seed
    plan = _Plan(
        config=config,
        backbones=chosen,
        weights=weights,
        seeds=tuple(range(first, first + seeds)),
        quick=quick,
    )
    splits = _splits(plan, dataset)
    runs = run_jobs(plan.jobs, out, content_hash=dataset.content_hash, report=report)
    result = _collect(plan, dataset, runs, splits)
    write_json(out / "paper.json", result)
    write_text(out / "paper.md", format_paper(result))
    plot_leak(result, out / "paper.png")
    run_log.result(report, "\n" + format_paper(result))
    report(f"Written: {', '.join(str(out / f'paper{end}') for end in ('.json', '.md', '.png'))}")
    return result


def _scaled(config: Config, dataset: DataSet) -> Config:
    manifest = dataset.manifest
    largest = int(np.bincount(manifest.labels[manifest.labelled]).max())
    augment = dataclasses.replace(
        config.augment, per_class=str(max(1, round(_PAPER_BALANCE * largest)))
    )
    return dataclasses.replace(config, augment=augment)


def _config(config: Config, backbone: str, weights: str, split: str, seed: int) -> Config:
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, split=split),
        model=dataclasses.replace(config.model, backbone=backbone, weights=weights),
        run=dataclasses.replace(config.run, seed=seed, out=""),
    )


def _splits(plan: _Plan, dataset: DataSet) -> dict[str, list[Split]]:
    """Make every split once, so that what is wrong shows before training; one for each seed."""
    return {
        split: [
            make_split(
                dataset.manifest,
                dataset.groups,
                mode=split,
                val_fraction=plan.config.data.val_fraction,
                test_fraction=plan.config.data.test_fraction,
                seed=seed,
            )
            for seed in plan.seeds
        ]
        for split in SPLITS
    }


def _shortcut(
    plan: _Plan, dataset: DataSet, splits: dict[str, list[Split]]
) -> dict[str, list[PredictionTable]]:
    """Return what colours alone say in the same splits, a table for each seed."""
    loader = resolve_loader(plan.config.loader)
    statistics = colour_statistics(dataset, backend=loader.loader, workers=loader.workers)
    return {
        name: [
            shortcut_table(dataset, split, statistics, seed=seed)
            for split, seed in zip(of_seeds, plan.seeds, strict=True)
        ]
        for name, of_seeds in splits.items()
    }


def _collect(
    plan: _Plan, dataset: DataSet, runs: list[Path], splits: dict[str, list[Split]]
) -> dict[str, Any]:
    """Return what ``paper.json`` holds."""
    manifest, names = dataset.manifest, dataset.manifest.class_names
    tables = [read_predictions(run / RESULTS[1], names, dataset.positive) for run in runs]
    figures = [table.figures() for table in tables]
    done = list(zip(plan.jobs, figures, strict=True))
    shortcut = _shortcut(plan, dataset, splits)
    rows = []
    for backbone, weights in zip(plan.backbones, plan.weights, strict=True):
        trained = {}
        for split in SPLITS:
            mine = [
                f
                for job, f in done
                if job.config.model.backbone == backbone and job.config.data.split == split
            ]
            trained[split] = _merge(mine)
        published = PUBLISHED.get(backbone.split(".")[0])
        rows.append(
            {
                "backbone": backbone,
                "name": published.name if published else backbone,
                "weights": weights,
                "published": dataclasses.asdict(published) if published else None,
                **trained,
            }
        )
    return {
        "protocol": "paper",
        "quick": plan.quick,
        "data": {**data_facts(dataset), "layout": manifest.layout},
        "synthetic": manifest.synthetic,
        "class_names": list(names),
        "positive_class": dataset.positive,
        "seeds": list(plan.seeds),
        "config": dataclasses.asdict(plan.config),
        "rows": rows,
        "shortcut": {
            "name": SHORTCUT,
            "published": None,
            **{split: _merge([t.figures() for t in each]) for split, each in shortcut.items()},
        },
        "comparisons": _comparisons(plan, rows, tables, shortcut, manifest.subject_is_image),
        "runs": [{"name": job.name, **f} for job, f in done],
        "notes": {name: list(of_seeds[0].notes) for name, of_seeds in splits.items()},
    }


def _comparisons(
    plan: _Plan,
    rows: list[dict[str, Any]],
    tables: list[PredictionTable],
    shortcut: dict[str, list[PredictionTable]],
    by_image: bool,
) -> dict[str, Any]:
    """Return for each split every row against every other, what colours alone say as well."""
    found = {}
    for split in SPLITS:
        of_rows = {
            row["name"]: [
                table
                for job, table in zip(plan.jobs, tables, strict=True)
                if job.config.model.backbone == row["backbone"] and job.config.data.split == split
            ]
            for row in rows
        }
        of_rows[SHORTCUT] = shortcut[split]
        found[split] = compare_all(of_rows, subject_is_image=by_image)
    return found


def _merge(figures: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean, sd and the seeds' values of every figure that is a number."""
    merged = {}
    for name, value in figures[0].items():
        if isinstance(value, float) or name == "auc":
            values = [each[name] for each in figures]
            merged[name] = {**mean_sd(values), "seeds": values}
    merged["samples"] = {"seeds": [each["samples"] for each in figures]}
    merged["subjects"] = {"seeds": [each["subjects"] for each in figures]}
    return merged
