"""Scores by class and by subject."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastleuk.report.charts.frame import GROUND, INK, MUTED, SERIES, Chart, drawing, finish

MANY = 1500
"""Points from which a strip is drawn as a picture inside the chart: it is smaller so."""


def histogram_chart(
    labels: np.ndarray,
    scores: np.ndarray,
    class_names: Sequence[str],
    positive: str,
    threshold: float | None,
) -> Chart:
    """Draw how the score of the positive class is distributed in each class, in 20 bins.

    Args:
        labels: int64 ``(N,)``.
        scores: float64 ``(N,)``, the positive class's probability.
        class_names: C names.
        positive: The positive class.
        threshold: From which on it is predicted; None: not by a threshold.
    """
    from matplotlib.ticker import PercentFormatter

    bins = np.linspace(0, 1, 21)
    with drawing(3.6, 3.6) as figure:
        axis = figure.subplots()
        rest = [SERIES[1], SERIES[2]]
        for code, name in enumerate(class_names):
            values = scores[labels == code]
            colour = SERIES[0] if name == positive else rest[code % 2]
            counts = np.histogram(values, bins)[0] / max(1, len(values))
            axis.stairs(counts, bins, color=colour, fill=True, alpha=0.3)
            label = _short(f"{name} ({len(values)})")
            axis.stairs(counts, bins, color=colour, linewidth=1.4, label=label)
        if threshold is not None:
            axis.axvline(threshold, color=INK, linestyle="--", linewidth=1, label="threshold")
        axis.set_xlim(0, 1)
        axis.set_xlabel(f"probability of {positive}")
        axis.set_ylabel("share of the class's images")
        axis.yaxis.set_major_formatter(PercentFormatter(1))
        axis.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0))
        text = f"Histogram of the probability of {positive} in each class, {len(scores)} images."
        return finish(figure, text)


def strip_chart(
    subjects: Sequence[str],
    labels: np.ndarray,
    scores: np.ndarray,
    class_names: Sequence[str],
    positive: str,
    threshold: float | None,
) -> Chart:
    """Draw every image's score in its subject's row, subjects sorted by class and mean score.

    Args:
        subjects: N.
        labels: int64 ``(N,)``.
        scores: float64 ``(N,)``.
        class_names: C names.
        positive: The positive class.
        threshold: As above.
    """
    names = np.array(subjects)
    rows = [
        (code, float(scores[(names == name) & (labels == code)].mean()), str(name))
        for name in np.unique(names)
        for code in np.unique(labels[names == name])
    ]
    rows.sort()
    height = min(14.0, 1.0 + 0.16 * len(rows))
    shift = np.random.default_rng(0)
    with drawing(4.4, height) as figure:
        axis = figure.subplots()
        for place, (code, mean, name) in enumerate(rows):
            mine = scores[(names == name) & (labels == code)]
            colour = SERIES[0] if class_names[code] == positive else SERIES[1 + code % 2]
            axis.scatter(
                mine, place + shift.uniform(-0.25, 0.25, len(mine)), s=7, color=colour,
                alpha=0.55, linewidths=0, rasterized=len(scores) > MANY,
            )  # fmt: skip
            axis.plot([mean], [place], "|", color=INK, markersize=9, markeredgewidth=1.6)
        if threshold is not None:
            axis.axvline(threshold, color=MUTED, linestyle="--", linewidth=1)
        titles = [_short(f"{name}  {class_names[code]}") for code, _, name in rows]
        step = -(-len(rows) // 80)
        axis.set_yticks(range(0, len(rows), step), titles[::step], fontsize=7)
        axis.set_ylim(len(rows) - 0.3, -0.7)
        axis.set_xlim(-0.02, 1.02)
        axis.grid(axis="y", visible=False)
        axis.set_xlabel(f"probability of {positive} (bar: the subject's mean)")
        axis.set_facecolor(GROUND)
        text = f"Probability of {positive} of {len(scores)} images in the rows of {len(rows)} "
        return finish(figure, f"{text}subjects.")


def _short(name: str) -> str:
    return name if len(name) <= 26 else f"…{name[-25:]}"
