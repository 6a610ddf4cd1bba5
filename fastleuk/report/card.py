"""``MODEL_CARD.md`` in the form of model hubs."""

from __future__ import annotations

from typing import Any

from fastleuk.data.labels.positive import meanings
from fastleuk.report.facts import data as facts
from fastleuk.report.facts import results as facts_results
from fastleuk.report.facts import training as facts_training
from fastleuk.report.facts.decision import decision_sentence
from fastleuk.report.numbers import ends, estimate, listing
from fastleuk.report.sections.external import external_lines
from fastleuk.report.source import Source

LICENSE = "other"
"""Of the weights: their starting weights and the data have licences of their own."""

_HUB_METRICS = {
    "f1_macro": "f1", "accuracy": "accuracy", "auc": "roc_auc", "mcc": "matthews_correlation",
    "balanced_accuracy": "balanced_accuracy", "sensitivity": "recall", "brier": "brier_score",
}  # fmt: skip


def model_card(source: Source, baselines: dict[str, Any], external: dict[str, Any]) -> str:
    """Return a model card with its metadata, by huggingface_hub's ``ModelCard``.

    Args:
        source: The run.
        baselines: What the page says of size alone and colours alone.
        external: What it says of other data.
    """
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    data = facts.data_name(source)
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type=_slug(data),
            dataset_name=data,
            dataset_split="test",
            metric_type=hub,
            metric_name=figure["title"],
            metric_value=round(figure["estimate"], 6),
        )
        for name, hub in _HUB_METRICS.items()
        if (figure := source.intervals.get("figures", {}).get(name)) is not None
        and figure["estimate"] is not None
    ]
    name = source.run_dir.resolve().name
    card_data = ModelCardData(
        language="en",
        license=LICENSE,
        library_name="timm",
        tags=["fastleuk", "image-classification", "hematology", "research-use-only"],
        pipeline_tag="image-classification",
        model_name=name if results else None,
        eval_results=results or None,
    )
    body = f"---\n{card_data.to_yaml()}\n---\n\n{_body(source, name, baselines, external)}"
    return str(ModelCard(body))


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-") or "data"


def _body(source: Source, name: str, baselines: dict[str, Any], external: dict[str, Any]) -> str:
    warnings = "\n".join(f"> {text}" for text in facts_results.warnings(source))
    beside = baselines.get("none") or baselines["sentence"]
    elsewhere = "\n\n".join(external_lines(external))
    software = ", ".join(f"{key} {value}" for key, value in source.versions.items()) or "not known"
    names = listing(list(source.class_names))
    expanded = f" {found}." if (found := meanings(source.class_names)) else ""
    work = "\n".join(f"- {key}: {value}" for key, value in facts_training.work(source).items())
    return f"""# {name}

**{facts.RESEARCH_USE}**

{warnings}

{facts_training.model_sentence(source)}

## Intended use

Research on the classification of single-cell images of {names}.{expanded}
Not for diagnosis, not for any decision about a person. An image of anything else gets one of these
classes all the same.

## Test

The test part has {facts.part_sentence(source, "test")}. {facts.disjoint_sentence(source)[1]}
{facts_results.clusters_sentence(source)} {decision_sentence(source)}

{_table(source)}

{beside}

## Other data

{elsewhere}

## Training

{facts.split_sentence(source)} {facts.parts_sentence(source)}

{facts_training.training_sentence(source)} {facts_training.balance_sentence(source)}

{facts_training.augmentation_sentence(source)}

{facts.preprocessing_sentence(source)}

{work}

## Limits

One data set, one split, one seed. Other microscopes, stains and cameras can change every figure.
Bias between groups of people could not be looked at: the data name no more than a subject.

## Files

{_files(source)}

Software: {software}.
"""


def _table(source: Source) -> str:
    figures = source.intervals.get("figures", {})
    if not figures:
        return "Intervals are not computed."
    level = f"{source.intervals['level']:.0%}"
    rows = [f"| {each['title']} | {estimate(each)} | {ends(each)} |" for each in figures.values()]
    return "\n".join([f"| figure | estimate | {level} interval |", "|---|---:|---:|", *rows])


def _files(source: Source) -> str:
    return "\n".join(f"- `{name}` SHA-256 `{digest}`" for name, digest in source.hashes.items())
