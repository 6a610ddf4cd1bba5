"""Backbones: any timm model with its classifier replaced, and with weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastleuk.errors import ConfigError, WeightsError
from fastleuk.models.backbone_build import (
    build,
    check_backbone,
    first_line,
    offline_where_unreachable,
)
from fastleuk.models.backbone_size import size_arguments
from fastleuk.models.lean import make_lean
from fastleuk.models.unwrap import unwrap
from fastleuk.models.weights import (
    BUNDLED_BACKBONE,
    bundled_weights,
    expected_shapes,
    fits,
    load_into,
    read_checkpoint,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Normalisation", "check_backbone", "check_weights", "create_model", "normalisation"]


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Channel mean and standard deviation of the pretraining, in 0–1 units, RGB order."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


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


def create_model(
    backbone: str,
    *,
    num_classes: int,
    weights: str,
    size: int | None = None,
    report: Callable[[str], None] | None = None,
) -> nn.Module:
    """Build a backbone whose last layer gives ``num_classes`` logits.

    Args:
        backbone: timm's name of a network, or ``hf-hub:OWNER/NAME``, or ``local-dir:FOLDER``.
        num_classes: Number of classes, at least 2.
        weights: ``hub`` (timm's pretrained weights, fetched or from its cache), ``bundled``,
            ``none`` (random), or a ``.safetensors`` or torch file in timm's names, which may
            be wrapped (:mod:`fastleuk.models.unwrap`).
        size: Side of the images in pixels; None: the one the network was made for. Pretrained
            position embeddings and the like are resized to it, as timm does it.
        report: Takes a note where a file's tensors were unwrapped.

    Raises:
        ConfigError: unknown backbone, or one that does not take images of ``size``.
        WeightsError: weights can't be reached or don't fit.
    """
    check_backbone(backbone)
    check_weights(backbone, weights)
    shape = {} if size is None else size_arguments(backbone, size)
    if weights == "hub":
        return _from_hub(backbone, num_classes, shape)
    model = make_lean(build(backbone, num_classes=num_classes, **shape))
    _renew_head(model)
    if weights == "none":
        return model
    if weights == "bundled":
        names = build(backbone, num_classes=1000).state_dict()
        state = bundled_weights(list(names), [tuple(v.shape) for v in names.values()])
        load_into(model, state, head=_head(model), where=weights)
    else:
        _load_file(model, Path(weights), backbone, shape, report)
    return model


def _load_file(
    model: nn.Module,
    file: Path,
    backbone: str,
    shape: Mapping[str, Any],
    report: Callable[[str], None] | None,
) -> None:
    """Load a file's tensors into the model, unwrapped and converted where needed."""
    head = _head(model)
    found = unwrap(read_checkpoint(file), expected_shapes(model, head))
    if found is None:
        raise WeightsError(
            f"{file}: contains no state dict (names to tensors). Save model.state_dict()."
        )
    state = found.state
    if not fits(model, state, head=head):
        state = _converted(backbone, state, head, shape)
    load_into(model, state, head=head, where=str(file), note=found.note)
    if found.note and report is not None:
        report(f"note: --weights {file}: {found.note}.")


def _converted(
    backbone: str, state: dict[str, Tensor], head: tuple[str, ...], shape: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Return ``state`` as timm makes published weights fit: renamed, embeddings resized.

    What timm can't convert is returned as it is, for an error that lists what differs.
    """
    classes = next((len(state[f"{name}.weight"]) for name in head if f"{name}.weight" in state), 2)
    overlay = {"state_dict": dict(state), "num_classes": classes, "custom_load": False}
    try:
        model = build(
            backbone,
            num_classes=classes,
            pretrained=True,
            pretrained_cfg_overlay=overlay,
            **shape,
        )
    except WeightsError:
        raise
    except Exception:  # timm's converters assume weights of their own kind
        return state
    return model.state_dict()


def _from_hub(backbone: str, num_classes: int, shape: Mapping[str, Any]) -> nn.Module:
    try:
        with offline_where_unreachable():
            model = make_lean(build(backbone, num_classes=num_classes, pretrained=True, **shape))
    except (ConfigError, WeightsError):
        raise
    except Exception as error:  # the hub's client raises from several libraries
        raise WeightsError(
            f"The pretrained weights of {backbone} could not be had from the model hub: "
            f"{first_line(error)}\n"
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


def _head(model: nn.Module) -> tuple[str, ...]:
    name = getattr(model, "pretrained_cfg", {}).get("classifier", ())
    return (name,) if isinstance(name, str) else tuple(name)


def normalisation(model: nn.Module) -> Normalisation:
    """Return the mean and std that ``model`` was pretrained with (timm's configuration)."""
    from timm.data import resolve_data_config

    config = resolve_data_config({}, model=model)
    return Normalisation(mean=tuple(config["mean"]), std=tuple(config["std"]))
