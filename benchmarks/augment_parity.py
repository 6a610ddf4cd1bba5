"""How near the appliers are to torchvision and to the ideal, at equal parameters.

    python benchmarks/augment_parity.py [--draws 64] [--ideal 24] [--out FOLDER]

On cells and on photographs (scikit-learn's china.jpg and flower.jpg). Files, the decoded cache and
arrays give equal pixels: every image is resized to the input's size first.
Prints the tables and writes them to ``benchmarks/results/augment_parity.{md,json}``.
"""

import argparse
import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fastleuk.augment import PAPER, STEPS, AugmentParams, augment_batch, draw
from fastleuk.augment.appliers import ideal
from fastleuk.augment.params import JITTER_STEPS, identity
from fastleuk.bench.measure.machine import machine, write_results
from fastleuk.tables import markdown_records
from tests.makers.augment_images import (
    demo_cells,
    foreground_error,
    hard_images,
    photographs,
    psnr,
    real_cells,
)

SIZE = 224
CHUNK = 64
OURS = ("exact", "fused", "compiled") if importlib.util.find_spec("numba") else ("exact", "fused")


@dataclasses.dataclass(frozen=True)
class Case:
    """Images with one draw each, and the ideal result."""

    name: str
    images: list[np.ndarray]
    params: AugmentParams
    wanted: np.ndarray


def ideal_case(name: str, images: list[np.ndarray], draws: int) -> Case:
    """``draws`` images, the first again after the last, with the ideal result of each."""
    batch = (images * draws)[:draws]
    params = draw(PAPER, seed=2, epoch=0, indices=np.arange(draws), size=SIZE)
    wanted = np.stack([ideal.apply(image, params, i) for i, image in enumerate(batch)])
    return Case(name, batch, params, wanted)


def levels(images, params, applier):
    """The chain's result in levels, by batches of :data:`CHUNK`."""
    parts = [
        augment_batch(
            images[i : i + CHUNK],
            params.take(slice(i, i + CHUNK)),
            applier=applier,
            normalize=False,
        )
        for i in range(0, len(images), CHUNK)
    ]
    return np.concatenate(parts)


def only(params, step):
    """One of the nine steps, or one of the four of the jitter."""
    if step in STEPS:
        return params.only(step)
    others = {name: getattr(identity(len(params), SIZE), name) for name in JITTER_STEPS}
    kept = {**others, step: getattr(params, step)}
    return dataclasses.replace(params.only("color_jitter"), **kept)


def step_rows(images):
    """Each step alone, always on, against torchvision."""
    on = {f.name: 1 for f in dataclasses.fields(PAPER) if f.name.startswith("p_")}
    drawn = draw(PAPER.replace(**on), seed=1, epoch=0, indices=np.arange(len(images)), size=SIZE)
    rows = []
    for step in (*list(STEPS)[:4], *JITTER_STEPS, *list(STEPS)[4:]):
        params = only(drawn, step)
        wanted = levels(images, params, "reference")
        row = {"step": step if step in STEPS else f"- {step}"}
        for applier in OURS:
            difference = np.abs(levels(images, params, applier) - wanted)
            row[f"{applier}: PSNR median"] = float(np.median(psnr(difference, 0)))
            row[f"{applier}: worst level"] = float(difference.max())
            row[f"{applier}: share > 1.3 levels"] = float((difference > 1.3).mean())
        rows.append(row)
    return rows


def chain_rows(sets, draws):
    """The whole chain against torchvision."""
    rows = []
    for name, images in sets.items():
        batch = (images * draws)[:draws]
        params = draw(PAPER, seed=1, epoch=0, indices=np.arange(draws), size=SIZE)
        wanted = levels(batch, params, "reference")
        for applier in OURS:
            ours = levels(batch, params, applier)
            rows.append(
                {"images": name, "draws": draws, "applier": applier, **summary(ours, wanted)}
            )
    return rows


def summary(ours, wanted):
    ratio, foreground = psnr(ours, wanted), foreground_error(ours, wanted)
    return {
        "PSNR median": float(np.median(ratio)),
        "PSNR worst": float(ratio.min()),
        "foreground error median (levels)": float(np.median(foreground)),
        "foreground error worst": float(foreground.max()),
    }


def ideal_rows(cases):
    """Everyone, torchvision's PIL chain too, against the ideal."""
    rows = []
    for case in cases:
        results = torchvision_chains(case)
        results |= {applier: levels(case.images, case.params, applier) for applier in OURS}
        rows += [
            {
                "images": case.name,
                "chain": chain,
                "draws": len(case.images),
                **summary(np.stack(list(result)), case.wanted),
            }
            for chain, result in results.items()
        ]
    return rows


def torchvision_chains(case):
    """Run the chains of torchvision on PIL images, with both interpolations, and on tensors."""
    from PIL import Image
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as F

    from fastleuk.augment.appliers import reference

    def pil_chain(image, params, i):
        picture = F.resize(Image.fromarray(image), [SIZE, SIZE], InterpolationMode.BILINEAR)
        for step in reference.CHAIN:
            picture = step(picture, params, i)
        return np.asarray(picture)

    nearest = dataclasses.replace(case.params, interpolation="nearest")
    fill, reference.FILL = reference.FILL, 0  # PIL takes one number
    try:
        results = {
            "torchvision PIL, nearest (its default)": [
                pil_chain(image, nearest, i) for i, image in enumerate(case.images)
            ],
            "torchvision PIL, bilinear": [
                pil_chain(image, case.params, i) for i, image in enumerate(case.images)
            ],
        }
    finally:
        reference.FILL = fill
    name = "torchvision tensors, bilinear (reference)"
    results[name] = levels(case.images, case.params, "reference")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=64, help="compared with torchvision")
    parser.add_argument("--ideal", type=int, default=24, help="draws compared with the ideal")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sets = {
        "demo cells": demo_cells(64),
        "C-NMC cells": real_cells("cnmc", 64),
        "blood smear (bright)": real_cells("pbc", 64),
        "photographs": photographs(),
    }
    sets = {name: images for name, images in sets.items() if images}
    hard = {f"hard: {name}": [image] for name, image in hard_images().items()}
    cases = [ideal_case(name, images, options.ideal) for name, images in sets.items()]
    tables = {
        "Each step alone, demo and C-NMC cells, against torchvision": step_rows(
            (sets["demo cells"][:32] + sets.get("C-NMC cells", []))[:43]
        ),
        "The chain against torchvision (tensors, bilinear)": chain_rows(sets, options.draws)
        + chain_rows(hard, 32),
        "Against the ideal (float64, one interpolation, no rounding)": ideal_rows(cases),
    }
    text = "\n\n".join(f"### {title}\n\n{markdown_records(rows)}" for title, rows in tables.items())
    print(text)
    write_results(options.out, "augment_parity", text, {"machine": machine(), "tables": tables})
    print(json.dumps(machine()))


if __name__ == "__main__":
    main()
