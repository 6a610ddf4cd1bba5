"""A run's network and the very pixels that it is shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastleuk.augment import NONE
from fastleuk.config import Config, LoaderConfig
from fastleuk.evaluation.average import read_metadata
from fastleuk.evaluation.scorer import check_finite
from fastleuk.loading import make_loader
from fastleuk.loading.prepare import open_pixels
from fastleuk.loading.stream import EvalStream
from fastleuk.models.backbone import create_model
from fastleuk.models.kept import kept_backbone
from fastleuk.run_folder.names import BEST

if TYPE_CHECKING:
    import torch

    from fastleuk.data.load import DataSet

Report = Callable[[str], None]


@dataclass(frozen=True, eq=False, slots=True)
class Network:
    """The best weights of a run in float32, in evaluation mode, asking for no gradient.

    Attributes:
        model: On ``device``.
        metadata: What the weights say about themselves.
        device: Where it computes.
        backbone: Name by which it is built without the hub, see :mod:`fastleuk.models.kept`.
    """

    model: torch.nn.Module
    metadata: dict[str, Any]
    device: torch.device
    backbone: str

    def levels(self, images: torch.Tensor) -> np.ndarray:
        """Return normalised images ``(N, 3, H, W)`` as the uint8 ``(N, H, W, 3)`` they were."""
        pixels = images.detach().permute(0, 2, 3, 1).cpu().numpy()
        shown = pixels * np.array(self.metadata["std"]) + np.array(self.metadata["mean"])
        return np.clip(np.rint(shown * 255), 0, 255).astype(np.uint8)

    def untrained(self, seed: int) -> torch.nn.Module:
        """Return the same network with random weights."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return _ready(_create(self.backbone, self.metadata, "none"), self.device)


def load_network(run_dir: Path, device: torch.device) -> Network:
    """Load the best weights of a run.

    Raises:
        CheckpointError: there are none, or damaged ones, or values that are no finite numbers.
    """
    path = run_dir / BEST
    metadata = read_metadata(path)
    backbone = kept_backbone(run_dir, metadata["backbone"])
    model = _create(backbone, metadata, str(path))
    check_finite(model, path)
    return Network(_ready(model, device), metadata, device, backbone)


def _create(backbone: str, metadata: dict[str, Any], weights: str) -> torch.nn.Module:
    return create_model(
        backbone,
        num_classes=len(metadata["classes"]),
        weights=weights,
        size=metadata["size"],
    )


def _ready(model: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    import torch

    placed = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return placed.eval().requires_grad_(False)  # heat maps ask for a layer's gradient alone


def batches(
    network: Network,
    dataset: DataSet,
    rows: np.ndarray,
    config: Config,
    *,
    batch_size: int = 16,
    report: Report = print,
) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """Yield (rows, normalised images ``(N, 3, H, W)`` on the network's device).

    They come from the loader that also feeds evaluation, un-augmented, in the order given.

    Args:
        network: Says size and normalisation.
        dataset: The images.
        rows: int64, rows of its manifest.
        config: The run's, its loader resolved.
        batch_size: Images at once.
        report: Takes what is printed.
    """
    options: LoaderConfig = dataclasses.replace(config.loader, batch_size=batch_size)
    loader = make_loader(
        manifest=dataset.manifest,
        stream=EvalStream(rows, batch_size=batch_size),
        config=options,
        policy=NONE,
        mean=tuple(network.metadata["mean"]),
        std=tuple(network.metadata["std"]),
        device=network.device,
        pixels=open_pixels(dataset, options, network.device, report=report),
    )
    with loader:
        for batch in loader.epoch():
            # A loader may use a batch's memory again.
            yield batch.indices.cpu().numpy(), batch.images.to(network.device).clone()
