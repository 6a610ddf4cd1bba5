"""Networks of a protocol against each other on the same images, with intervals over subjects."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastleuk.data.labels.positive import positive_class
from fastleuk.evaluation.intervals.few_subjects import FEW_SUBJECTS, LEVEL
from fastleuk.evaluation.intervals.figures import groups_of
from fastleuk.evaluation.intervals.metric_table import METRICS
from fastleuk.evaluation.intervals.resampling import Plan, interval
from fastleuk.evaluation.intervals.totals import Answers
from fastleuk.protocols.predictions import PredictionTable
from fastleuk.tables import markdown_table
from fastleuk.tracking.compared import (
    HEADLINE,
    compare_classifiers,
    differences,
    document,
    mean_figures,
    plan_of,
    resampled,
)

ENSEMBLE = "ensemble"
_SHOWN = ("f1_macro", "auc")


def answers_of(*tables: PredictionTable) -> Answers:
    """Return what was said of all images of the tables; an image may stand in several of them.

    Args:
        tables: Of the same classes, such as one network's of several seeds. A subject is the same
            in all of them.
    """
    names = tables[0].class_names
    positive = positive_class(names, tables[0].positive)
    chances = np.concatenate([table.probabilities for table in tables])
    subjects = [subject for table in tables for subject in table.subjects]
    return Answers(
        labels=np.concatenate([table.labels for table in tables]),
        probabilities=chances,
        predicted=chances.argmax(axis=1),
        groups=groups_of(subjects, len(chances)),
        positive=None if positive is None else names.index(positive),
    )


def _positive(answers: Answers, names: Sequence[str]) -> str | None:
    return None if answers.positive is None else names[answers.positive]


def over(subject_is_image: bool) -> str:
    """Return what is drawn: ``images`` where no subject is known, else ``subjects``."""
    return "images" if subject_is_image else "subjects"


def mean_intervals(tables: Sequence[PredictionTable], *, subject_is_image: bool) -> dict[str, Any]:
    """Return the mean of every figure over tables of the same images, with intervals.

    Args:
        tables: One for each seed, of all folds together.
        subject_is_image: Whether no subject is known.

    Returns:
        Fit for JSON, as :func:`fastleuk.evaluation.intervals.figures.figures` has it.
    """
    all_ = {str(k): answers_of(table) for k, table in enumerate(tables)}
    plan, first, names = plan_of(list(all_.values())), all_["0"], tables[0].class_names
    found = mean_figures(list(resampled(all_, plan).values()))
    positive = _positive(first, names)
    return {
        "level": LEVEL,
        "over": over(subject_is_image),
        "clusters": len(plan.strata),
        "clusters_by_class": dict(zip(names, first.counts.clusters().tolist(), strict=True)),
        "resamples": plan.resamples,
        "seed": plan.seed,
        "positive_class": positive,
        "figures": {
            name: {**METRICS[name].as_json(positive), **interval(found[name], plan).as_json()}
            for name in HEADLINE
            if name in found
        },
    }


def compare_all(
    tables: Mapping[str, Sequence[PredictionTable]], *, subject_is_image: bool
) -> dict[str, Any] | None:
    """Compare every network with every other one; None of fewer than two.

    Args:
        tables: By the networks' names, one for each seed; in the same order of the same images.
        subject_is_image: Whether no subject is known.

    Returns:
        What :func:`fastleuk.tracking.compared.document` does.
    """
    if len(tables) < 2:
        return None
    all_ = {name: answers_of(*several) for name, several in tables.items()}
    pairs = list(itertools.combinations(all_, 2))
    return _compare(all_, pairs, next(iter(tables.values()))[0].class_names, subject_is_image)


def compare_ensemble(
    ensemble: PredictionTable, members: Mapping[str, PredictionTable], *, subject_is_image: bool
) -> dict[str, Any]:
    """Compare an ensemble with each of its members, and with their mean figures.

    Args:
        ensemble: Of the mean probabilities.
        members: By name, of the same images.
        subject_is_image: Whether no subject is known.

    Returns:
        As :func:`compare_all`, and ``from_mean``: the ensemble's figures less the members' means.
    """
    all_ = {name: answers_of(table) for name, table in members.items()}
    all_[ENSEMBLE] = answers_of(ensemble)
    plan = plan_of(list(all_.values()))
    pairs = [(name, ENSEMBLE) for name in members]
    found = resampled(all_, plan)
    mean = mean_figures([found[name] for name in members])
    told = differences(mean, found[ENSEMBLE], plan)
    return {
        **_compare(all_, pairs, ensemble.class_names, subject_is_image, plan=plan, figures=found),
        "from_mean": {name: each.as_json() for name, each in told.items()},
    }


def _compare(
    all_: Mapping[str, Answers],
    pairs: Sequence[tuple[str, str]],
    names: Sequence[str],
    subject_is_image: bool,
    *,
    plan: Plan | None = None,
    figures: Any = None,
) -> dict[str, Any]:
    first = next(iter(all_.values()))
    plan = plan or plan_of(list(all_.values()))
    compared = compare_classifiers(all_, pairs, plan, figures=figures)
    by_class = first.counts.clusters().tolist()
    return {
        **document(compared, plan, over=over(subject_is_image), positive=_positive(first, names)),
        "clusters_by_class": dict(zip(names, by_class, strict=True)),
    }


# As Markdown


def format_comparisons(found: Mapping[str, Any]) -> str:
    """Lay out what :func:`compare_all` returns, and say what it can't tell."""
    shown = [name for name in _SHOWN if name in found["titles"]]
    head = ["comparison", *(f"{found['titles'][name]} ({found['level']:.0%})" for name in shown)]
    several = len(found["pairs"]) > 1
    head += ["p"] + ["p by Holm"] * several
    rows = [
        [
            title_of_pair(pair),
            *(difference(pair["differences"].get(name)) for name in shown),
            p_value(pair["test"]["p"]),
            *[p_value(pair["test"]["p_holm"])] * several,
        ]
        for pair in found["pairs"]
    ]
    return f"{markdown_table(head, rows)}\n\n{about_comparisons(found)}"


def about_comparisons(found: Mapping[str, Any]) -> str:
    """Say how comparisons were made, in sentences."""
    count = len(found["pairs"])
    text = (
        f"Differences on the same images; {found['level']:.0%} intervals by "
        f"{found['resamples']:,} resamples of {found['clusters']} {found['over']}, the same for "
        "all. p: exact or random swaps of the two networks subject by subject, of macro-F1"
    )
    text += f"; by Holm: corrected for {count} comparisons." if count > 1 else "."
    fewest = min(found["clusters_by_class"].values())
    if found["over"] == "images":
        text += " No subject is known: intervals and p are too small where images share one."
    elif fewest < FEW_SUBJECTS:
        few = "1 subject" if fewest == 1 else f"{fewest} subjects"
        text += f" A class has {few} only: only large differences can be shown."
    return text


def title_of_pair(pair: Mapping[str, Any]) -> str:
    """Return such as ``seed 1 − seed 0``."""
    return f"{pair['second']} − {pair['first']}"


def difference(found: Mapping[str, float | None] | None) -> str:
    """Lay out a difference with its interval.

    >>> difference({"estimate": 0.0123, "low": -0.004, "high": 0.03})
    '+0.012 (-0.004 to +0.030)'
    """
    if found is None or found["estimate"] is None:
        return "–"
    if found["low"] is None or found["high"] is None:
        return f"{found['estimate']:+.3f} (unknown)"
    return f"{found['estimate']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f})"


def p_value(value: float) -> str:
    """Lay out a p-value.

    >>> p_value(0.0312), p_value(1.0), p_value(0.00002)
    ('0.031', '1.000', '< 0.001')
    """
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
