"""A benchmark's results for people: a table, and bars in a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastleuk.tables import text_table

CONFIDENCE = 0.95
"""Of an operator's interval."""


def results_table(results: Sequence[dict[str, Any]]) -> str:
    """The loaders, best first."""
    rows = [("loader", "images/s", "IQR", "× torchvision", "CPU s/1000", "MB", "p50 ms", "p95 ms",
             "first batch s")]  # fmt: skip
    for row in results:
        rows.append(
            (
                row["name"],
                f"{row['images_per_s']['median']:.0f}",
                f"{row['images_per_s']['iqr']:.0f}",
                _number(row["ratio_to_torchvision"], "{:.2f}"),
                _number(row["cpu_s_per_1000_images"], "{:.2f}"),
                _number(row["peak_memory_mb"], "{:.0f}"),
                f"{row['latency_ms']['p50']:.1f}",
                f"{row['latency_ms']['p95']:.1f}",
                f"{row['first_batch_s']:.2f}",
            )
        )
    return text_table(rows, rule=True)


def traffic_table(results: Sequence[dict[str, Any]], bandwidth: dict[str, float]) -> str:
    """Bytes an image, and the shares of what this GPU copies and takes from the host, measured."""
    rows = [("loader", "dtype", "KB moved", "of the copy bandwidth", "KB up", "of the upload's")]
    for row in results:
        rows.append(
            (
                row["name"],
                row["dtype"],
                _number(row["bytes_moved"], "{:.0f}", 1e3),
                _number(row["share_of_copy"], "{:.1%}"),
                _number(row["bytes_uploaded"], "{:.1f}", 1e3),
                _number(row["share_of_upload"], "{:.1%}"),
            )
        )
    copy, upload = bandwidth["copy_gb_per_s"], bandwidth["upload_gb_per_s"]
    return (
        f"Copies in GPU memory {copy:,.0f} GB/s (reads and writes), uploads {upload:,.1f} GB/s\n"
        + text_table(rows, align="llr", rule=True)
    )


def training_table(training: Sequence[dict[str, Any]]) -> str:
    """What a training step sees, the ideal first; "beside" is the ideal of the same process."""
    rows = [("fed by", "images/s", "beside", "of the ideal", "data wait")]
    for row in training:
        rows.append(
            (
                row["name"],
                f"{row['images_per_s']:.1f}",
                f"{row['ideal_images_per_s']:.1f}",
                f"{row['share_of_ideal']:.1%}",
                f"{row['data_wait_share']:.1%}",
            )
        )
    return text_table(rows, rule=True)


def interval(differences: Sequence[float]) -> dict[str, Any]:
    """Return the median of paired differences and its 95 % interval, none of them below zero.

    The interval is that of the sign test, which assumes nothing of the noise. If zero is in it,
    the operator's time is lost in the noise: ``below_noise``, and only ``high`` says something.
    """
    from scipy import stats

    values = np.sort(differences)
    count = len(values)
    rank = int(stats.binom.ppf((1 - CONFIDENCE) / 2, count, 0.5))
    low, high = float(values[rank]), float(values[count - 1 - rank])
    return {
        "ms_per_image": max(0.0, float(np.median(values))),
        "low": max(0.0, low),
        "high": max(0.0, high),
        "below_noise": low <= 0,
    }


def operators_table(operators: Sequence[dict[str, Any]]) -> str:
    """Milliseconds of one thread for an image, operator by operator."""
    rows = [("step", "graph", "ms/image", "95 % interval")]
    for row in operators:
        spread = f"{row['low']:.3f} to {row['high']:.3f}"
        rows.append((row["name"], row["graph"], milliseconds(row), spread))
    return text_table(rows, align="llr", rule=True)


def milliseconds(row: dict[str, Any]) -> str:
    """Write an operator's time, or what it is below where it is lost in the noise."""
    return f"< {row['high']:.3f}" if row["below_noise"] else f"{row['ms_per_image']:.3f}"


def plot(document: dict[str, Any], file: Path) -> None:
    """Draw images/s as bars, and what training sees beside them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    results = sorted(document["results"], key=lambda row: -row["images_per_s"]["median"])
    order = [row["name"] for row in results]
    training = sorted(document["training"], key=lambda row: _place(row["name"], order))
    figure = Figure(figsize=(11 if training else 7, 0.5 * len(results) + 2.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2 if training else 1, squeeze=False)[0]
    rates = [row["images_per_s"]["median"] for row in results]
    spread = [row["images_per_s"]["iqr"] / 2 for row in results]
    names = [row["name"] for row in results]
    colours = ["#2a7f62" if name.startswith(("dali", "triton")) else "#8a8f98" for name in names]
    bars = axes[0].barh(names, rates, xerr=spread, color=colours, ecolor="#333333")
    labels = [
        f"{row['images_per_s']['median']:.0f}"
        + (f"  ({row['ratio_to_torchvision']:.1f}×)" if row["ratio_to_torchvision"] else "")
        for row in results
    ]
    axes[0].bar_label(bars, labels, padding=6, fontsize=9)
    axes[0].set(xlabel="images/s into the model's tensors", xlim=(0, 1.3 * max(rates)))
    axes[0].invert_yaxis()
    if training:
        waits = [100 * row["data_wait_share"] for row in training]
        what = [row["name"].partition(" (")[0] for row in training]
        bars = axes[1].barh(what, waits, color="#b5523b")
        axes[1].bar_label(bars, [f"{share:.1f} %" for share in waits], padding=4, fontsize=9)
        axes[1].set(xlabel=f"data wait, % of {training[0]['backbone']}'s training time")
        axes[1].set_xlim(0, max(5.0, 1.25 * max(waits)))
        axes[1].invert_yaxis()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    about = document["machine"]
    place = about["gpu"] or f"{about['cores']} cores of {about['cpu']}"
    title = f"Loading and augmenting at {document['size']} px on {place}"
    if document["synthetic"]:
        title += "\n(synthetic demo cells)"
    figure.suptitle(title, fontsize=11)
    figure.savefig(file, dpi=150)


def _place(name: str, order: Sequence[str]) -> int:
    """Return the position in ``order`` of a training row's loader; those without one go last."""
    loader = name.partition(" (")[0]
    return order.index(loader) if loader in order else len(order)


def _number(value: float | None, form: str, unit: float = 1) -> str:
    return "–" if value is None else form.format(value / unit)
