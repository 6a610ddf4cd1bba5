"""The picture of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastleuk.evaluation.plots import new_figure, save_figure
from fastleuk.tracking.paired import LEVEL, Interval
from fastleuk.tracking.tested import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_comparison(
    records: Sequence[RunRecord],
    intervals: Sequence[Interval | None],
    path: Path,
    *,
    comparable: bool,
    what: str = "test",
) -> None:
    """Draw losses, validation macro-F1, learning rates and test figures of runs as a PNG.

    Args:
        records: The runs, lettered in this order.
        intervals: Test macro-F1 of each, or None.
        path: The PNG to write.
        comparable: All were tested on the same samples; the picture notes if not.
        what: Of the images that the figures are of, in front of ``macro-F1``.
    """
    figure = new_figure(11, 7.6 + 0.18 * len(records))
    all_rates = np.concatenate([_column(record, "lr") for record in records])
    all_rates = all_rates[np.isfinite(all_rates)]
    constant = len(set(all_rates.tolist())) < 2  # a flat line says nothing
    axes = figure.subplot_mosaic(
        [["losses", "scores"], ["tests" if constant else "rates", "tests"]]
    )
    losses, scores, tests = axes["losses"], axes["scores"], axes["tests"]
    # Ten colours that stay apart, then the same ones with a marker.
    styles: list[dict[str, Any]] = [
        {"color": f"C{number % 10}", "marker": "os^Dv"[number // 10]}
        for number in range(len(records))
    ]
    handles = []
    crowded = max(len(record.rows) for record in records) >= 30
    for number, (record, style) in enumerate(zip(records, styles, strict=True)):
        epochs = _column(record, "epoch")
        size = 0 if crowded and len(epochs) > 1 else 4
        line = {**style, "markersize": size, "linewidth": 1.6}
        thin = style["marker"] if len(epochs) == 1 else ""  # a single epoch is a point
        dashed = {**line, "marker": thin, "linestyle": (0, (3.5, 1.8))}
        losses.plot(epochs, _column(record, "train_loss"), **dashed)
        losses.plot(epochs, _column(record, "val_loss"), **line)
        handles += scores.plot(epochs, _column(record, "val_f1_macro"), **line)
        if not constant:
            # Equal rates lie on each other: the first is the widest, so that every one shows.
            width = 1.6 + 1.4 * min(len(records) - 1 - number, 3)
            wide = {**line, "linewidth": width, "marker": thin}
            axes["rates"].plot(epochs, _column(record, "lr"), **wide)
        _mark_best(scores, record, style["color"])
    _finish(losses, "loss: validation (solid), training (dashed)")
    _finish(scores, "validation macro-F1 (ring: the best epoch)", top=1.0)
    if not constant:
        _finish(axes["rates"], "learning rate")
        _spread_rates(axes["rates"])
    _plot_tests(tests, records, intervals, styles, comparable=comparable, what=what)
    synthetic = [bool((record.figures or {}).get("synthetic")) for record in records]
    names = [
        f"{chr(65 + number)}  {_short(record.name)}"
        f"{'  (synthetic cells)' if drawn and not all(synthetic) else ''}"
        for number, (record, drawn) in enumerate(zip(records, synthetic, strict=True))
    ]
    figure.legend(handles, names, loc="outside upper center", ncols=2 if len(records) < 7 else 3)
    save_figure(figure, path, synthetic=all(synthetic))


def _column(record: RunRecord, name: str) -> np.ndarray:
    values = [row.get(name) for row in record.rows]
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _short(name: str, width: int = 48) -> str:
    return name if len(name) <= width else f"…{name[1 - width :]}"


def _mark_best(axis: Axes, record: RunRecord, color: str) -> None:
    kept = np.flatnonzero(_column(record, "best") > 0)[-1:]
    axis.plot(
        _column(record, "epoch")[kept],
        _column(record, "val_f1_macro")[kept],
        marker="o",
        markersize=11,
        markerfacecolor="none",
        markeredgecolor=color,
        markeredgewidth=1.6,
        linestyle="",
    )


def _finish(axis: Axes, title: str, top: float | None = None) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_title(title, fontsize=10)
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    if top is not None:
        axis.set_ylim(top=min(top + 0.02, axis.get_ylim()[1] + 0.02))


def _spread_rates(axis: Axes) -> None:
    """Use a logarithmic scale where the rates differ by more than ten times."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axis.lines])
    values = values[np.isfinite(values) & (values > 0)]
    if len(values) and values.max() > 10 * values.min():
        axis.set_ylim(auto=True)
        axis.set_yscale("log")
    else:
        axis.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))


def _plot_tests(
    axis: Axes,
    records: Sequence[RunRecord],
    intervals: Sequence[Interval | None],
    styles: Sequence[dict[str, Any]],
    *,
    comparable: bool,
    what: str,
) -> None:
    """Draw macro-F1 with its interval over subjects, the first run on top."""
    for place, (interval, style) in enumerate(zip(intervals, styles, strict=True)):
        if interval is None:
            axis.text(0.5, place, "not tested", ha="center", va="center", color="0.5",
                      transform=axis.get_yaxis_transform())  # fmt: skip
            continue
        reach = [[interval.estimate - interval.low], [interval.high - interval.estimate]]
        axis.errorbar(
            [interval.estimate], [place], xerr=np.abs(reach), fmt=style["marker"],
            color=style["color"], capsize=4, markersize=7, linewidth=1.8,
        )  # fmt: skip
        axis.annotate(
            f"{interval.estimate:.3f}", (interval.estimate, place), xytext=(0, 8),
            textcoords="offset points", ha="center", fontsize=9,
        )  # fmt: skip
    axis.set_yticks(range(len(records)), [chr(65 + number) for number in range(len(records))])
    axis.set_ylim(len(records) - 0.4, -0.75)
    axis.grid(alpha=0.3, axis="x")
    axis.set_title(f"{what} macro-F1 with {LEVEL:.0%} interval over subjects", fontsize=10)
    if comparable:
        axis.set_xlabel("macro-F1")
    else:
        axis.set_xlabel("not tested on the same samples: not comparable", color="firebrick")
