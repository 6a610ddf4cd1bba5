"""Heat maps of many cells, with what each says of its cell."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fastleuk.config import Config
from fastleuk.data.images.cell import Cell, find_cell
from fastleuk.data.load import DataSet
from fastleuk.explain.heat import agreement, grad_cam, share_inside
from fastleuk.explain.layers import Layer, find_layer
from fastleuk.explain.network import Network, batches
from fastleuk.explain.occlusion import PATCHES, occlude

RANDOM_SEED = 1
"""Of the random weights that heat maps are compared with."""

Report = Callable[[str], None]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Examined:
    """A cell and its heat map.

    Attributes:
        row: Of the manifest.
        target: The class whose logit is explained.
        image: uint8 ``(H, W, 3)``, what the network was shown.
        heat: float32 ``(H, W)``, 0 to 1: 1 is this cell's own maximum.
        cell: Where the cell is, or None.
        inside: Share of the heat on the cell; None without heat or cell.
        random_inside: The same by random weights.
        random_agreement: Rank correlation with the map by random weights.
        occlusion: float32 ``(H, W)``, drops of the log-odds, or None.
        occlusion_inside: Share of those drops on the cell.
        occlusion_agreement: Rank correlation of ``heat`` and ``occlusion``.
    """

    row: int
    target: int
    image: np.ndarray
    heat: np.ndarray
    cell: Cell | None
    inside: float | None
    random_inside: float | None = None
    random_agreement: float | None = None
    occlusion: np.ndarray | None = field(default=None)
    occlusion_inside: float | None = None
    occlusion_agreement: float | None = None


def examine(
    network: Network,
    dataset: DataSet,
    targets: Mapping[int, int],
    config: Config,
    *,
    occluded: Collection[int] = (),
    patches: int = PATCHES,
    layer: str = "",
    sanity: bool = True,
    report: Report = print,
    progress: Progress | None = None,
) -> tuple[Layer | None, list[Examined]]:
    """Make the heat map of each cell, by the trained and by random weights.

    Args:
        network: Of the run.
        dataset: The images.
        targets: The class to explain for each row of the manifest, in the order wanted.
        config: The run's, its loader resolved.
        occluded: Rows for which occlusion is computed too.
        patches: As of :func:`fastleuk.explain.occlusion.occlude`; 7 take some 170 forward passes a
            cell, 4 some 50.
        layer: Name of the layer; empty for the rule of :func:`find_layer`.
        sanity: Compare with random weights.
        report: Takes what is printed.
        progress: Called as ``progress(done, total)``.

    Returns:
        The layer (None without rows) and the cells, in the order of ``targets``.

    Raises:
        ConfigError: no such layer.
        DataError: an image can't be read.
    """
    chosen, found = None, []
    untrained = network.untrained(RANDOM_SEED) if sanity else None
    rows = np.array(list(targets), dtype=np.int64)
    if not len(rows):
        return None, []
    for indices, images in batches(network, dataset, rows, config, report=report):
        chosen = chosen or find_layer(network.model, images[:1], layer)
        classes = [targets[int(row)] for row in indices]
        maps = grad_cam(network.model, chosen, images, classes)
        blind = None if untrained is None else grad_cam(untrained, chosen, images, classes)
        for place, row in enumerate(indices.tolist()):
            dropped = None
            if row in occluded:
                dropped = occlude(network.model, images[place], classes[place], patches=patches)
            shown = network.levels(images[place : place + 1])[0]
            random_map = None if blind is None else blind[place]
            found.append(_examined(row, classes[place], shown, maps[place], random_map, dropped))
            if progress is not None:
                progress(len(found), len(rows))
    return chosen, found


def _examined(
    row: int,
    target: int,
    image: np.ndarray,
    heat: np.ndarray,
    blind: np.ndarray | None,
    dropped: np.ndarray | None,
) -> Examined:
    cell = find_cell(image)

    def inside(map_: np.ndarray | None) -> float | None:
        return None if map_ is None or cell is None else share_inside(map_, cell.mask)

    return Examined(
        row=row,
        target=target,
        image=image,
        heat=heat,
        cell=cell,
        inside=inside(heat),
        random_inside=inside(blind),
        random_agreement=None if blind is None else agreement(heat, blind),
        occlusion=dropped,
        occlusion_inside=inside(dropped),
        occlusion_agreement=None if dropped is None else agreement(heat, dropped),
    )


def summary(cells: Sequence[Examined]) -> dict[str, object]:
    """Return median and quartiles of what was measured, fit for JSON.

    Args:
        cells: Any number.
    """
    ways = sorted({each.cell.how for each in cells if each.cell is not None})
    return {
        "cells": len(cells),
        "cell_found": sum(each.cell is not None for each in cells),
        "cell_found_by": ways,
        "without_heat": sum(not each.heat.any() for each in cells),
        "cell_area": quartiles([each.cell.area if each.cell else None for each in cells]),
        "heat_inside": quartiles([each.inside for each in cells]),
        "random_heat_inside": quartiles([each.random_inside for each in cells]),
        "random_agreement": quartiles([each.random_agreement for each in cells]),
        "occlusion_inside": quartiles([each.occlusion_inside for each in cells]),
        "occlusion_agreement": quartiles([each.occlusion_agreement for each in cells]),
    }


def quartiles(values: Sequence[float | None]) -> dict[str, float | int] | None:
    """Return ``median``, ``low`` and ``high`` quartile and how many there are; None of none.

    >>> quartiles([0.5, None, 0.7, 0.6])
    {'median': 0.6, 'low': 0.55, 'high': 0.65, 'count': 3}
    """
    there = [value for value in values if value is not None]
    if not there:
        return None
    low, median, high = (round(float(v), 6) for v in np.percentile(there, [25, 50, 75]))
    return {"median": median, "low": low, "high": high, "count": len(there)}


CLOSE_TO_RANDOM, AGREES_WITH_OCCLUSION, MOST_EMPTY = 0.5, 0.3, 0.1
"""Limits of the checks: rank correlation with the maps of random weights (at most) and with
occlusion (at least), and the share of maps that may be empty."""


def verdicts(figures: Mapping[str, object]) -> list[str]:
    """Describe the results of :func:`summary`, with a conclusion over all checks.

    Args:
        figures: As returned by :func:`summary`.
    """
    lines: list[str] = []
    passed: list[str] = []
    failed: list[str] = []

    def check(holds: bool, yes: str, no: str) -> None:
        (passed if holds else failed).append(yes if holds else no)

    inside, area = figures["heat_inside"], figures["cell_area"]
    if isinstance(inside, dict) and isinstance(area, dict):
        lines.append(
            f"Heat on the cell: {inside['median']:.0%} (median of {_cells(inside)}, quartiles "
            f"{inside['low']:.0%} to {inside['high']:.0%}). Evenly spread heat would have "
            f"{area['median']:.0%} there, the cell's share of the image (median)."
        )
        check(
            inside["median"] >= area["median"],
            "the heat lies on the cell",
            "less heat lies on the cell than evenly spread heat would have there, so the network "
            "may use the background",
        )
    cells, empty = int(figures["cells"]), int(figures["without_heat"])  # type: ignore[call-overload]
    undetected = cells - int(figures["cell_found"])  # type: ignore[call-overload]
    if undetected:
        lines.append(f"In {undetected} of {cells} images no cell was detected; they do not count.")
    if empty:
        lines.append(
            f"{empty} of {cells} {'map is' if empty == 1 else 'maps are'} empty: no place in the "
            "image speaks for the class."
        )
        if empty > MOST_EMPTY * cells:
            failed.append(f"{empty} of {cells} maps are empty")
    random, random_inside = figures["random_agreement"], figures["random_heat_inside"]
    if isinstance(random, dict):
        also = ""
        if isinstance(random_inside, dict):
            also = f"; their heat on the cell: {random_inside['median']:.0%}"
        lines.append(
            f"Random weights: their maps agree with the trained network's at a rank correlation of "
            f"{_signed(random)} (median of {_cells(random)}{also})."
        )
        check(
            random["median"] < CLOSE_TO_RANDOM,
            "the maps differ from those of random weights",
            "the maps resemble those of random weights, so they show the image rather than the "
            "training",
        )
    occlusion = figures["occlusion_agreement"]
    if isinstance(occlusion, dict):
        where = figures["occlusion_inside"]
        also = (
            f"; {where['median']:.0%} of the drops on the cell" if isinstance(where, dict) else ""
        )
        lines.append(
            f"Occlusion (cover a place, measure the drop of the score) agrees with Grad-CAM at a "
            f"rank correlation of {_signed(occlusion)} (median of {_cells(occlusion)}{also})."
        )
        check(
            occlusion["median"] >= AGREES_WITH_OCCLUSION,
            "occlusion agrees with Grad-CAM",
            "occlusion does not agree with Grad-CAM",
        )
    if failed:
        reasons = "; ".join(failed)
        lines.append(
            f"Conclusion: these maps should not be relied on. {reasons[0].upper()}{reasons[1:]}."
        )
    elif passed:
        lines.append(
            f"Conclusion: no check contradicts the maps ({', '.join(passed)}). That does not prove "
            "that they show the reason for a prediction."
        )
    return lines


def _signed(figure: Mapping[str, float]) -> str:
    return f"{figure['median']:.2f}".replace("-", "−")


def _cells(figure: Mapping[str, object]) -> str:
    return f"{figure['count']} cell{'' if figure['count'] == 1 else 's'}"
