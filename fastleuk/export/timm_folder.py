"""Weights for timm: ``model.safetensors`` and ``config.json``, as timm's hub folders have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save

from fastleuk.errors import CheckpointError
from fastleuk.export.about import KEY
from fastleuk.files import write_atomically, write_json
from fastleuk.models.backbone_name import source_of
from fastleuk.models.backbone_size import size_arguments
from fastleuk.models.kept import kept_backbone
from fastleuk.predict.member import Member

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def timm_weights(member: Member, about: dict[str, Any]) -> bytes:
    """Return the weights under timm's names, with ``about`` in the metadata."""
    state = {name: value.detach().cpu() for name, value in member.model.state_dict().items()}
    state = {name: value.contiguous().clone() for name, value in state.items()}
    return _in_order(save(state, {KEY: json.dumps(about), "format": "pt"}))


def _in_order(file: bytes) -> bytes:
    """Sort the header, which safetensors writes in an order that changes from call to call."""
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.dumps(json.loads(file[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + file[end:]


def timm_config(member: Member) -> dict[str, Any]:
    """Return ``config.json``, by which ``timm.create_model("local-dir:FOLDER")`` builds it."""
    own: dict[str, Any] = getattr(member.model, "pretrained_cfg", {})
    backbone = member.metadata["backbone"]
    built = kept_backbone(member.run_dir, backbone)
    arguments = dict(size_arguments(built, member.loader.size))
    source, name = source_of(built)
    architecture = name.split(".")[0]
    if source:  # not timm's own: what the run kept of it
        there = _kept(Path(name) / CONFIG)
        architecture = there["architecture"]
        arguments = {**there.get("model_args", {}), **arguments}
    size = member.loader.size
    names = list(member.class_names)
    return {
        "architecture": architecture,
        "num_classes": len(names),
        "num_features": getattr(member.model, "num_features", None),
        "label_names": names,
        **({"model_args": arguments} if arguments else {}),
        "pretrained_cfg": {
            "tag": "fastleuk",
            "custom_load": False,
            "input_size": [3, size, size],
            "fixed_input_size": bool(own.get("fixed_input_size")),
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "squash",
            "mean": list(member.metadata["mean"]),
            "std": list(member.metadata["std"]),
            "num_classes": len(names),
            "pool_size": None,
            "first_conv": own.get("first_conv"),
            "classifier": own.get("classifier"),
        },
    }


def _kept(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {"architecture": found["architecture"], **found}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file} says no architecture: {error}.") from error


def write_timm_folder(folder: Path, weights: bytes, config: dict[str, Any]) -> None:
    """Write both files."""
    write_atomically(folder / WEIGHTS, lambda file: file.write(weights))
    write_json(folder / CONFIG, config)
