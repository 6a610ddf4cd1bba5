"""Bytes that the GPU's kernels move for an image, and how fast a GPU moves bytes at all.

The kernels read each source pixel, write the warped image, read it for the filter, and write the
result. Counted on paper, as if every byte went to memory once: the mean for contrast reads pixels
that the warp reads next, and a small batch's warped images may stay in the GPU's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fastleuk.augment import PAPER, draw
from fastleuk.augment.gpu.kernels import DTYPES, canvas_dtype
from fastleuk.augment.gpu.packing import MOMENTS, Images, Packed, packed_rows
from fastleuk.bench.contenders.on_gpu import loader_config, pixels_of
from fastleuk.bench.measure.marks import new_mark
from fastleuk.bench.spec import BenchSpec
from fastleuk.data.dataset import DataSet
from fastleuk.loading.gpu.sources import Files, Mapped, mostly_bmp

COPIED, COPIES = 256 << 20, 20
"""Bytes of a buffer that is copied to measure the bandwidth, and how often."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes an image, a batch's mean.

    Attributes:
        moved: Read and written in GPU memory.
        uploaded: From the host to the GPU: parameters, and pixels that aren't there.
    """

    moved: float
    uploaded: float


def kernel_traffic(images: Images, size: int, dtype: torch.dtype) -> Traffic:
    """Count the bytes of a batch of the paper's policy.

    Args:
        images: Where they are.
        size: Edge of the output.
        dtype: Of the output.
    """
    count = len(images)
    rows = packed_rows(draw(PAPER, seed=0, epoch=0, indices=np.arange(count), size=size))
    numbers = [np.zeros(2 * count, np.int64)]  # labels and indices
    moments = np.zeros(MOMENTS, np.float32)
    layout = Packed(images, rows, size=size, moments=moments, numbers=numbers).layout
    values = 3 * size**2
    read = 3 * int((images.table[:, 2] * images.table[:, 3]).sum())
    resized = 2 * values * layout.resized  # written, and read in the source's stead
    canvas = 2 * values * canvas_dtype(dtype).itemsize
    uploaded = layout.images_up.stop  # which is written to GPU memory, too
    moved = uploaded + read + resized + count * (canvas + values * dtype.itemsize)
    return Traffic(moved / count, uploaded / count)


def method_traffic(spec: BenchSpec, dataset: DataSet, dtype: str) -> Traffic | None:
    """Return what a batch of a method costs; None where it can't be told: others' kernels.

    Args:
        spec: The method.
        dataset: What it reads.
        dtype: Of its batches.
    """
    if not spec.by_kernels:
        return None
    rows = np.resize(dataset.manifest.labelled, spec.batch_size)
    if spec.resident:
        table = np.zeros((len(rows), 5), np.int64)
        table[:, 1:4] = 3 * spec.size, spec.size, spec.size
        images = Images(table)
    elif spec.cached:
        pixels = pixels_of(spec, dataset)
        assert pixels is not None
        images = Mapped(pixels.cache).images(rows, map)
    elif loader_config(spec).loader == "dali" and not mostly_bmp(dataset.manifest):
        return None  # DALI uploads and decodes
    else:
        images = Files(dataset.manifest).images(rows, map)
    return kernel_traffic(images, spec.size, DTYPES[dtype])


def measure_bandwidth(
    device: torch.device, *, nbytes: int = COPIED, copies: int = COPIES
) -> dict[str, float]:
    """Measure copies within the device's memory (reads and writes) and uploads, in GB/s."""
    on_gpu = device.type == "cuda"
    one, other = (torch.zeros(nbytes, dtype=torch.uint8, device=device) for _ in range(2))
    pinned = torch.zeros(nbytes, dtype=torch.uint8, pin_memory=on_gpu)

    def seconds(copy: Callable[[], Any]) -> float:
        copy()
        begin, end = (new_mark(device)() for _ in range(2))
        begin.record()
        for _ in range(copies):
            copy()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3

    copied = seconds(lambda: other.copy_(one))
    uploaded = seconds(lambda: one.copy_(pinned, non_blocking=True))
    return {
        "copy_gb_per_s": 2 * nbytes * copies / copied / 1e9,
        "upload_gb_per_s": nbytes * copies / uploaded / 1e9,
    }


def with_traffic(
    row: dict[str, Any], traffic: Traffic | None, bandwidth: dict[str, float] | None
) -> dict[str, Any]:
    """Return a result with its bytes an image and its shares of the measured bandwidth."""
    found: dict[str, float | None] = dict.fromkeys(
        ("bytes_moved", "bytes_uploaded", "share_of_copy", "share_of_upload")
    )
    if traffic is not None:
        found["bytes_moved"], found["bytes_uploaded"] = traffic.moved, traffic.uploaded
        if bandwidth is not None:
            rate = row["images_per_s"]["median"] / 1e9
            found["share_of_copy"] = rate * traffic.moved / bandwidth["copy_gb_per_s"]
            found["share_of_upload"] = rate * traffic.uploaded / bandwidth["upload_gb_per_s"]
    return row | found
