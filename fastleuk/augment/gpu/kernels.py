"""The Triton kernels on a batch whose images are on a GPU, or go up with their parameters."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fastleuk.augment.appliers.row import PIVOT_POINTS
from fastleuk.augment.gpu.lent import keep_until_read
from fastleuk.augment.gpu.packing import (
    IMAGE_NUMBERS,
    Images,
    Layout,
    Packed,
    on_device,
    packed_rows,
)
from fastleuk.augment.gpu.streams import streams_of, too_large
from fastleuk.augment.gpu.upload import UploadRing
from fastleuk.augment.normalization import IMAGENET_MEAN, IMAGENET_STD
from fastleuk.augment.params import AugmentParams
from fastleuk.errors import ConfigError, FastleukError, MissingDependencyError

BLOCK = 256
"""Pixels a program: two for each thread of four warps."""
UPLOADS_AHEAD = 4
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class Kernels:
    """The kernels with their buffers, for one size, layout and dtype; on any GPU.

    Args:
        size: Edge of the output in pixels.
        normalize: If false, the values are levels from 0 to 255.
        mean: For each channel, in units of the range 0-1.
        std: Likewise.
        layout: Of the result: ``CHW`` or ``HWC``.
        dtype: ``float32``, ``float16`` or ``bfloat16``.

    Raises:
        ConfigError: an option makes no sense.
        MissingDependencyError: Triton isn't installed.
    """

    def __init__(
        self,
        size: int,
        *,
        normalize: bool = True,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        layout: str = "CHW",
        dtype: str = "float32",
    ) -> None:
        if layout not in ("HWC", "CHW"):
            raise ConfigError(f"layout must be HWC or CHW, got {layout!r}")
        if dtype not in DTYPES:
            raise ConfigError(f"dtype must be {', '.join(DTYPES)}, got {dtype!r}")
        self.size, self.planar, self.dtype = size, layout == "CHW", DTYPES[dtype]
        levels = (255 * np.asarray(mean, np.float64)).astype(np.float32)
        factor = 1 / (255 * np.asarray(std, np.float64)).astype(np.float32)
        if not normalize:
            levels, factor = np.zeros(3, np.float32), np.ones(3, np.float32)
        self._moments = np.concatenate([levels, factor])
        self._kernels = load_kernels()
        self._rings: dict[torch.device, UploadRing] = {}
        self._lock = threading.Lock()
        self._launched = False

    def __call__(self, tensors: Sequence[torch.Tensor], params: AugmentParams) -> torch.Tensor:
        """Augment ``N`` images, see :func:`.images.checked_tensors`, with ``N`` rows.

        Nothing here waits for the GPU, unless it is several batches behind.
        """
        result = self.run(self.packed(tensors, params), tensors[0].device)
        keep_until_read(tensors)
        return result

    def run(self, packed: Packed, device: torch.device) -> torch.Tensor:
        """Upload what :meth:`packed` gave, and put the kernels behind it."""
        with self._lock:
            ring = self._rings.get(device)
            if ring is None:
                ring = UploadRing(streams_of(device), slots=UPLOADS_AHEAD)
                self._rings[device] = ring
        layout = packed.layout
        slot = ring.upload(
            lambda buffer: packed.uploads(buffer.data_ptr()),
            layout.images_up.stop,
            room=layout.room.stop,
        )
        with ring.reading(slot) as buffer:
            return self.launch(buffer, layout)

    def packed(self, tensors: Sequence[torch.Tensor], params: AugmentParams) -> Packed:
        """Return images that are on a device, with their parameters.

        Raises:
            ConfigError: they are not as many, or were drawn for something else.
        """
        if len(tensors) != len(params):
            raise ConfigError(
                f"params has {len(params)} rows for {len(tensors)} images; draw one for each"
            )
        return self.pack(on_device(tensors), self.rows(params))

    def rows(self, params: AugmentParams) -> np.ndarray:
        """Return the parameters as the kernels read them, see :func:`.packing.packed_rows`.

        Raises:
            ConfigError: they were drawn for something else.
        """
        if params.size != self.size:
            raise ConfigError(
                f"the parameters were drawn for size {params.size}, not for {self.size}"
            )
        if params.interpolation != "bilinear":
            raise ConfigError(
                f"the applier compiled interpolates by bilinear, got {params.interpolation!r}; "
                "torchvision's nearest needs the applier exact"
            )
        return packed_rows(params)

    def pack(self, images: Images, rows: np.ndarray, numbers: Sequence[np.ndarray] = ()) -> Packed:
        """Return a batch ready to go up; ``numbers`` (int64) go with it."""
        return Packed(images, rows, size=self.size, moments=self._moments, numbers=numbers)

    def launch(self, buffer: torch.Tensor, layout: Layout) -> torch.Tensor:
        """Put the kernels on torch's current stream.

        Args:
            buffer: uint8 on the device.
            layout: What stands where in it.

        Returns:
            ``(N, 3, size, size)`` or ``(N, size, size, 3)``.

        Raises:
            ConfigError: the batch is larger than the device's memory.
            FastleukError: Triton can't compile or launch them here.
        """
        try:
            if buffer.device.type == "cpu":
                result = self._launch(buffer, layout)
            else:
                with torch.cuda.device(buffer.device):
                    result = self._launch(buffer, layout)
        except (FastleukError, KeyboardInterrupt):
            raise
        except Exception as error:  # of whatever kind: a compiler's, a driver's, the system's
            if self._launched:
                raise
            text = (str(error).strip().splitlines() or [""])[0]
            raise FastleukError(
                f"Triton can't compile or launch the applier compiled on {buffer.device} "
                f"({type(error).__name__}: {text}). It needs a C compiler (gcc, or CC) and a "
                "folder that it can write (TRITON_CACHE_DIR, else ~/.triton). Or use the applier "
                "fused."
            ) from error
        self._launched = True
        return result

    def _launch(self, buffer: torch.Tensor, layout: Layout) -> torch.Tensor:
        size, n = self.size, layout.images
        table = buffer[layout.table].view(torch.int64)
        moments, rows = (buffer[part].view(torch.float32) for part in (layout.moments, layout.rows))
        pivots, canvas, output = self._allocate(n, buffer.device)
        block = BLOCK
        if interpreted():  # which takes every program for itself, however large
            block = 1 << (size * size - 1).bit_length()
        options: dict[str, Any] = {"SIZE": size, "BLOCK": block}
        blocks = -(-size * size // block)
        if layout.resized:
            sources = buffer[layout.sources].view(torch.int64)
            self._kernels.resize[layout.resized, blocks](sources, buffer[layout.room], **options)
        options["LENGTH"] = layout.length
        points = min(PIVOT_POINTS, size)
        self._kernels.mean_grey[(n,)](table, rows, pivots, POINTS=points, **options)
        self._kernels.warp_and_jitter[n, blocks](table, rows, pivots, canvas, **options)
        self._kernels.filter_and_write[n, blocks](
            canvas, rows, moments, output, PLANAR=self.planar, **options
        )
        return output

    def _allocate(
        self, n: int, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        kind, size = canvas_dtype(self.dtype), self.size
        shape = (n, 3, size, size) if self.planar else (n, size, size, 3)
        try:
            return (
                torch.empty(n, dtype=torch.float32, device=device),
                torch.empty((n, 3, size, size), dtype=kind, device=device),
                torch.empty(shape, dtype=self.dtype, device=device),
            )
        except torch.OutOfMemoryError as error:
            needed = n * 3 * size * size * (kind.itemsize + self.dtype.itemsize)
            raise too_large(needed, device) from error


def canvas_dtype(dtype: torch.dtype) -> torch.dtype:
    """What the warped images are kept in for a result of ``dtype``.

    Half precision has 11 bits: it errs by a sixteenth of a level at most, which a result of that
    dtype can't show anyway.
    """
    return torch.float32 if dtype == torch.float32 else torch.float16


@functools.lru_cache(maxsize=8)
def shared_kernels(size: int, **options: Any) -> Kernels:
    """The kernels for these options, with their buffers; the eight used last are kept."""
    return Kernels(size, **options)


def load_kernels() -> Any:
    """Import the kernels.

    Raises:
        MissingDependencyError: Triton isn't installed, or can't be loaded.
    """
    try:
        from fastleuk.augment.appliers.compiled import gpu as kernel_gpu
    except ImportError as error:
        raise MissingDependencyError(
            f"The applier compiled needs Triton on a GPU ({error}); it comes with torch for "
            "Linux. Use the applier fused."
        ) from error
    return kernel_gpu


def interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels: on the CPU, slowly, for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


__all__ = [
    "BLOCK",
    "DTYPES",
    "IMAGE_NUMBERS",
    "Kernels",
    "canvas_dtype",
    "load_kernels",
    "shared_kernels",
]
