"""How near the appliers are to torchvision and to the ideal, at equal parameters.

    python benchmarks/augment_parity.py [--draws 512] [--ideal 32] [--out FOLDER]

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

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from augment_images import demo_cells, foreground_error, hard_images, psnr, real_cells

from fastleuk.augment import PAPER, STEPS, augment_batch, draw, ideal
from fastleuk.augment.params import JITTER_STEPS, identity
from fastleuk.bench.machine import machine, table, write_results

SIZE = 224
CHUNK = 64
OURS = ("exact", "fused", "compiled") if importlib.util.find_spec("numba") else ("exact", "fused")


def levels(images, params, applier):
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


def ideal_rows(sets, draws):
    """Everyone, torchvision's PIL chain too, against the ideal."""
    from PIL import Image
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as F

    from fastleuk.augment import reference

    def pil_chain(image, params, i):
        picture = F.resize(Image.fromarray(image), [SIZE, SIZE], InterpolationMode.BILINEAR)
        for step in reference.CHAIN:
            picture = step(picture, params, i)
        return np.asarray(picture)

    reference.FILL = 0  # PIL takes one number
    rows = []
    for name, images in sets.items():
        batch = (images * draws)[:draws]
        params = draw(PAPER, seed=2, epoch=0, indices=np.arange(draws), size=SIZE)
        nearest = dataclasses.replace(params, interpolation="nearest")
        wanted = np.stack([ideal.apply(image, params, i) for i, image in enumerate(batch)])
        results = {
            "torchvision PIL, nearest (its default)": [
                pil_chain(image, nearest, i) for i, image in enumerate(batch)
            ],
            "torchvision PIL, bilinear": [
                pil_chain(image, params, i) for i, image in enumerate(batch)
            ],
        }
        reference.FILL = [0.0, 0.0, 0.0]
        results["torchvision tensors, bilinear (reference)"] = levels(batch, params, "reference")
        results |= {applier: levels(batch, params, applier) for applier in OURS}
        reference.FILL = 0
        rows += [
            {"images": name, "chain": chain, "draws": draws, **summary(np.stack(list(r)), wanted)}
            for chain, r in results.items()
        ]
    reference.FILL = [0.0, 0.0, 0.0]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=512)
    parser.add_argument("--ideal", type=int, default=32, help="draws compared with the ideal")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sets = {
        "demo cells": demo_cells(64),
        "C-NMC cells": real_cells("cnmc", 64),
        "blood smear (bright)": real_cells("pbc", 64),
    }
    sets = {name: images for name, images in sets.items() if images}
    hard = {f"hard: {name}": [image] for name, image in hard_images().items()}
    tables = {
        "Each step alone, demo and C-NMC cells, against torchvision": step_rows(
            (sets["demo cells"][:32] + sets.get("C-NMC cells", []))[:43]
        ),
        "The chain against torchvision (tensors, bilinear)": chain_rows(sets, options.draws)
        + chain_rows(hard, 32),
        "Against the ideal (float64, supersampled, no rounding)": ideal_rows(sets, options.ideal),
    }
    text = "\n\n".join(f"### {title}\n\n{table(rows)}" for title, rows in tables.items())
    print(text)
    write_results(options.out, "augment_parity", text, {"machine": machine(), "tables": tables})
    print(json.dumps(machine()))


if __name__ == "__main__":
    main()
