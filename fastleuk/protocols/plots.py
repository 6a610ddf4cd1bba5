"""Pictures of the protocols."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastleuk.evaluation.plots import draw_confusion, new_figure, save_figure
from fastleuk.protocols.figures import title_of
from fastleuk.protocols.paper.report import all_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IMAGE, SUBJECT = "#d1603d", "#1f6f9f"


def plot_cv(result: dict[str, Any], path: Path) -> None:
    """Draw the out-of-fold confusion matrix and a bar for each fold and figure, as a PNG.

    Args:
        result: What ``cv.json`` holds.
        path: The PNG to write.
    """
    names = list(result["summary"])
    folds, seeds = len(result["splits"]), len(result["seeds"])
    width = min(12.0, max(7.0, 0.16 * len(names) * (folds + 2.5)))
    figure = new_figure(4.4 + width, 4.8)
    left, right = figure.subplots(1, 2, width_ratios=(3.6, width))
    counts = np.asarray(result["pooled"]["confusion_matrix"])
    draw_confusion(left, counts, result["class_names"])
    left.set_title("out of fold" + (", mean over seeds" if seeds > 1 else ""), fontsize=10)
    _bars(right, result)
    drawn = "official folds" if result["folds"] == "official" else "folds drawn by subject"
    title = f"{result['config']['model']['backbone']}, {folds} {drawn}"
    title += f", {seeds} seeds" if seeds > 1 else f", seed {result['seeds'][0]}"
    figure.suptitle(title)
    save_figure(figure, path, synthetic=result["synthetic"])


def _bars(axis: Axes, result: dict[str, Any]) -> None:
    from matplotlib import colormaps

    names, runs = list(result["summary"]), result["runs"]
    splits, seeds = result["splits"], result["seeds"]
    wide = 0.8 / len(splits)
    colours = colormaps["viridis"](np.linspace(0.15, 0.85, len(splits)))
    for k, split in enumerate(splits):
        mine = [run for run in runs if run["split"] == split]
        values = np.array([[run[name] for name in names] for run in mine], dtype=float)
        positions = np.arange(len(names)) - 0.4 + (k + 0.5) * wide
        fold = split.split(":")[1].split("/")[0]
        label = f"fold {fold}" if len(splits) <= 5 or k == 0 else fold
        axis.bar(positions, values.mean(axis=0), wide * 0.92, color=colours[k], label=label)
        if len(seeds) > 1:
            for position, column in zip(positions, values.T, strict=True):
                axis.plot(
                    [position] * len(column), column, ".", color="black", markersize=4, alpha=0.6
                )
    titles = []
    for n, name in enumerate(names):
        value = result["summary"][name]
        axis.plot([n - 0.43, n + 0.43], [value["mean"]] * 2, color="black", linewidth=1.2)
        sd = "" if value["sd_folds"] is None else f"\n± {value['sd_folds']:.3f}"
        title = title_of(name, runs[0]).replace(" ", "\n", 1)
        title = title if "\n" in title else f"{title}\n"
        titles.append(f"{title}\n{value['mean']:.3f}{sd}")
    axis.set_xticks(range(len(names)), titles, fontsize=9)
    axis.set_xlim(-0.6, len(names) - 0.4)
    axis.set_ylim(0, 1.02)
    axis.set_ylabel("on the test fold")
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)
    points = ", dots: seeds" if len(seeds) > 1 else ""
    axis.set_title(f"by fold; line: mean, ±: sd over folds{points}", fontsize=10, loc="left")
    axis.legend(
        ncols=len(splits),
        loc="lower right",
        bbox_to_anchor=(1.0, 0.99),
        frameon=False,
        fontsize=9,
        handlelength=1,
        columnspacing=1,
    )


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
