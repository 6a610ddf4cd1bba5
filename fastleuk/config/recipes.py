"""Recipes: named sets of defaults, which a configuration file and the command line override."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PAPER: Mapping[str, Mapping[str, Any]] = {}
"""The built-in defaults: Adam at a constant 1e-4, cross-entropy, patience 15, 50 epochs."""

STRONG: Mapping[str, Mapping[str, Any]] = {
    # Size and colour of a cell are diagnostic: no crop, no shear, little jitter.
    "augment": {"augment": "stain"},
    "optim": {
        "epochs": 30,
        "optimizer": "adamw",
        "weight_decay": 0.05,
        # The head's: it starts from nothing. Below, each layer learns slower than the next, in the
        # middle of EfficientNet-B3's 27 at 1e-4 and at its stem at 1e-5.
        "lr": 1e-3,
        "layer_decay": 0.85,
        "scheduler": "cosine",
        "warmup_epochs": 2.0,
        "min_lr": 1e-6,
        "clip_grad": 1.0,
        "label_smoothing": 0.1,
        "class_weights": "balanced",
        # Reached gradually: the average spans 71 of 600 updates, 630 of 20,000.
        "ema": 0.999,
    },
}
"""What careful C-NMC work does: AdamW, warm-up and cosine, slower early layers, label smoothing,
averaged weights, balanced classes, rotation by any angle."""

RECIPES: dict[str, Mapping[str, Mapping[str, Any]]] = {"paper": PAPER, "strong": STRONG}
"""Tables of defaults by the names that the command line knows."""
