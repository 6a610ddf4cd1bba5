"""Several classifiers on the same samples, two at a time: differences, a test, and Holm's method.

All classifiers see the same resamples of the subjects, so a difference is that of two figures
resample by resample: what makes a subject hard for both is in neither end of its interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastleuk.evaluation.intervals.few_subjects import LEVEL, Interval
from fastleuk.evaluation.intervals.metric_table import METRICS
from fastleuk.evaluation.intervals.resampling import (
    Plan,
    Replicates,
    enough_resamples,
    interval,
    mean_of,
    replicate,
)
from fastleuk.evaluation.intervals.totals import Answers, Counted
from fastleuk.tracking.paired import SWAPS, SwapTest, holm, swap_test

Classifier = Answers | Counted

HEADLINE = (
    "f1_macro", "auc", "average_precision", "accuracy", "balanced_accuracy", "mcc", "f1_weighted",
    "f1_positive", "sensitivity", "specificity", "brier", "log_loss", "ece_15",
)  # fmt: skip
"""Figures whose difference is shown; those of probabilities where these are known."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A classifier against another one, on the same samples.

    Attributes:
        first: Name of the one that is compared with.
        second: Name of the other.
        differences: By figure, the second's less the first's.
        test: Of their macro-F1.
        corrected: The test's p-value by Holm's method over all comparisons made together.
    """

    first: str
    second: str
    differences: dict[str, Interval]
    test: SwapTest
    corrected: float

    def as_json(self) -> dict[str, Any]:
        """Return what it holds, fit for JSON; None where an interval has no end."""
        return {
            "first": self.first,
            "second": self.second,
            "differences": {name: each.as_json() for name, each in self.differences.items()},
            "test": {
                "figure": "f1_macro",
                "p": self.test.p_value,
                "p_holm": self.corrected,
                "differing_subjects": self.test.differing,
                "swaps": "all" if self.test.exact else SWAPS,
                "smallest_p": self.test.smallest,
            },
        }


def plan_of(
    classifiers: Sequence[Classifier], *, resamples: int | None = None, seed: int = 0
) -> Plan:
    """Return the resamples that all of them share; they are of the same samples.

    Args:
        classifiers: At least one.
        resamples: By default 2,000, fewer of very many samples.
        seed: Of the draw.
    """
    if resamples is None:
        scored = [each for each in classifiers if isinstance(each, Answers)]
        sizes = [(len(each.labels), len(each.curve_classes)) for each in scored]
        resamples = enough_resamples(*max(sizes, default=(1, 1)))
    return Plan(classifiers[0].counts.strata, resamples, seed)


def resampled(
    classifiers: Mapping[str, Classifier], plan: Plan, names: Sequence[str] = HEADLINE
) -> dict[str, dict[str, Replicates]]:
    """Return each classifier's figures in the same resamples.

    Args:
        classifiers: By name.
        plan: Of :func:`plan_of`.
        names: Of the figures.
    """
    return {title: replicate(each, plan, names) for title, each in classifiers.items()}


def differences(
    first: Mapping[str, Replicates], second: Mapping[str, Replicates], plan: Plan
) -> dict[str, Interval]:
    """Return the second's figures less the first's, those that both have, with intervals."""
    return {
        name: interval(second[name] - first[name], plan)
        for name in HEADLINE
        if name in first and name in second
    }


def mean_figures(several: Sequence[Mapping[str, Replicates]]) -> dict[str, Replicates]:
    """Return the mean figures of classifiers, such as seeds, in the same resamples."""
    return {name: mean_of([each[name] for each in several]) for name in several[0]}


def compare_classifiers(
    classifiers: Mapping[str, Classifier],
    pairs: Sequence[tuple[str, str]],
    plan: Plan,
    *,
    figures: Mapping[str, Mapping[str, Replicates]] | None = None,
) -> list[Comparison]:
    """Compare classifiers two at a time, all in the same resamples.

    Args:
        classifiers: By name, all of the same samples.
        pairs: Names (first, second); p-values are corrected for their number.
        plan: Of :func:`plan_of`.
        figures: Of :func:`resampled`, if they are known already.
    """
    found = figures or resampled(classifiers, plan)
    tests = [
        swap_test(classifiers[a].counts, classifiers[b].counts, seed=plan.seed) for a, b in pairs
    ]
    corrected = holm([test.p_value for test in tests])
    return [
        Comparison(a, b, differences(found[a], found[b], plan), test, p_value)
        for (a, b), test, p_value in zip(pairs, tests, corrected, strict=True)
    ]


def document(
    comparisons: Sequence[Comparison], plan: Plan, *, over: str, positive: str | None
) -> dict[str, Any]:
    """Return comparisons with what they were made by, fit for JSON.

    Args:
        comparisons: Made together.
        plan: What they were made by.
        over: ``subjects`` or ``images``.
        positive: The positive class, if any.
    """
    there = {name for each in comparisons for name in each.differences}
    return {
        "level": LEVEL,
        "over": over,
        "clusters": len(plan.strata),
        "resamples": plan.resamples,
        "seed": plan.seed,
        "correction": "holm",
        "titles": {
            name: METRICS[name].as_json(positive)["title"] for name in HEADLINE if name in there
        },
        "pairs": [each.as_json() for each in comparisons],
    }
