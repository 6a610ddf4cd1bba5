"""Run folders with random weights: all that predicting, exporting and serving need, in no time."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from fastleuk import config as cfg
from fastleuk.augment.normalization import IMAGENET_MEAN, IMAGENET_STD
from fastleuk.models.backbone import create_model
from fastleuk.models.weights import METADATA_KEY

CLASSES = ("hem", "ALL")


def untrained_run(
    out: Path,
    *,
    seed: int = 0,
    backbone: str = "test_efficientnet",
    classes: tuple[str, ...] = CLASSES,
    size: int = 48,
    batch_size: int = 8,
    loader: str = "auto",
    spread: float = 1500.0,
) -> Path:
    """Write ``config.toml`` and ``best.safetensors``; ``spread`` drives the probabilities apart."""
    out.mkdir(parents=True)
    config = cfg.Config(
        loader=cfg.LoaderConfig(size=size, batch_size=batch_size, workers=2, loader=loader),
        model=cfg.ModelConfig(backbone=backbone, weights="none"),
        run=cfg.RunConfig(out=str(out), device="cpu"),
    )
    (out / "config.toml").write_text(config.to_toml())
    torch.manual_seed(seed)
    model = create_model(backbone, num_classes=len(classes), weights="none", size=size)
    with torch.no_grad():
        model.get_classifier().weight.mul_(spread)
    metadata = {
        "backbone": backbone,
        "classes": list(classes),
        "size": size,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "synthetic": False,
        "epoch": 3,
        "val_f1_macro": 0.9,
    }
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, out / "best.safetensors", {METADATA_KEY: json.dumps(metadata)})
    return out
