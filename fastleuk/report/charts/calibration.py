"""Reliability diagram and decision curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastleuk.evaluation.calibration.draw import draw_decision_curve, draw_reliability
from fastleuk.report.charts.frame import FIRST, MUTED, SECOND, Chart, drawing, finish

_COLOURS = (SECOND, FIRST, MUTED)


def reliability_chart(told: Mapping[str, Any]) -> Chart:
    """Draw how often what was given a probability came true.

    Args:
        told: ``calibration`` of ``test_metrics.json``.
    """
    with drawing(3.6, 3.9) as figure:
        axis = figure.subplots()
        draw_reliability(axis, told, colours=_COLOURS)
        axis.set_aspect("equal")
        bins = (told.get("after") or told["before"])["reliability"]["bins"]
        shown = "; ".join(f"{b['probability']:.2f} given, {b['observed']:.2f} true" for b in bins)
        return finish(figure, f"Reliability diagram of {len(bins)} bins. {shown}.")


def decision_chart(told: Mapping[str, Any], threshold: float | None) -> Chart:
    """Draw the net benefit over the threshold probability.

    Args:
        told: ``calibration`` of ``test_metrics.json``, with a positive class.
        threshold: Of the run, if it has one.
    """
    with drawing(3.6, 3.9) as figure:
        axis = figure.subplots()
        draw_decision_curve(axis, told, threshold=threshold, colours=_COLOURS)
        high = [v for v in (told.get("after") or told["before"])["decision_curve"]["high"] if v]
        axis.set_ylim(top=max([axis.get_ylim()[1], *(1.03 * value for value in high)]))
        return finish(
            figure,
            f"Decision curve: net benefit of acting on {told['positive_class']} by the network, "
            "on all images, and on none.",
        )
