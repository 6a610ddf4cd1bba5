"""What a DALI pipeline of the loader is fed with, epoch by epoch.

A feed knows neither the pipeline nor the loader: DALI's callbacks hold it, and would keep alive
for ever, threads and all, whatever it knew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from fastleuk.augment import AugmentPolicy, param_arrays
from fastleuk.data.images.bmp import HEADER, read_layout
from fastleuk.data.manifest import Manifest
from fastleuk.data.shards.read import image_bytes, read_header
from fastleuk.errors import DataError
from fastleuk.loading.decode.dali import file_inputs, rows_for_pil
from fastleuk.loading.prepare import Pixels
from fastleuk.loading.stream import BatchPlan, draw_plan


class UncompressedBmps:
    """The manifest's files that are plain BMPs and need no decoding; each header is read once.

    Args:
        manifest: The images.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._known = np.full(len(manifest), -1, np.int8)

    def __call__(self, row: int) -> bool:
        """Check that image ``row`` was one when first asked for."""
        if self._known[row] < 0:
            self._known[row] = not rows_for_pil(self._manifest)[row] and self._has_header(row)
        return bool(self._known[row])

    def _has_header(self, row: int) -> bool:
        try:
            header = read_header(self._manifest.file(row), HEADER)
        except (OSError, DataError):
            return False  # DALI says what is wrong with it
        return read_layout(header) is not None

    def changed(self, rows: np.ndarray) -> list[Path]:
        """Return the files of ``rows`` that were plain BMPs and can't be read as such any more."""
        return [
            self._manifest.file(row)
            for row in rows.tolist()
            if self(row) and not self._is_whole(row)
        ]

    def _is_whole(self, row: int) -> bool:
        try:
            data = image_bytes(self._manifest.file(row))
        except (OSError, DataError):
            return False
        layout = read_layout(data[:HEADER].tobytes())
        return layout is not None and layout.length <= len(data)


@dataclass(eq=False)
class Feed:
    """The sources of one pipeline, for one epoch at a time.

    Attributes:
        manifest: The images.
        pixels: Their decoded cache, or None.
        policy: What augmented samples get, or None.
        applier: Whose parameters are fed.
        size: Of the output.
        seed: Of the augmentation.
        uncompressed: Which files are read undecoded; None where none are.
        readers: The sources that DALI asks for batches: ``images``, ``parameters``.
        in_flight: The plans whose batches DALI has been given and not yet returned.
    """

    manifest: Manifest
    pixels: Pixels | None
    policy: AugmentPolicy | None
    applier: str
    size: int
    seed: int
    uncompressed: UncompressedBmps | None
    readers: tuple[str, ...] = ("images", "parameters")
    in_flight: deque[BatchPlan] = field(default_factory=deque)
    _plans: Iterator[BatchPlan] = field(default_factory=lambda: iter(()))
    _waiting: dict[str, deque[BatchPlan]] = field(default_factory=dict)

    def begin(self, plans: Iterator[BatchPlan]) -> None:
        """Feed the batches of an epoch from now on."""
        self._plans = plans
        self.in_flight.clear()
        self._waiting = {reader: deque() for reader in self.readers}

    def _next_plan(self, reader: str) -> BatchPlan:
        """Give each of the sources every plan once, whichever of them DALI asks first."""
        if not self._waiting[reader]:
            plan = next(self._plans)  # StopIteration ends the epoch
            self.in_flight.append(plan)
            for waiting in self._waiting.values():
                waiting.append(plan)
        return self._waiting[reader].popleft()

    def next_files(self) -> tuple:
        """Paths or bytes, crops if there are any, and the uncompressed ones where that matters."""
        rows = self._next_plan("images").indices
        inputs = file_inputs(self.manifest, rows)
        if self.uncompressed is not None:
            inputs.append(np.array([self.uncompressed(int(row)) for row in rows]))
        return tuple(inputs)

    def next_mapped(self) -> list[np.ndarray]:
        """Views of the mapped cache."""
        assert self.pixels is not None
        return self.pixels.cache.images(self._next_plan("images").indices)

    def next_resident(self) -> torch.Tensor:
        """Images from the GPU's memory."""
        assert self.pixels is not None
        resident = self.pixels.resident
        assert resident is not None
        rows = torch.from_numpy(self._next_plan("images").indices)
        return resident.index_select(0, rows.to(resident.device, non_blocking=True))

    def next_parameters(self) -> tuple:
        """Labels, indices and, if anything is augmented, its parameters."""
        plan = self._next_plan("parameters")
        rows = plan.indices
        inputs = (self.manifest.labels[rows], rows)
        if self.policy is None:
            return inputs
        params = draw_plan(self.policy, plan, seed=self.seed, size=self.size)
        return (*inputs, *param_arrays(params, self.applier))
