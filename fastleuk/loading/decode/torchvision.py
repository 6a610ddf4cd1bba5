"""Decode and resize with PIL and torchvision, for the decoded cache where DALI isn't."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from fastleuk.augment.appliers.reference import resize
from fastleuk.data.dataset import DataSet
from fastleuk.data.decoded.read import SOURCE
from fastleuk.data.decoded.write import Decoded, pieces
from fastleuk.loading.decode.pil import decode

BATCH_BYTES = 48 << 20
"""Of decoded images that are held at once."""


def decode_rows(
    dataset: DataSet, rows: np.ndarray, *, size: int, workers: int
) -> Iterator[Decoded]:
    """Decode and resize as the torchvision loader does it from files; see ``write_cache``."""
    manifest = dataset.manifest
    largest = 3 * int(dataset.sizes.prod(axis=1).max(initial=1))

    def one(row: int) -> np.ndarray:
        pixels = decode(manifest.file(row), int(manifest.crops[row]))
        if size == SOURCE:
            return pixels
        tensor = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
        return resize(tensor, size).permute(1, 2, 0).contiguous().numpy()

    with ThreadPoolExecutor(workers) as pool:  # PIL and torch release the interpreter lock
        for cut in pieces(rows, max(1, BATCH_BYTES // largest)):
            images = list(pool.map(one, cut))
            yield images, np.array([image.mean(axis=(0, 1)) for image in images], np.float32)
