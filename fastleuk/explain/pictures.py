"""Galleries of cells with their heat, and how the heat is shared, as PNGs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastleuk.evaluation.plots import new_figure, save_figure
from fastleuk.explain.examine import Examined
from fastleuk.explain.overlay import colour_bar, enlarged, overlay
from fastleuk.files import write_atomically

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE, GAP, LINE = 160, 6, 17
INK, PALE, GROUND = (235, 235, 235), (165, 165, 165), (24, 24, 24)


def draw_gallery(
    cells: Sequence[Examined],
    captions: Sequence[Sequence[str]],
    path: Path,
    *,
    title: str,
    synthetic: bool,
    columns: int = 4,
) -> None:
    """Write a PNG with image, Grad-CAM and, where it was computed, occlusion of each cell.

    Args:
        cells: One or more.
        captions: Up to two lines for each.
        path: The PNG.
        title: What they are.
        synthetic: Say that the cells are synthetic.
        columns: Cells in a row.
    """
    from PIL import Image, ImageDraw, ImageFont

    occluded = any(each.occlusion is not None for each in cells)
    panels = 3 if occluded else 2
    wide, high = panels * SIDE + 2 * GAP, SIDE + 2 * LINE + 2 * GAP
    columns = min(columns, len(cells))
    rows = -(-len(cells) // columns)
    head, foot = 52, 46
    width = max(columns * wide + GAP, 640)
    sheet = Image.new("RGB", (width, head + rows * high + foot), GROUND)
    pen = ImageDraw.Draw(sheet)
    small, large = ImageFont.load_default(size=12), ImageFont.load_default(size=16)
    pen.text((GAP, GAP), title, INK, large)
    names = "image, Grad-CAM" + (", occlusion" if occluded else "")
    pen.text((GAP, GAP + 24), f"{names}; outline: the cell as it was found", PALE, small)
    for number, (cell, lines) in enumerate(zip(cells, captions, strict=True)):
        left, top = GAP + number % columns * wide, head + number // columns * high
        for place, tile in enumerate(_panels(cell)):
            sheet.paste(Image.fromarray(tile), (left + place * SIDE, top))
        for place, line in enumerate(lines[:2]):
            shown = _fitting(line, panels * SIDE, small)
            pen.text((left, top + SIDE + 2 + place * LINE), shown, INK if place else PALE, small)
    _draw_bar(sheet, sheet.height - foot + 8, synthetic)
    write_atomically(path, lambda file: sheet.save(file, format="PNG"))


def _panels(cell: Examined) -> list[np.ndarray]:
    mask = None if cell.cell is None else cell.cell.mask
    tiles = [enlarged(cell.image, SIDE), overlay(cell.image, cell.heat, mask, side=SIDE)]
    if cell.occlusion is not None:
        most = float(cell.occlusion.max())
        heat = cell.occlusion / most if most > 0 else cell.occlusion
        tiles.append(overlay(cell.image, heat, mask, side=SIDE))
    return tiles


def _fitting(line: str, width: int, font: object) -> str:
    while line and font.getlength(line) > width:  # type: ignore[attr-defined]
        line = f"{line[:-2]}…"
    return line


def _draw_bar(sheet: Image, top: int, synthetic: bool) -> None:
    from PIL import Image, ImageDraw, ImageFont

    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    sheet.paste(Image.fromarray(colour_bar(200, 12)), (GAP, top))
    pen.text((GAP, top + 16), "0", INK, font)
    pen.text((GAP + 200, top + 16), "1", INK, font, anchor="ra")
    pen.text((GAP + 212, top - 1), "heat, of each map's own maximum", INK, font)
    if synthetic:
        note = "synthetic demo cells, not patients"
        pen.text((sheet.width - GAP, top - 1), note, (255, 200, 120), font, anchor="ra")


def draw_shares(
    groups: Sequence[tuple[str, Sequence[float]]],
    areas: Sequence[float],
    path: Path,
    *,
    synthetic: bool,
) -> None:
    """Draw how the share of the heat inside the cell is distributed, group by group, as a PNG.

    Args:
        groups: (title, shares), 0 to 1.
        areas: The cells' shares of their images: what evenly spread heat would read.
        path: The PNG.
        synthetic: Say that the cells are synthetic.
    """
    figure = new_figure(7.5, 1.4 + 0.55 * max(1, len(groups)))
    axis = figure.subplots()
    rng = np.random.default_rng(0)
    for place, (_, values) in enumerate(groups):
        shift = rng.uniform(-0.16, 0.16, len(values))
        axis.scatter(values, place + shift, s=12, alpha=0.5, color="#1f6f9f", linewidths=0)
        if values:
            axis.plot([np.median(values)] * 2, [place - 0.3, place + 0.3], color="black", lw=2)
    if areas:
        even = float(np.median(areas))
        axis.axvline(even, color="0.4", linestyle="--", linewidth=1)
        axis.annotate(
            "evenly spread heat", (even, -0.62), xytext=(4, 0), textcoords="offset points",
            fontsize=9, color="0.35", va="center",
        )  # fmt: skip
    axis.set_yticks(range(len(groups)), [f"{name} ({len(values)})" for name, values in groups])
    axis.set_ylim(len(groups) - 0.4, -0.85)
    axis.set_xlim(-0.02, 1.02)
    axis.set_xlabel("share of the heat inside the cell (line: median)")
    axis.grid(axis="x", alpha=0.3)
    save_figure(figure, path, synthetic=synthetic)
