"""Does ``--recipe strong`` do better than ``--recipe paper``, on data that neither has seen?

    python benchmarks/recipes.py --out runs/recipes --seeds 3 --epochs 6 --batch-size 16 \
        --val-fraction 0.15 --test-fraction 0.2 --weights bundled [--data DIR]

Every seed draws another split; both recipes get the same one, and as many epochs. Finished runs in
``--out`` are not repeated. The figures are those of the test parts.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from fastleuk.config import assemble
from fastleuk.training.train import train

RECIPES = ("paper", "strong")
FIGURES = {"f1_macro": "macro-F1", "auc": "AUC", "accuracy": "accuracy"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", default="", help="else the demo set")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--weights", default="bundled")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--val-fraction", type=float, default=0.1)
    parser.add_argument("--test-fraction", type=float, default=0.1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    runs = {recipe: [one_run(options, recipe, seed) for seed in seeds] for recipe in RECIPES}
    first = runs["paper"][0]
    where = "synthetic demo cells" if first["synthetic"] else Path(options.data).name
    print(f"\n{where}, {options.backbone}, {options.epochs} epochs, {first['samples']} test images")
    if first["subjects"] == first["samples"]:
        print("each image is its own subject: these are not unseen patients")
    results: dict[str, Any] = {}
    for recipe, figures in runs.items():
        results[recipe] = {name: [run[name] for run in figures] for name in FIGURES}
        line = "   ".join(
            f"{title} {np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}"
            for title, values in zip(FIGURES.values(), results[recipe].values(), strict=True)
        )
        by_seed = ", ".join(f"{run['f1_macro']:.4f}" for run in figures)
        print(f"{recipe:<7} {line}   by seed: {by_seed}")
    if options.json:
        from fastleuk.bench.measure.machine import machine

        about = {k: v for k, v in vars(options).items() if k not in ("out", "json", "data")}
        document = {"machine": machine("cpu"), "data": where, "options": about, "results": results}
        options.json.write_text(json.dumps(document, indent=2) + "\n")


def one_run(options: argparse.Namespace, recipe: str, seed: int) -> dict[str, Any]:
    """Train unless that has been done; returns what ``test_metrics.json`` holds."""
    out = options.out / f"{recipe}-{seed}"
    if not (out / "test_metrics.json").exists():
        tables = {
            "data": {
                "data": options.data,
                "val_fraction": options.val_fraction,
                "test_fraction": options.test_fraction,
            },
            "loader": {"batch_size": options.batch_size},
            "model": {"backbone": options.backbone, "weights": options.weights},
            "optim": {"epochs": options.epochs, "amp": True},
            "run": {"recipe": recipe, "seed": seed, "out": str(out)},
        }
        train(assemble(tables))
    return json.loads((out / "test_metrics.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
