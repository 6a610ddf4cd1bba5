"""Reliability diagram and decision curve, on axes of a picture or a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("tab:orange", "tab:blue", "0.5")
"""Before, after, and what they are compared with."""

_STAGES = {"before": "as the network gives them", "after": "after temperature scaling"}


def draw_reliability(
    axis: Axes, told: Mapping[str, Any], *, colours: tuple[str, str, str] = COLOURS
) -> None:
    """Draw how often what was given a probability came true.

    Args:
        axis: To draw on.
        told: Of :func:`fastleuk.evaluation.calibration.summary.calibration`.
        colours: See :data:`COLOURS`.
    """
    axis.plot([0, 1], [0, 1], color=colours[2], linewidth=0.8, linestyle=":", label="ideal")
    for stage, colour in zip(_STAGES, colours, strict=False):
        if stage not in told:
            continue
        found = told[stage]["reliability"]["bins"]
        x = [each["probability"] for each in found]
        y = [each["observed"] for each in found]
        ends = np.array([
            [y_ - (each["low"] if each["low"] is not None else y_),
             (each["high"] if each["high"] is not None else y_) - y_]
            for each, y_ in zip(found, y, strict=True)
        ]).T.clip(0)  # fmt: skip
        axis.errorbar(
            x, y, yerr=ends, marker="o", markersize=4, linewidth=1.4, elinewidth=0.8, color=colour,
            label=_STAGES[stage] if "after" in told else "this network",
        )  # fmt: skip
    positive = told["positive_class"]
    axis.set_xlabel(f"probability of {positive or 'the predicted class'}")
    axis.set_ylabel(f"share that is {positive}" if positive else "share that is right")
    axis.set_xlim(-0.02, 1.02)
    axis.set_ylim(-0.02, 1.02)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))


def draw_decision_curve(
    axis: Axes,
    told: Mapping[str, Any],
    *,
    threshold: float | None = None,
    colours: tuple[str, str, str] = COLOURS,
) -> None:
    """Draw the net benefit over the threshold probability, against acting on all and on none.

    Args:
        axis: To draw on.
        told: Of :func:`fastleuk.evaluation.calibration.summary.calibration`, with a positive class.
        threshold: That of the run, which is marked.
        colours: See :data:`COLOURS`.
    """
    found = (told.get("after") or told["before"])["decision_curve"]
    at = found["thresholds"]
    axis.axhline(0, color=colours[2], linewidth=0.8, linestyle=":", label="act on none")
    axis.plot(at, found["all"], color=colours[2], linewidth=1, linestyle="--", label="act on all")
    if None not in found["low"] and None not in found["high"]:
        axis.fill_between(
            at, found["low"], found["high"], color=colours[1], alpha=0.18, linewidth=0,
            label=f"{told['level']:.0%} band",
        )  # fmt: skip
    axis.plot(at, found["model"], color=colours[1], label="act on what the network says")
    if threshold is not None:
        axis.axvline(threshold, color=colours[2], linewidth=0.8, label="threshold")
    top = max(found["all"][0], max(found["model"]), 0.05)
    axis.set_ylim(-0.25 * top, 1.1 * top)
    axis.set_xlim(0, 1)
    axis.set_xlabel(f"threshold probability of {told['positive_class']}")
    axis.set_ylabel("net benefit")
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def plot_calibration(
    told: Mapping[str, Any],
    path: Path,
    *,
    title: str,
    threshold: float | None,
    synthetic: bool,
) -> None:
    """Write both as one PNG; without a positive class the diagram alone.

    Args:
        told: Of :func:`fastleuk.evaluation.calibration.summary.calibration`.
        path: The PNG.
        title: What was evaluated.
        threshold: That of the run, if it has one.
        synthetic: Say under the picture that the data are.
    """
    from matplotlib import rc_context

    from fastleuk.evaluation.plots import new_figure, save_figure

    both = told["positive_class"] is not None
    with rc_context({"text.parse_math": False}):  # a class may be called anything
        figure = new_figure(9.6 if both else 4.8, 4.6)
        axes = figure.subplots(1, 2 if both else 1, squeeze=False)[0]
        draw_reliability(axes[0], told)
        if both:
            draw_decision_curve(axes[1], told, threshold=threshold)
        for axis in axes:
            axis.grid(alpha=0.3)
        figure.suptitle(title)
        save_figure(figure, path, synthetic=synthetic)
