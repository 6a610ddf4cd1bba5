"""Macro-F1 with its uncertainty over subjects: cells of one person are not independent.

Subjects, not cells, are drawn anew, class by class; see
:mod:`fastleuk.evaluation.intervals.few_subjects`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastleuk.evaluation.intervals.few_subjects import LEVEL, Interval, trust
from fastleuk.evaluation.intervals.resampling import Plan, interval, replicate
from fastleuk.evaluation.intervals.subjects import RESAMPLES, SubjectCounts, counts_of
from fastleuk.evaluation.intervals.totals import Counted


def macro_f1_interval(
    counts: SubjectCounts | np.ndarray,
    reference: SubjectCounts | np.ndarray | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return macro-F1, or its difference from a reference, with an interval over subjects.

    With a single subject of a class nothing is known of how subjects differ, and the interval is
    all that a figure can be; with none that differ it is the exact binomial bound.

    Args:
        counts: By subject; or :func:`fastleuk.evaluation.intervals.subjects.group_confusions`.
        reference: The other classifier's on the same samples: the difference is this one's
            macro-F1 less the reference's, and both are resampled alike.
        resamples: Number of bootstrap samples.
        seed: Of the draw.
    """
    both = [each if isinstance(each, SubjectCounts) else counts_of(each)
            for each in (counts, reference) if each is not None]  # fmt: skip
    plan = Plan(both[0].strata, resamples, seed)  # of true classes, so the same for both
    found = [replicate(Counted(each), plan, ["f1_macro"])["f1_macro"] for each in both]
    return interval(found[0] if reference is None else found[0] - found[1], plan)


def macro_f1_summary(
    counts: SubjectCounts,
    class_names: tuple[str, ...],
    *,
    by_image: bool,
    known: Interval | None = None,
) -> dict[str, Any]:
    """Return the interval of macro-F1 and what it is over, fit for JSON.

    Args:
        counts: By subject.
        class_names: C names.
        by_image: Whether every image counts as a subject of its own.
        known: The interval, where it is known already.
    """
    found = known or macro_f1_interval(counts)
    clusters = zip(class_names, counts.clusters().tolist(), strict=True)
    ends = found.as_json()
    return {
        "level": LEVEL,
        "over": "images" if by_image else "subjects",
        "clusters": len(counts.true),
        "clusters_by_class": dict(clusters),
        "f1_macro": [ends["low"], ends["high"]],
    }


def format_summary(summary: dict[str, Any], value: float) -> str:
    """Lay out :func:`macro_f1_summary` with the figure and how far it can be trusted."""
    low, high = summary["f1_macro"]
    by_class = summary["clusters_by_class"]
    counts = ", ".join(f"{count} {name}" for name, count in by_class.items())
    over = summary["over"]
    text = (
        f"macro-F1 {value:.4f}, {summary['level']:.0%} interval {low:.4f} to {high:.4f} "
        f"over {summary['clusters']} {over}"
    )
    text += f" ({counts})" if len(by_class) <= 10 else ""
    return text + trust(min(by_class.values()), over)
