"""Backbones: any timm model with its classifier replaced. The only module that imports timm."""

from __future__ import annotations

import difflib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fastleuk.errors import ConfigError, WeightsError
from fastleuk.models.weights import BUNDLED_BACKBONE, bundled_weights, load_into, read_weights

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Channel mean and standard deviation of the pretraining, in 0–1 units, RGB order."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def check_backbone(backbone: str) -> None:
    """Refuse a name that timm does not know.

    Raises:
        ConfigError: unknown name; the message lists the near ones.
    """
    import timm

    if timm.is_model(backbone):
        return
    plain = backbone.split(".")[0].lower().replace("-", "_")
    near = difflib.get_close_matches(plain, timm.list_models(), n=5, cutoff=0.5)
    hint = f"Near names: {', '.join(near)}." if near else "See timm.list_models()."
    raise ConfigError(f"timm knows no backbone {backbone!r}. {hint}")


def check_weights(backbone: str, weights: str) -> None:
    """Refuse a ``weights`` choice that can be seen to be wrong before anything is built.

    Raises:
        ConfigError: ``bundled`` with another backbone.
        WeightsError: a weights file that does not exist.
    """
    if weights == "bundled" and backbone.split(".")[0] != BUNDLED_BACKBONE:
        raise ConfigError(
            f"--weights bundled holds {BUNDLED_BACKBONE} only, not {backbone}: use "
            f"--backbone {BUNDLED_BACKBONE}, or --weights hub, none or a file."
        )
    if weights not in ("hub", "bundled", "none") and not Path(weights).is_file():
        raise WeightsError(
            f"There is no weights file {weights}. --weights takes hub, bundled, none or a file."
        )


def create_model(backbone: str, *, num_classes: int, weights: str) -> nn.Module:
    """Build a backbone whose last layer gives ``num_classes`` logits.

    Args:
        backbone: timm model name.
        num_classes: Number of classes, at least 2.
        weights: ``hub`` (timm's pretrained weights, fetched or from its cache), ``bundled``,
            ``none`` (random), or a ``.safetensors`` or torch file in timm's names.

    Raises:
        ConfigError: unknown backbone.
        WeightsError: weights can't be reached or don't fit.
    """
    import timm

    check_backbone(backbone)
    check_weights(backbone, weights)
    if weights == "hub":
        return _from_hub(backbone, num_classes)
    model = timm.create_model(backbone, pretrained=False, num_classes=num_classes)
    _renew_head(model)
    if weights == "none":
        return model
    if weights == "bundled":
        names = timm.create_model(backbone, pretrained=False).state_dict()
        state = bundled_weights(list(names), [tuple(v.shape) for v in names.values()])
    else:
        state = read_weights(Path(weights))
    load_into(model, state, head=_head(model), where=weights)
    return model


def _from_hub(backbone: str, num_classes: int) -> nn.Module:
    import timm

    try:
        with _offline_where_unreachable():
            model = timm.create_model(backbone, pretrained=True, num_classes=num_classes)
    except Exception as error:  # the hub's client raises from several libraries
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"The pretrained weights of {backbone} could not be had from the model hub: {reason}\n"
            "Ways on: connect to the internet and try again; --weights FILE with a .safetensors "
            "or .pth in timm's names; --weights bundled (real ImageNet weights, for --backbone "
            f"{BUNDLED_BACKBONE}); or --weights none to train from random weights."
        ) from error
    if num_classes != getattr(model, "pretrained_cfg", {}).get("num_classes"):
        _renew_head(model)
    return model


def _renew_head(model: nn.Module) -> None:
    """Give the last layer PyTorch's own initialisation: uniform, within 1/sqrt(features).

    timm's EfficientNets draw it within 1/sqrt(classes), 0.7 for two classes: made for training
    1,000 classes from nothing, its logits begin 25 times too large and the first hundred steps
    wash through pretrained features.
    """
    from torch import nn

    for name in _head(model):
        head = model.get_submodule(name)
        if isinstance(head, (nn.Linear, nn.Conv2d)):
            head.reset_parameters()


@contextmanager
def _offline_where_unreachable() -> Iterator[None]:
    """Spare the user the hub client's minute of retries: without a route, its cache alone."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    proxied = any(name.lower() in ("https_proxy", "all_proxy") for name in os.environ)
    if not proxied:
        address = urlsplit(constants.ENDPOINT)
        try:
            socket.create_connection((address.hostname, address.port or 443), timeout=5).close()
        except OSError:
            constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _head(model: nn.Module) -> tuple[str, ...]:
    name = getattr(model, "pretrained_cfg", {}).get("classifier", ())
    return (name,) if isinstance(name, str) else tuple(name)


def normalisation(model: nn.Module) -> Normalisation:
    """Return the mean and std that ``model`` was pretrained with (timm's configuration)."""
    from timm.data import resolve_data_config

    config = resolve_data_config({}, model=model)
    return Normalisation(mean=tuple(config["mean"]), std=tuple(config["std"]))
