"""Which weights each of the paper's backbones starts from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastleuk.errors import WeightsError, listed
from fastleuk.models.backbone import check_backbone, check_weights
from fastleuk.models.backbone_name import file_name
from fastleuk.models.weights import BUNDLED_BACKBONE


def weights_of(backbones: Sequence[str], weights: str) -> tuple[str, ...]:
    """Return the weights of each backbone, checked.

    Raises:
        ConfigError: an unknown backbone, or ``bundled`` for one that has none.
        WeightsError: a file is missing.
    """
    found, missing = [], []
    for backbone in backbones:
        check_backbone(backbone)
        mine = weights
        if weights == "auto":
            mine = "bundled" if backbone.split(".")[0] == BUNDLED_BACKBONE else "none"
        elif Path(weights).is_dir():
            files = [
                Path(weights) / f"{file_name(backbone)}{end}" for end in (".safetensors", ".pth")
            ]
            there = [str(file) for file in files if file.is_file()]
            if not there:
                missing.append(f"{file_name(backbone)}.safetensors or {file_name(backbone)}.pth")
                continue
            mine = there[0]
        elif Path(weights).is_file() and len(backbones) > 1:
            raise WeightsError(
                f"--weights {weights} is one file for {len(backbones)} backbones. Give a folder "
                "that holds <backbone>.safetensors for each, or one of --backbones."
            )
        check_weights(backbone, mine)
        found.append(mine)
    if missing:
        raise WeightsError(f"The folder --weights {weights} lacks:\n{listed(missing)}")
    return tuple(found)
