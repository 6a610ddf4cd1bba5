"""Learning curves, ROC, precision and recall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastleuk.evaluation.intervals.bands import Curve
from fastleuk.report.charts.frame import (
    FIRST,
    INK,
    MUTED,
    SERIES,
    Chart,
    drawing,
    finish,
    share_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def loss_chart(rows: Sequence[Mapping[str, float | None]], best: int) -> Chart:
    """Draw training and validation loss over the epochs.

    Args:
        rows: Of ``metrics.csv``.
        best: The epoch whose weights were kept.
    """
    columns = (("train_loss", "training"), ("val_loss", "validation"))
    last = rows[-1]["val_loss"]
    told = "unknown" if last is None else f"{last:.3f}"
    text = f"Training and validation loss over {len(rows)} epochs; the last validation loss is "
    return _epochs(rows, columns, best, "cross-entropy", f"{text}{told}.", top=None)


def score_chart(rows: Sequence[Mapping[str, float | None]], best: int) -> Chart:
    """Draw macro-F1 and AUC on the validation part over the epochs; arguments as above."""
    columns = (("val_f1_macro", "macro-F1"), ("val_auc", "AUC"))
    scores = [row["val_f1_macro"] or 0 for row in rows]
    text = f"Validation macro-F1 and AUC over {len(rows)} epochs; the best macro-F1 is "
    return _epochs(rows, columns, best, "on the validation part", f"{text}{max(scores):.3f}.")


def _epochs(
    rows: Sequence[Mapping[str, float | None]],
    columns: Sequence[tuple[str, str]],
    best: int,
    name: str,
    text: str,
    top: float | None = 1.02,
) -> Chart:
    from matplotlib.ticker import MaxNLocator

    with drawing() as figure:
        axis = figure.subplots()
        epochs = _values(rows, "epoch")
        for (column, label), colour in zip(columns, SERIES, strict=False):
            values = _values(rows, column)
            if np.isnan(values).all():
                continue
            marker = "o" if len(rows) < 30 else None
            axis.plot(epochs, values, label=label, color=colour, marker=marker, markersize=3)
        axis.axvline(best, color=MUTED, linestyle="--", linewidth=1, label="epoch that was kept")
        axis.set_xlabel("epoch")
        axis.set_ylabel(name)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        if top is not None:
            axis.set_ylim(top=top)
            low = axis.get_ylim()[0]
            axis.set_yticks([tick for tick in axis.get_yticks() if low <= tick <= 1.0001])
        axis.legend()
        return finish(figure, text)


def _values(rows: Sequence[Mapping[str, float | None]], column: str) -> np.ndarray:
    values = [row.get(column) for row in rows]
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def roc_chart(curve: Curve, positive: str, at: tuple[float, float] | None, auc: str) -> Chart:
    """Draw the ROC curve with its band.

    Args:
        curve: Of :func:`fastleuk.evaluation.intervals.bands.curve_bands`.
        positive: The positive class.
        at: False and true positive rate as the run is applied, or None.
        auc: The area with its interval, in words.
    """
    with drawing(3.6, 3.6) as figure:
        axis = figure.subplots()
        axis.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":", label="by chance")
        _banded(axis, curve, at)
        share_axes(axis, "1 − specificity", f"sensitivity for {positive}")
        axis.legend(loc="lower right")
        return finish(figure, f"ROC curve of {positive}: AUC {auc}.")


def pr_chart(
    curve: Curve, positive: str, at: tuple[float, float] | None, share: float, area: str
) -> Chart:
    """Draw precision against recall with its band; ``share`` is that of the positive images."""
    with drawing(3.6, 3.6) as figure:
        axis = figure.subplots()
        axis.axhline(share, color=MUTED, linewidth=0.8, linestyle=":", label="by chance")
        _banded(axis, curve, at)
        share_axes(axis, f"recall of {positive}", f"precision of {positive}")
        axis.legend(loc="lower left")
        text = f"Precision against recall of {positive}: average precision {area}."
        return finish(figure, text)


def _banded(axis: Axes, curve: Curve, at: tuple[float, float] | None) -> None:
    label = f"{curve.level:.0%} band"
    if len(curve.places):
        axis.fill_between(
            curve.places, curve.low, curve.high, label=label, color=FIRST, alpha=0.18, linewidth=0
        )
    axis.plot(curve.x, curve.y, color=FIRST)
    if at is not None:
        axis.plot(*at, "o", color=INK, markersize=5, label="as it is applied")
