"""Pictures of a run: learning curves, confusion matrix, contact sheets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastleuk.data.demo.showcase import showcase
from fastleuk.data.images.decode import decode_rgb
from fastleuk.data.shards.read import image_bytes
from fastleuk.errors import ConfigError
from fastleuk.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from fastleuk.data.manifest import Manifest

NUMBERED = 30
"""Classes up to which a confusion matrix has numbers in its fields."""

_NAMED = 100
DPI = 120
"""Pixels an inch of every picture."""
_SOFTWARE = "fastleuk"
_SYNTHETIC = "synthetic demo cells, not patients"


def new_figure(width: float, height: float) -> Figure:
    """Return a figure bound to no display and no global state of pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path, *, synthetic: bool) -> None:
    """Write a PNG; ``synthetic`` data are told of under the picture."""
    if synthetic:
        figure.supxlabel(_SYNTHETIC, fontsize=9, color="0.4")
    told, kind = {"Software": _SOFTWARE}, path.suffix.lstrip(".") or "png"
    write_atomically(path, lambda file: figure.savefig(file, format=kind, dpi=DPI, metadata=told))


def is_ours(path: Path) -> bool:
    """Say whether a PNG was written by :func:`save_figure`."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.info.get("Software") == _SOFTWARE
    except OSError:
        return False


def check_picture(path: Path, option: str) -> None:
    """Refuse a name that is no PNG's, before anything is drawn."""
    if path.suffix.lower() != ".png":
        raise ConfigError(
            f"{option} {path}: the picture is a PNG, so give a name that ends in .png."
        )


def plot_learning_curves(
    rows: Sequence[Mapping[str, Any]], path: Path, *, title: str, synthetic: bool
) -> None:
    """Draw loss and validation figures over the epochs as a PNG.

    Args:
        rows: One mapping an epoch, with the columns of ``metrics.csv``.
        path: The PNG to write.
        title: What was trained on what.
        synthetic: Say under the picture that the data are synthetic.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(10, 4)
    losses, figures = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    marker = "o" if len(epochs) < 30 else None
    for axis, columns in (
        (losses, [("train_loss", "training"), ("val_loss", "validation")]),
        (
            figures,
            [("val_f1_macro", "macro-F1"), ("val_accuracy", "accuracy"), ("val_auc", "AUC")],
        ),
    ):
        for column, label in columns:
            values = [np.nan if row[column] is None else row[column] for row in rows]
            axis.plot(epochs, values, label=label, marker=marker, markersize=4)
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    best = max(rows, key=lambda row: (row["best"], row["epoch"]))
    for axis in (losses, figures):
        axis.axvline(best["epoch"], color="0.5", linestyle="--", linewidth=1, label="best epoch")
        axis.legend()
    losses.set_ylabel("cross-entropy")
    figures.set_ylabel("validation")
    figure.suptitle(title)
    save_figure(figure, path, synthetic=synthetic)


def plot_confusion_matrix(
    matrix: Sequence[Sequence[int]],
    class_names: Sequence[str],
    path: Path,
    *,
    title: str,
    synthetic: bool,
) -> None:
    """Draw a confusion matrix, counts and row percentages, as a PNG.

    Of more than :data:`NUMBERED` classes the picture has one size and no numbers, which
    nobody could read: they are in the metrics' JSON.
    """
    side = 2.2 + 0.9 * len(class_names) if len(class_names) <= NUMBERED else 14.0
    figure = new_figure(side + 0.8, side)
    axis = figure.subplots()
    image = draw_confusion(axis, np.asarray(matrix), class_names)
    axis.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axis, shrink=0.8, label="share of the true class")
    save_figure(figure, path, synthetic=synthetic)


def draw_confusion(axis: Axes, counts: np.ndarray, class_names: Sequence[str]) -> AxesImage:
    """Draw counts (or means of them), ``(C, C)``, rows true, and their shares of the row."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    if len(class_names) > NUMBERED:
        _name_some(axis, class_names)
        return image
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        shown = f"{count:.0f}" if float(count).is_integer() else f"{count:.1f}"
        axis.text(
            column,
            row,
            f"{shown}\n{share:.1%}",
            ha="center",
            va="center",
            color="white" if share > 0.5 else "black",
        )
    axis.set_xticks(range(len(class_names)), class_names)
    axis.set_yticks(range(len(class_names)), class_names, rotation=90, va="center")
    return image


def _name_some(axis: Axes, class_names: Sequence[str]) -> None:
    """Name as many classes at the axes as fit beside each other, evenly spread."""
    shown = list(range(0, len(class_names), -(-len(class_names) // _NAMED)))
    names = [_shortened(class_names[index]) for index in shown]
    axis.set_xticks(shown, names, rotation=90, fontsize=7)
    axis.set_yticks(shown, names, fontsize=7)


def _shortened(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"


def contact_sheet(
    files: Sequence[Path],
    captions: Sequence[str],
    path: Path,
    *,
    columns: int = 8,
    tile: int = 160,
    synthetic: bool = False,
) -> None:
    """Lay images out in a grid with a caption under each, as a PNG.

    Args:
        files: Image files, shown in the order given.
        captions: One for each file.
        path: The PNG to write.
        columns: Tiles in a row.
        tile: Side of a tile in pixels.
        synthetic: Say at the foot that the cells are synthetic.
    """
    from PIL import Image, ImageDraw, ImageFont

    strip = 18
    columns = max(1, min(columns, len(files)))
    rows = -(-len(files) // columns)
    foot = strip if synthetic else 0
    sheet = Image.new("RGB", (columns * tile, rows * (tile + strip) + foot), (24, 24, 24))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=12)
    for position, (file, caption) in enumerate(zip(files, captions, strict=True)):
        left = position % columns * tile
        top = position // columns * (tile + strip)
        small = decode_rgb(image_bytes(file).data)
        small.thumbnail((tile - 4, tile - 4), Image.Resampling.LANCZOS)
        sheet.paste(small, (left + (tile - small.width) // 2, top + (tile - small.height) // 2))
        draw.text(
            (left + tile / 2, top + tile), caption, fill=(210, 210, 210), font=font, anchor="ma"
        )
    if synthetic:
        middle = (sheet.width / 2, sheet.height - strip)
        draw.text(middle, _SYNTHETIC, fill=(255, 200, 120), font=font, anchor="ma")
    kind = Image.registered_extensions().get(path.suffix.lower(), "PNG")
    write_atomically(path, lambda file: sheet.save(file, format=kind))


def class_contact_sheet(manifest: Manifest, path: Path, *, tiles: int = 64, seed: int = 0) -> None:
    """Write a contact sheet with as many cells of every class, each of another subject if it can.

    Args:
        manifest: The images; only labelled ones are shown.
        path: The PNG to write.
        tiles: Number of cells on the sheet, at most.
        seed: Another seed, other cells.

    Raises:
        ConfigError: ``path`` does not end in .png.
    """
    check_picture(path, "--contact-sheet")
    chosen = showcase(manifest, tiles, seed=seed)
    captions = [f"{manifest.label_name(i)} {manifest.subjects[i]}"[:24] for i in chosen]
    contact_sheet([manifest.file(i) for i in chosen], captions, path, synthetic=manifest.synthetic)
