"""Charts of a cross-validation and of the paper's table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastleuk.protocols.figures import title_of
from fastleuk.report.charts.frame import FIRST, INK, MUTED, SECOND, Chart, drawing, finish


def folds_chart(result: Mapping[str, Any]) -> Chart:
    """Draw every run's figures as dots, and their means.

    Args:
        result: What ``cv.json`` holds.
    """
    names, runs = list(result["summary"]), result["runs"]
    with drawing(4.4, 0.9 + 0.34 * len(names)) as figure:
        axis = figure.subplots()
        for place, name in enumerate(names):
            values = [run[name] for run in runs if run[name] is not None]
            shift = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(1)
            axis.scatter(
                values, place + shift[: len(values)], s=16, color=FIRST, alpha=0.7, linewidths=0
            )
            mean = result["summary"][name]["mean"]
            axis.plot([mean], [place], "|", color=INK, markersize=13, markeredgewidth=1.8)
        axis.set_yticks(range(len(names)), [title_of(name, runs[0]) for name in names])
        axis.set_ylim(len(names) - 0.4, -0.6)
        axis.set_xlim(right=1.01)
        axis.grid(axis="y", visible=False)
        axis.set_xlabel("on the test fold; a dot is a run, the bar their mean")
        means = "; ".join(
            f"{title_of(name, runs[0])} {result['summary'][name]['mean']:.3f}" for name in names
        )
        return finish(figure, f"Figures of {len(runs)} runs. Means: {means}.")


def leak_chart(result: Mapping[str, Any]) -> Chart:
    """Draw macro-F1 of each network by image and by subject.

    Args:
        result: What ``paper.json`` holds.
    """
    rows = [*result["rows"], result["shortcut"]]
    with drawing(4.4, 1.1 + 0.42 * len(rows)) as figure:
        axis = figure.subplots()
        for place, row in enumerate(rows):
            means = [row[split]["f1_macro"]["mean"] for split in ("image", "subject")]
            axis.plot(means, [place, place], color=MUTED, linewidth=2, alpha=0.5, zorder=1)
            for split, colour in (("image", SECOND), ("subject", FIRST)):
                label = f"split by {split}" if place == 0 else None
                seeds = [v for v in row[split]["f1_macro"]["seeds"] if v is not None]
                if len(seeds) > 1:
                    shift = [place + 0.22] * len(seeds)
                    axis.scatter(seeds, shift, s=8, color=colour, alpha=0.7, linewidths=0)
                mean = row[split]["f1_macro"]["mean"]
                axis.scatter([mean], [place], s=44, color=colour, label=label, zorder=3)
        axis.set_yticks(range(len(rows)), [row["name"] for row in rows])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.grid(axis="y", visible=False)
        axis.set_xlabel("macro-F1 on the test part; small dots: seeds")
        axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        told = "; ".join(
            f"{row['name']} {row['image']['f1_macro']['mean']:.3f} by image, "
            f"{row['subject']['f1_macro']['mean']:.3f} by subject"
            for row in rows
        )
        return finish(figure, f"Macro-F1 by image and by subject: {told}.")
