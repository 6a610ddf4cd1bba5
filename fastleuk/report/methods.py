"""The methods paragraph of a paper, with the run's numbers in it."""

from __future__ import annotations

from typing import Any

from fastleuk.data.labels.positive import meanings
from fastleuk.report.facts import data as facts
from fastleuk.report.facts import results as facts_results
from fastleuk.report.facts import training as facts_training
from fastleuk.report.facts.decision import decision_sentence
from fastleuk.report.numbers import capital, ends, estimate, listing
from fastleuk.report.sections.external import external_lines
from fastleuk.report.source import Source


def methods(source: Source, baselines: dict[str, Any], external: dict[str, Any]) -> str:
    """Return paragraphs: data, network, training, evaluation, results.

    Args:
        source: The run.
        baselines: What the page says of size alone and colours alone.
        external: What it says of other data.
    """
    names = listing(list(source.class_names))
    expanded = f" ({found})" if (found := meanings(source.class_names)) else ""
    paragraphs = [
        f"Data. Single-cell images of {names}{expanded} ({facts.data_name(source)}"
        f"{_drawn(source)}) were used. {facts.split_sentence(source)} "
        f"{facts.parts_sentence(source)} {facts.disjoint_sentence(source)[1]}",
        f"Images. {facts.preprocessing_sentence(source)}",
        f"Network. {facts_training.model_sentence(source)}",
        f"Training. {facts_training.training_sentence(source)} "
        f"{facts_training.balance_sentence(source)} "
        f"{facts_training.augmentation_sentence(source)} {_work(source)}",
        f"Evaluation. The weights of the epoch with the best macro-F1 on the validation part were "
        f"tested on the test part. {decision_sentence(source)} "
        f"{facts_results.clusters_sentence(source)} {_software(source.versions)}",
        f"Results. {capital(_results(source))}. {_with_baselines(baselines)}",
    ]
    if not external.get("none"):
        paragraphs.append(f"Other data. {' '.join(external_lines(external))}")
    warnings = facts_results.warnings(source)
    if warnings:
        paragraphs.append(f"Limits. {' '.join(warnings)}")
    paragraphs.append(facts.RESEARCH_USE)
    return "\n\n".join(" ".join(text.split()) for text in paragraphs)


def _drawn(source: Source) -> str:
    named = "synthetic" in facts.data_name(source)
    return ", synthetic cells drawn by a program" if source.synthetic and not named else ""


def _work(source: Source) -> str:
    work = facts_training.work(source)
    device = work["device"].partition(", ")[0]
    if "training and validation" not in work:
        return f"It was trained on {device}."
    rate = work.get("images a second, median of epochs")
    at = f", at {rate} images a second" if rate else ""
    return f"Training and validation took {work['training and validation']} on {device}{at}."


def _software(versions: dict[str, str]) -> str:
    if not versions:
        return "Software: fastleuk; the other versions are not in the run folder."
    return f"Software: {', '.join(f'{name} {version}' for name, version in versions.items())}."


_SHOWN = (
    "f1_macro", "f1_weighted", "f1_positive", "precision_positive", "sensitivity", "specificity",
    "balanced_accuracy", "accuracy", "mcc", "auc", "average_precision", "brier", "ece_15",
)  # fmt: skip


def _results(source: Source) -> str:
    figures, level = source.intervals.get("figures", {}), source.intervals.get("level", 0.95)
    there = [figures[name] for name in _SHOWN if name in figures]
    told = [f"{figure['title']} {estimate(figure)} ({ends(figure)})" for figure in there]
    if not told:
        return facts_results.headline_sentence(source)
    return f"{listing(told)}, with {level:.0%} intervals in brackets"


def _with_baselines(baselines: dict[str, Any]) -> str:
    if baselines.get("none"):
        return f"Baselines without a network: {baselines['none']}"
    return str(baselines["sentence"])
