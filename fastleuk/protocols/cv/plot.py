"""The picture of a cross-validation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastleuk.evaluation.plots import draw_confusion, new_figure, save_figure
from fastleuk.protocols.figures import title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
