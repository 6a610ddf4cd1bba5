"""Grad-CAM of one image, for the page."""

from __future__ import annotations

import base64
import copy
import io
import threading
from dataclasses import dataclass

import numpy as np
from PIL import Image

from fastleuk.data.images.cell import find_cell
from fastleuk.explain.heat import grad_cam, has_grad_cam, share_inside, share_sentence
from fastleuk.explain.layers import Layer, find_layer
from fastleuk.explain.network import Network
from fastleuk.explain.overlay import enlarged, overlay
from fastleuk.loading.images.encoded import Encoded
from fastleuk.models.kept import kept_backbone
from fastleuk.predict.ensemble import Ensemble
from fastleuk.serve.limits import Refused

SIDE = 256
"""Pixels of the pictures."""

WAITING = 4
"""Requests that wait for a heat map, beyond which more are refused."""


@dataclass(frozen=True, slots=True)
class Heat:
    """Where the first run looks.

    Attributes:
        target: The class that is explained.
        image: The image as the network sees it, a PNG as a data URI.
        overlay: The heat laid over it, the same.
        inside: Share of the heat on the cell; None without a detected cell or without heat.
        share: ``inside`` as a sentence, or the reason that there is none.
    """

    target: str
    image: str
    overlay: str
    inside: float | None
    share: str


class Heats:
    """Makes heat maps, one at a time, with a copy of the first run's network in float32.

    Args:
        ensemble: The runs.
    """

    def __init__(self, ensemble: Ensemble) -> None:
        self._ensemble = ensemble
        self._lock, self._slots = threading.Lock(), threading.Semaphore(WAITING)
        self._network: Network | None = None
        self._layer: Layer | None = None

    @property
    def available(self) -> bool:
        """Whether the package grad-cam is installed."""
        return has_grad_cam()

    def __call__(self, image: Encoded, target: str) -> Heat:
        """Explain the class ``target`` of an image.

        Raises:
            Refused: no such class, the image can't be decoded, no grad-cam, or too many wait.
        """
        if not self.available:
            raise Refused(501, "Heat maps need the package grad-cam: pip install grad-cam.")
        names = self._ensemble.class_names
        if target not in names:
            raise Refused(422, f"target is {target!r}, but must be one of {', '.join(names)}.")
        if not self._slots.acquire(blocking=False):
            raise Refused(503, "Several heat maps are being made. Try again.", retry_after=1)
        try:
            prepared = self._ensemble.prepare([image])
            if prepared.errors[0]:
                raise Refused(422, prepared.errors[0])
            with self._lock:
                return self._explain(prepared.pixels[0].clone(), names.index(target), target)
        finally:
            self._slots.release()

    def _explain(self, pixels: object, code: int, target: str) -> Heat:
        import torch

        assert isinstance(pixels, torch.Tensor)
        network, layer = self._ready(pixels)
        heat = grad_cam(network.model, layer, pixels, [code])[0]
        levels = network.levels(pixels)[0]
        cell = find_cell(levels)
        mask = None if cell is None else cell.mask
        inside = None if mask is None else share_inside(heat, mask)
        return Heat(
            target,
            _data_uri(enlarged(levels, SIDE)),
            _data_uri(overlay(levels, heat, mask, side=SIDE)),
            inside,
            share_sentence(inside, cell_found=mask is not None),
        )

    def _ready(self, pixels: object) -> tuple[Network, Layer]:
        """Copy the network at the first call: batches are scored meanwhile with the original."""
        if self._network is None or self._layer is None:
            member = self._ensemble.members[0]
            model = copy.deepcopy(member.model).eval()
            backbone = kept_backbone(member.run_dir, member.metadata["backbone"])
            self._network = Network(model, member.metadata, member.device, backbone)
            self._layer = find_layer(model, pixels)  # type: ignore[arg-type]
        return self._network, self._layer


def _data_uri(image: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
