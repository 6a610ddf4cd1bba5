"""How the run was trained, what that cost, and what it can be repeated with."""

from __future__ import annotations

from typing import Any

from fastleuk.report.charts.curves import loss_chart, score_chart
from fastleuk.report.facts import data as facts
from fastleuk.report.facts import training as facts_training
from fastleuk.report.source import Source
from fastleuk.shell import quoted


def training(source: Source) -> dict[str, Any]:
    """Return learning curves and settings."""
    told: dict[str, Any] = {
        "model": facts_training.model_sentence(source),
        "training": facts_training.training_sentence(source),
        "balance": facts_training.balance_sentence(source),
        "augmentation": facts_training.augmentation_sentence(source),
        "preprocessing": facts.preprocessing_sentence(source),
        "work": facts_training.work(source),
    }
    epoch = facts_training.best_epoch(source)
    if not source.rows:
        why = source.missing.get("metrics.csv", "metrics.csv has no epoch.")
        told["none"] = f"Learning curves are not drawn: {why}"
    else:
        best = epoch or int(source.rows[-1]["epoch"] or 1)
        told["loss"] = loss_chart(source.rows, best).html
        told["scores"] = score_chart(source.rows, best).html
    return told


def repeatable(source: Source, here: dict[str, str]) -> dict[str, Any]:
    """Return versions, hashes and commands.

    Args:
        source: The run.
        here: Of those that wrote the report.
    """
    run = source.run_dir
    return {
        "command": facts_training.command(source),
        "again": f"fastleuk train --config {quoted(run / 'config.toml')} --out NEW",
        "figures": f"fastleuk evaluate {quoted(run)}",
        "versions": source.versions,
        "here": here,
        "hashes": source.hashes,
        "data_hash": source.figures.get("data", "not known"),
        "seed": source.config["run"]["seed"],
        "settings": settings(source.config),
        "missing": list(source.missing.values()),
    }


def settings(config: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return every setting by section, as text."""
    return [
        (section, [(key, _shown(value)) for key, value in table.items()])
        for section, table in config.items()
        if isinstance(table, dict)
    ]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value) or "–"
