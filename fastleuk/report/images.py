"""The run's own images for the page: hits and misses with their heat, and augmented cells."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastleuk.config import Config, read_config
from fastleuk.data.from_config import open_dataset
from fastleuk.data.split.file import read_split
from fastleuk.errors import FastleukError
from fastleuk.explain.choose import Group, hits_and_misses, measured_rows
from fastleuk.explain.heat import has_grad_cam, share_sentence
from fastleuk.report.source import Source
from fastleuk.run_folder.names import CONFIG, SPLIT

if TYPE_CHECKING:
    from fastleuk.data.load import DataSet
    from fastleuk.explain.network import Network

EACH, MEASURED, OCCLUDED, PATCHES = 6, 24, 3, 4
"""Cells shown of a group, measured in all, those in which occlusion is computed, and its patches:
fewer and coarser than those of ``fastleuk explain``, since a page is to be made in seconds. Four
patches a side, moved by half, see as many places as the last map of a network at 224 pixels."""

SIDE = 176
Report = Callable[[str], None]


@dataclass(frozen=True, eq=False, slots=True)
class Images:
    """The run's data, opened.

    Attributes:
        dataset: All images.
        config: The run's, its loader resolved.
        parts: Rows of the manifest by part.
        network: The run's, or why there is none.
    """

    dataset: DataSet
    config: Config
    parts: dict[str, np.ndarray]
    network: Network | str


def open_images(source: Source, data: str, report: Report) -> Images | str:
    """Open the run's data, or say in a sentence why they can't be shown.

    Args:
        source: The run.
        data: Where the data lie now; empty for where they were.
        report: Takes what is printed.
    """
    from fastleuk.loading import resolve_loader

    try:
        config = read_config(source.run_dir / CONFIG)
        config = dataclasses.replace(config, loader=resolve_loader(config.loader))
        where = dataclasses.replace(config.data, data=data or config.data.data)
        dataset = open_dataset(where, report=report)
        split = read_split(source.run_dir / SPLIT, dataset.manifest, dataset.groups, dataset.sha256)
    except FastleukError as error:
        if data:  # asked for
            raise
        first = str(error).splitlines()[0]
        return f"the run's images can't be read: {first} (--data names where they are now)"
    parts = {part: split.indices(part) for part in ("train", "val", "test")}
    return Images(dataset, config, parts, _network(source))


def _network(source: Source) -> Network | str:
    import torch

    from fastleuk.explain.network import load_network

    try:
        return load_network(source.run_dir, torch.device("cpu"))
    except FastleukError as error:
        return str(error)


def cells(
    source: Source, images: Images | str, *, report: Report, each: int = EACH
) -> dict[str, Any]:
    """Return the most confident hits and misses of each class, with Grad-CAM.

    Args:
        source: The run.
        images: Of :func:`open_images`.
        report: Takes what is printed.
        each: Cells of a group.
    """
    if isinstance(images, str):
        return {"none": f"No cells are shown: {images}."}
    tested = source.tested
    if tested is None:
        return {"none": f"No cells are shown: {source.missing['test_predictions.csv']}"}
    manifest = images.dataset.manifest
    index = {path: row for row, path in enumerate(manifest.paths)}
    rows = np.array([index[path] for path in tested.paths], dtype=np.int64)
    groups = hits_and_misses(
        rows, tested.labels, tested.predicted, tested.probabilities, source.class_names, each=each
    )
    shown = [row for group in groups for row in group.rows]
    drawn = measured_rows(rows, (), count=MEASURED, seed=0)
    places = {int(row): place for place, row in enumerate(rows)}
    targets = {row: int(tested.predicted[places[row]]) for row in dict.fromkeys([*shown, *drawn])}
    pictures, heat = _pictures(images, targets, drawn, report)
    told: dict[str, Any] = {"groups": [], "cells": [], "heat": heat}
    for group in groups:
        told["groups"].append({"title": group.title, "total": group.total, "name": group.name})
        for row in group.rows:
            place = places[row]
            guess = int(tested.predicted[place])
            told["cells"].append(
                {
                    **pictures[row],
                    "path": manifest.paths[row],
                    "file": manifest.paths[row].rpartition("/")[2],
                    "subject": "" if manifest.subject_is_image else manifest.subjects[row],
                    "label": source.class_names[tested.labels[place]],
                    "predicted": source.class_names[guess],
                    "chance": _chance(source, tested.probabilities[place], guess),
                    "kind": "hit" if group.hit else "miss",
                }
            )
    told["empty"] = [_nothing(group) for group in groups if not group.rows]
    return told


def _chance(source: Source, probabilities: np.ndarray, guess: int) -> str:
    """Tell the positive class's probability, which the threshold is of, or that of the guess."""
    code = source.class_names.index(source.positive) if source.positive else guess
    return f"probability of {source.class_names[code]} {probabilities[code]:.3f}"


def _nothing(group: Group) -> str:
    return f"{group.title}: none"


def _pictures(
    images: Images, targets: dict[int, int], drawn: list[int], report: Report
) -> tuple[dict[int, dict[str, Any]], dict[str, Any]]:
    """Return each row's pictures, and what the heat says in all."""
    from fastleuk.explain import examine
    from fastleuk.explain.network import batches
    from fastleuk.explain.overlay import colour_bar, enlarged, overlay

    network = images.network
    if isinstance(network, str):
        return {row: {} for row in targets}, {"none": f"No pictures: {network}"}
    if not has_grad_cam():
        plain: dict[int, dict[str, Any]] = {}
        rows = np.array(list(targets), dtype=np.int64)
        for some, tensors in batches(network, images.dataset, rows, images.config, report=report):
            for row, level in zip(some, network.levels(tensors), strict=True):
                plain[int(row)] = {"image": picture(enlarged(level, SIDE))}
        why = "No heat maps: they need the package grad-cam (`pip install 'fastleuk[explain]'`)."
        return plain, {"none": why}
    layer, examined = examine.examine(
        network,
        images.dataset,
        targets,
        images.config,
        occluded=set(drawn[:OCCLUDED]),
        patches=PATCHES,
        report=report,
    )
    found = {}
    for each in examined:
        mask = None if each.cell is None else each.cell.mask
        found[each.row] = {
            "image": picture(enlarged(each.image, SIDE)),
            "heat": picture(overlay(each.image, each.heat, mask, side=SIDE)),
            "share": share_sentence(each.inside, cell_found=each.cell is not None),
        }
    by_row = {each.row: each for each in examined}
    figures = examine.summary([by_row[row] for row in drawn])
    return found, {
        "layer": str(layer),
        "verdicts": examine.verdicts(figures),
        "drawn": len(drawn),
        "bar": picture(colour_bar(240, 12)),
    }


def augmentation_sheet(source: Source, images: Images | str, *, report: Report) -> dict[str, Any]:
    """Return training cells, each as it is and augmented seven times, as one picture."""
    if isinstance(images, str):
        return {"none": f"Not drawn: {images}."}
    if not source.policy:
        return {"none": "Not drawn: policy.toml is not in the run folder."}
    from fastleuk.augment import AugmentPolicy, augment_batch, draw
    from fastleuk.explain.network import batches

    network = images.network
    if isinstance(network, str):
        return {"none": f"Not drawn: {network}"}
    labels = images.dataset.manifest.labels[images.parts["train"]]
    rows = np.concatenate(
        [images.parts["train"][labels == code][:2] for code in np.unique(labels)[:3]]
    )
    _, tensors = next(iter(batches(network, images.dataset, rows, images.config, report=report)))
    levels, size, times = network.levels(tensors), int(network.metadata["size"]), 7
    policy = AugmentPolicy.from_dict(source.policy)
    params = draw(
        policy, seed=source.config["run"]["seed"], epoch=0,
        indices=np.arange(len(levels) * times), size=size,
    )  # fmt: skip
    many = [level for level in levels for _ in range(times)]
    drawn = augment_batch(many, params, applier="reference", normalize=False)
    drawn = np.clip(np.rint(drawn), 0, 255).astype(np.uint8)
    return {"sheet": picture(_sheet(levels, drawn, times)), "rows": len(levels), "times": times}


def _sheet(levels: np.ndarray, drawn: np.ndarray, times: int, side: int = 96) -> np.ndarray:
    from fastleuk.explain.overlay import enlarged

    gap = 4
    sheet = np.full((len(levels) * (side + gap) - gap, (times + 1) * (side + gap) + gap, 3), 255)
    sheet = sheet.astype(np.uint8)
    for row, level in enumerate(levels):
        tiles = [level, *drawn[row * times : (row + 1) * times]]
        for column, tile in enumerate(tiles):
            left = column * (side + gap) + (2 * gap if column else 0)
            top = row * (side + gap)
            sheet[top : top + side, left : left + side] = enlarged(tile, side)
    return sheet


def picture(pixels: np.ndarray) -> str:
    """Return uint8 ``(H, W, 3)`` as a data URL (WebP)."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="WEBP", quality=82, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
