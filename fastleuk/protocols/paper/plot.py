"""The picture of the paper's table: how far the figures by image and by subject lie apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastleuk.evaluation.plots import new_figure, save_figure
from fastleuk.protocols.paper.report import all_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IMAGE, SUBJECT = "#d1603d", "#1f6f9f"


def plot_leak(result: dict[str, Any], path: Path) -> None:
    """Draw each backbone's figures by image and by subject, and the published ones, as a PNG.

    Args:
        result: What ``paper.json`` holds.
        path: The PNG to write.
    """
    rows, positive = all_rows(result), result["positive_class"]
    panels = [("f1_macro", "macro-F1", None), ("auc", "AUC", "auc")]
    if positive is not None:  # what the paper reports; it can rise where macro-F1 falls
        panels.insert(0, ("f1_positive", f"F1 of {positive}", "f1"))
    figure = new_figure(2 + 4.1 * len(panels), 1.9 + 0.62 * len(rows))
    axes = figure.subplots(1, len(panels), sharey=True)
    for axis, (name, title, published) in zip(axes, panels, strict=True):
        values: list[float] = []
        for place, row in enumerate(rows):
            values += _dumbbell(axis, place, row, name, published)
        axis.set_xlabel(f"{title} on the test part")
        axis.grid(axis="x", alpha=0.3)
        axis.set_axisbelow(True)
        _widen(axis, values)
    axes[0].set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    what = "the paper's table" + (" in miniature" if result["quick"] else "")
    many = f", mean of {len(result['seeds'])} seeds" if len(result["seeds"]) > 1 else ""
    figure.suptitle(f"Split by image and by subject: {what}{many}; gaps in points\n")
    # The legend has the title's second line.
    _legend(axes[0], any(row["published"] for row in rows), len(result["seeds"]) > 1)
    save_figure(figure, path, synthetic=result["synthetic"])


def _widen(axis: Axes, values: list[float], least: float = 0.06) -> None:
    """Give the horizontal axis room, and a span of at least ``least``: noise shall look small."""
    if values:
        low, high = min(values), max(values)
        room = max(0.06 * (high - low), (least - (high - low)) / 2)
        axis.set_xlim(low - room, high + room)


def _dumbbell(
    axis: Axes, place: int, row: dict[str, Any], name: str, published: str | None
) -> list[float]:
    """Draw one backbone's row and return the values that must be seen."""
    means = [row[split][name]["mean"] for split in ("image", "subject")]
    if None in means:  # an AUC of a test part with one class
        return []
    values = list(means)
    axis.plot(means, [place, place], color="0.75", linewidth=4, zorder=1)
    for split, colour in (("image", IMAGE), ("subject", SUBJECT)):
        seeds = [value for value in row[split][name]["seeds"] if value is not None]
        if len(seeds) > 1:
            axis.scatter(seeds, [place + 0.2] * len(seeds), s=12, color=colour, alpha=0.7)
            values += seeds
        axis.scatter([row[split][name]["mean"]], [place], s=75, color=colour, zorder=3)
    if published and row["published"]:
        value = row["published"][published]
        axis.scatter([value], [place], s=60, marker="D", zorder=4, color="none", edgecolors="black")
        values.append(value)
    gap = f"{100 * (means[1] - means[0]):+.1f}".replace("-", "−")
    axis.annotate(
        gap,
        (sum(means) / 2, place),
        xytext=(0, 8),
        textcoords="offset points",
        ha="center",
        fontsize=9,
        color="0.25",
    )
    return values


def _legend(axis: Axes, published: bool, seeds: bool) -> None:
    from matplotlib.lines import Line2D

    def mark(label: str, **style: Any) -> Line2D:
        return Line2D([], [], linestyle="none", label=label, **style)

    marks = [
        mark("split by image: subjects on both sides", marker="o", markersize=8, color=IMAGE),
        mark("split by subject", marker="o", markersize=8, color=SUBJECT),
    ]
    if seeds:
        marks.append(mark("one seed", marker="o", markersize=3.5, color="0.4"))
    if published:
        diamond: dict[str, Any] = {"marker": "D", "markersize": 7, "markerfacecolor": "none"}
        marks.append(mark("published (C-NMC 2019, by image)", color="black", **diamond))
    style: dict[str, Any] = {"frameon": False, "fontsize": 9, "borderaxespad": 0.2}
    legend = axis.legend(
        handles=marks, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(marks), **style
    )
    legend.set_in_layout(False)  # it is wider than a panel
