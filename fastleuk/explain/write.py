"""What ``fastleuk explain`` leaves: tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastleuk.data.load import DataSet
from fastleuk.explain.choose import Group
from fastleuk.explain.examine import Examined
from fastleuk.explain.heat import share_sentence
from fastleuk.explain.pictures import draw_gallery, draw_shares
from fastleuk.explain.predicted import Predicted
from fastleuk.files import write_json, write_rows


def write_explanation(
    place: Path,
    figures: dict[str, Any],
    groups: Sequence[Group],
    examined: Sequence[Examined],
    predicted: Predicted,
    dataset: DataSet,
    measured: Sequence[int],
) -> None:
    """Write ``explain.json``, ``cells.csv``, a gallery for each group, and ``heat_inside.png``.

    Args:
        place: The folder.
        figures: What ``explain.json`` is to hold.
        groups: What is shown together; of a group without cells an old picture is removed.
        examined: All cells that were looked at.
        predicted: What the run says of them.
        dataset: The images.
        measured: Rows of those whose heat is in the figures.
    """
    manifest, by_row = dataset.manifest, {each.row: each for each in examined}
    synthetic = manifest.synthetic
    shown = {row: group.name for group in groups for row in group.rows}
    table = [
        _line(each, predicted, dataset, shown.get(each.row, ""), measured=each.row in measured)
        for each in examined
    ]
    write_json(place / "explain.json", figures)
    write_rows(place / "cells.csv", table)
    by_path = {row["path"]: row for row in table}
    for group in groups:
        picture = place / f"{group.name}.png"
        if not group.rows:
            picture.unlink(missing_ok=True)
            continue
        lines = [_caption(by_path[manifest.paths[row]]) for row in group.rows]
        title = f"{group.title}: {len(group.rows)} of {group.total}"
        cells = [by_row[row] for row in group.rows]
        draw_gallery(cells, lines, picture, title=title, synthetic=synthetic)
    titles = {(group.label, group.hit): group.title for group in groups}
    shares: dict[str, list[float]] = {title: [] for title in titles.values()}
    for row in measured:
        title = titles.get(predicted.kind(row), groups[0].title)
        inside = by_row[row].inside
        if inside is not None:
            shares[title].append(inside)
    found = [by_row[row].cell for row in measured]
    areas = [cell.area for cell in found if cell is not None]
    draw_shares(list(shares.items()), areas, place / "heat_inside.png", synthetic=synthetic)


def _line(
    each: Examined, predicted: Predicted, dataset: DataSet, shown: str, *, measured: bool
) -> dict[str, Any]:
    manifest = dataset.manifest
    names = manifest.class_names
    place = predicted.place(each.row)
    chances = predicted.probabilities[place]
    return {
        "path": manifest.paths[each.row],
        "subject": manifest.subjects[each.row],
        "label": manifest.label_name(each.row),
        "predicted": names[predicted.classes[place]],
        **{f"p_{name}": float(p) for name, p in zip(names, chances, strict=True)},
        "target": names[each.target],
        "shown": shown,
        "measured": int(measured),
        "cell_found_by": each.cell.how if each.cell else "",
        "cell_area": each.cell.area if each.cell else "",
        "heat_inside": _cell(each.inside),
        "random_heat_inside": _cell(each.random_inside),
        "random_agreement": _cell(each.random_agreement),
        "occlusion_inside": _cell(each.occlusion_inside),
        "occlusion_agreement": _cell(each.occlusion_agreement),
    }


def _cell(value: float | None) -> float | str:
    return "" if value is None else value


def _caption(row: dict[str, Any]) -> list[str]:
    inside = row["heat_inside"]
    share = share_sentence(None if inside == "" else inside, cell_found=row["cell_area"] != "")
    chance = row[f"p_{row['predicted']}"]
    return [row["path"].rpartition("/")[2], f"{row['predicted']} {chance:.3f}, {share}"]
