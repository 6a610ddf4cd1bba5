"""Record in weights files which images the weights were trained and chosen on.

An image is identified by its pixels, so that another file format changes nothing: the first eight
bytes of the hash of :attr:`fastleuk.data.images.decode.Examined.pixels`. 12,000 images take 128 KB.
A run that starts from such weights adds its own images to theirs.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastleuk.errors import WeightsError
from fastleuk.models.backbone_name import FOLDER, HUB, source_of
from fastleuk.models.weights import METADATA_KEY

KEY = "seen_images"
"""Of the record in the metadata of weights."""

_MODEL = "model.safetensors"


@dataclass(frozen=True, eq=False, slots=True)
class SeenImages:
    """Images that weights were trained or chosen on.

    Attributes:
        hashes: uint64 ``(K,)``, ascending.
        complete: False where the weights began with others that have no such record.
        split: The options that draw the same parts of the same data again.
    """

    hashes: np.ndarray
    complete: bool = True
    split: str = ""

    def contain(self, pixels: Iterable[str]) -> np.ndarray:
        """Find images among these: bool ``(N,)``.

        Args:
            pixels: N hashes of images' pixels.
        """
        return np.isin(_short(pixels), self.hashes)

    def and_those_of(self, pixels: Iterable[str], split: str) -> SeenImages:
        """Add a run's training and validation images."""
        return SeenImages(np.union1d(self.hashes, _short(pixels)), self.complete, split)

    def as_json(self) -> dict[str, Any]:
        """Convert to a document fit for JSON."""
        packed = base64.b64encode(self.hashes.astype("<u8").tobytes()).decode("ascii")
        return {
            "images": len(self.hashes),
            "hashes": packed,
            "complete": self.complete,
            "split": self.split,
        }


NO_IMAGES = SeenImages(np.zeros(0, np.uint64))


def from_json(record: Any) -> SeenImages:
    """Read the record of weights; one that is missing or damaged is not complete."""
    try:
        hashes = np.frombuffer(base64.b64decode(record["hashes"], validate=True), "<u8")
        if len(hashes) != record["images"]:
            raise ValueError
        return SeenImages(
            np.sort(hashes.astype(np.uint64)), bool(record["complete"]), str(record["split"])
        )
    except (ValueError, KeyError, TypeError):
        return SeenImages(NO_IMAGES.hashes, complete=False)


def read_seen_images(file: Path) -> SeenImages | None:
    """Read which images a weights file was trained and chosen on.

    Returns:
        None for weights that are not of fastleuk, such as ImageNet's.

    Raises:
        WeightsError: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    if file.suffix != ".safetensors":
        return None
    try:
        with safe_open(file, framework="pt") as opened:
            document = json.loads((opened.metadata() or {}).get(METADATA_KEY, "null"))
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{file}: can't be read as weights: {error}. Copy it again.") from error
    return from_json(document.get(KEY)) if isinstance(document, Mapping) else None


def starting_file(backbone: str, weights: str) -> Path | None:
    """Find the file with the starting weights of a run; None where timm's or random ones are taken.

    Args:
        backbone: Name, also ``local-dir:FOLDER`` or ``hf-hub:OWNER/NAME``.
        weights: ``hub``, ``bundled``, ``none`` or a file.
    """
    if weights in ("none", "bundled"):
        return None
    if weights != "hub":
        return Path(weights)
    source, name = source_of(backbone)
    if source == FOLDER:
        file = Path(name) / _MODEL
        return file if file.is_file() else None
    if source == HUB:
        from huggingface_hub import try_to_load_from_cache

        repository, _, revision = name.partition("@")
        found = try_to_load_from_cache(repository, _MODEL, revision=revision or None)
        return Path(found) if isinstance(found, str) else None
    return None


def _short(pixels: Iterable[str]) -> np.ndarray:
    return np.array([int(digest[:16], 16) for digest in pixels if digest], dtype=np.uint64)
