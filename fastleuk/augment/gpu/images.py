"""The augmentation of images that are on a GPU: :class:`GpuAugment`, by three Triton kernels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fastleuk.augment.appliers.compiled.row import ROW
from fastleuk.augment.appliers.lowering import compiled_arrays
from fastleuk.augment.draw import draw
from fastleuk.augment.gpu.upload import CudaStreams, HostStreams, UploadRing
from fastleuk.augment.normalization import IMAGENET_MEAN, IMAGENET_STD
from fastleuk.augment.params import AugmentParams
from fastleuk.augment.policy import PAPER, AugmentPolicy
from fastleuk.errors import ConfigError, MissingDependencyError

PIVOT_POINTS = 48
BLOCK = 256
"""Pixels a program: two for each thread of four warps."""
UPLOADS_AHEAD = 4
IMAGE_NUMBERS = 5
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class GpuAugment:
    """Augment and normalise batches that are on a GPU, without a copy to the host or a wait.

    Everything is put on torch's current stream. The parameters are drawn on the host while the
    GPU is still busy with earlier work, and go up on a stream of their own.

    Args:
        policy: What to draw from.
        size: Edge of the output in pixels.
        seed: Of the run, in [0, 2**64).
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
        policy: AugmentPolicy = PAPER,
        size: int = 224,
        *,
        seed: int = 7,
        normalize: bool = True,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        layout: str = "CHW",
        dtype: str = "float32",
    ) -> None:
        if not isinstance(policy, AugmentPolicy):
            raise ConfigError(f"policy must be an AugmentPolicy, got {policy!r}")
        self.policy, self.size, self.seed = policy, size, seed
        draw(policy, seed=seed, epoch=0, indices=[0], size=size)  # bad arguments: now
        self._kernels = Kernels(
            size, normalize=normalize, mean=mean, std=std, layout=layout, dtype=dtype
        )

    def __call__(
        self,
        images: torch.Tensor | Sequence[torch.Tensor],
        *,
        indices: Any,
        epoch: int = 0,
        augmented: Any = None,
    ) -> torch.Tensor:
        """Augment a batch.

        Args:
            images: uint8 RGB on one GPU: a tensor ``(N, H, W, 3)``, or tensors ``(H, W, 3)`` of
                any sizes.
            indices: ``(N,)``: of the samples in the data set; with ``epoch`` and the seed they
                say what is drawn.
            epoch: Of the training.
            augmented: bool ``(N,)``: which of them are augmented; None for all.

        Returns:
            ``(N, 3, size, size)`` or ``(N, size, size, 3)`` on the same GPU.

        Raises:
            ConfigError: on images that don't fit: what was found, and how to mend it.
        """
        extra = {} if augmented is None else {"augmented": augmented}
        params = draw(
            self.policy, seed=self.seed, epoch=epoch, indices=indices, size=self.size, **extra
        )
        return self._kernels(images, params)


class Kernels:
    """The three kernels with their buffers, for one size, layout and dtype; on any GPU."""

    def __init__(
        self,
        size: int,
        *,
        normalize: bool = True,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        layout: str = "CHW",
        dtype: str = "float32",
        block: int = BLOCK,
    ) -> None:
        if layout not in ("HWC", "CHW"):
            raise ConfigError(f"layout must be HWC or CHW, got {layout!r}")
        if dtype not in DTYPES:
            raise ConfigError(f"dtype must be {', '.join(DTYPES)}, got {dtype!r}")
        self.size, self.planar, self.dtype = size, layout == "CHW", DTYPES[dtype]
        self.block = block
        factor = 1 / (255 * np.asarray(std, np.float64)) if normalize else np.ones(3)
        offset = -255 * np.asarray(mean, np.float64) * factor if normalize else np.zeros(3)
        self._moments = torch.from_numpy(np.concatenate([factor, offset]).astype(np.float32))
        self._moments_there: dict[torch.device, torch.Tensor] = {}
        self._kernel = load_kernels()
        self._rings: dict[torch.device, UploadRing] = {}

    def __call__(
        self, images: torch.Tensor | Sequence[torch.Tensor], params: AugmentParams
    ) -> torch.Tensor:
        """Augment ``N`` images with ``N`` rows of parameters."""
        checked = checked_tensors(images)
        if len(checked) != len(params):
            raise ConfigError(
                f"params has {len(params)} rows for {len(checked)} images; draw one for each"
            )
        table, rows = image_table(checked), self.packed_rows(params)
        device = checked[0].device
        ring = self._ring(device, table.nbytes + rows.nbytes)
        with ring.reading(ring.upload(lambda _: [table, rows])) as buffer:
            result = self.launch(buffer, len(table), rows.shape[1])
            if device.type == "cuda":  # torch keeps their memory until the kernels are done
                for image in checked:
                    image.record_stream(torch.cuda.current_stream(device))
        return result

    def packed_rows(self, params: AugmentParams) -> np.ndarray:
        """Return what the kernels read of the parameters, see :func:`packed_rows`.

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

    def launch(self, buffer: torch.Tensor, n: int, length: int) -> torch.Tensor:
        """Put the kernels on torch's current stream.

        Args:
            buffer: uint8 on the device: it begins with the table of ``n`` images and their rows.
            n: Images.
            length: Numbers a row.

        Returns:
            ``(n, 3, size, size)`` or ``(n, size, size, 3)``.
        """
        if buffer.device.type == "cpu":  # interpreted
            return self._launch(buffer, n, length)
        with torch.cuda.device(buffer.device):
            return self._launch(buffer, n, length)

    def _launch(self, buffer: torch.Tensor, n: int, length: int) -> torch.Tensor:
        size, device = self.size, buffer.device
        images = buffer[: 8 * IMAGE_NUMBERS * n].view(torch.int64)
        rows = buffer[8 * IMAGE_NUMBERS * n :][: 4 * length * n].view(torch.float32)
        moments = self._moments_on(device)
        # Half precision has 11 bits: a sixteenth of a level, which a result of that dtype can't
        # show anyway.
        kind = torch.float32 if self.dtype == torch.float32 else torch.float16
        shape = (n, 3, size, size) if self.planar else (n, size, size, 3)
        try:
            pivots = torch.empty(n, dtype=torch.float32, device=device)
            canvas = torch.empty((n, 3, size, size), dtype=kind, device=device)
            output = torch.empty(shape, dtype=self.dtype, device=device)
        except torch.OutOfMemoryError as error:
            needed = n * 3 * size * size * (kind.itemsize + self.dtype.itemsize)
            raise ConfigError(
                f"{n} images of {size} x {size} need {needed / 2**20:.0f} MiB of {device}'s "
                "memory beside the images themselves, and there isn't as much: use a smaller batch"
            ) from error
        kernel = self._kernel
        options: dict[str, Any] = {"LENGTH": length, "SIZE": size, "BLOCK": self.block}
        blocks = (n, -(-size * size // self.block))
        kernel.mean_grey[(n,)](images, rows, pivots, POINTS=min(PIVOT_POINTS, size), **options)
        kernel.warp_and_jitter[blocks](images, rows, pivots, canvas, **options)
        kernel.filter_and_write[blocks](
            canvas, rows, moments, output, PLANAR=self.planar, **options
        )
        return output

    def _moments_on(self, device: torch.device) -> torch.Tensor:
        if device not in self._moments_there:
            self._moments_there[device] = self._moments.to(device)
        return self._moments_there[device]

    def _ring(self, device: torch.device, nbytes: int) -> UploadRing:
        ring = self._rings.get(device)
        if ring is None or ring.nbytes < nbytes:
            if ring is not None and device.type == "cuda":
                torch.cuda.synchronize(device)  # the old buffers may still be in use
            streams = CudaStreams(device) if device.type == "cuda" else HostStreams()
            ring = UploadRing(streams, slots=UPLOADS_AHEAD, nbytes=1 << (nbytes - 1).bit_length())
            self._rings[device] = ring
        return ring


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


def checked_tensors(images: torch.Tensor | Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The images as a list of ``(H, W, 3)`` uint8 tensors on one GPU.

    Raises:
        ConfigError: with what is wrong and how to mend it.
    """
    if isinstance(images, torch.Tensor) and images.ndim != 4:
        raise ConfigError(
            f"images must be (N, H, W, 3), got the shape {tuple(images.shape)}; one image: "
            "images[None]"
        )
    tensors = list(images)
    if not tensors:
        raise ConfigError("images must hold at least one image, got an empty batch")
    for i, image in enumerate(tensors):
        if not isinstance(image, torch.Tensor):
            raise ConfigError(f"image {i} must be a tensor on a GPU, got {type(image).__name__}")
        if image.device.type != ("cpu" if interpreted() else "cuda"):
            raise ConfigError(f"image {i} must be on a GPU, but it is on {image.device}")
        if image.device != tensors[0].device:
            raise ConfigError(
                f"image {i} is on {image.device}, image 0 on {tensors[0].device}: a batch must "
                "be on one GPU"
            )
        if image.dtype != torch.uint8:
            raise ConfigError(
                f"image {i} must be uint8 (levels 0 to 255), got {image.dtype}; an image in 0-1 "
                "becomes one by (255 * image).round().to(torch.uint8)"
            )
        if image.ndim != 3 or image.shape[2] != 3:
            first = image.ndim == 3 and image.shape[0] == 3
            hint = "; it looks like channels first: use permute(0, 2, 3, 1).contiguous()"
            raise ConfigError(
                f"image {i} must be (H, W, 3) RGB, got the shape {tuple(image.shape)}"
                f"{hint if first else ''}"
            )
        if image.numel() == 0:
            raise ConfigError(f"image {i} has no pixels: its shape is {tuple(image.shape)}")
        if image.stride()[1:] != (3, 1) and image.shape[1] > 1:
            raise ConfigError(
                f"image {i}'s pixels don't lie one behind the other (its strides are "
                f"{image.stride()}): use .contiguous()"
            )
    return tensors


def image_table(images: Sequence[torch.Tensor]) -> np.ndarray:
    """``(N, 5)`` int64: where the images lie, as the kernels read it."""
    return np.array(
        [(image.data_ptr(), image.stride(0), *image.shape[:2], 0) for image in images], np.int64
    )


def packed_rows(params: AugmentParams) -> np.ndarray:
    """``(N, L)`` float32: the row of each image, the edge of its kernel, and the kernel."""
    arrays = compiled_arrays(params)
    kernels: list[np.ndarray] = arrays["kernel"]  # type: ignore[assignment]
    widest = params.kernel_size + 2  # with sharpness; the same for every batch of a policy
    rows = np.zeros((len(params), ROW + 1 + widest**2), np.float32)
    rows[:, :ROW] = arrays["row"]
    for row, kernel in zip(rows, kernels, strict=True):
        row[ROW] = len(kernel)
        row[ROW + 1 : ROW + 1 + kernel.size] = kernel.ravel()
    return rows
