"""What augments on a GPU without DALI: fastleuk's Triton kernels, and peers from GPU memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from fastleuk.augment import PAPER
from fastleuk.bench.contenders.chains import RESIDENT, Batches
from fastleuk.bench.contenders.stream import MEAN, STD, EndlessStream, Feed
from fastleuk.bench.spec import BenchSpec
from fastleuk.config import LoaderConfig
from fastleuk.data.dataset import DataSet
from fastleuk.errors import ConfigError
from fastleuk.loading import kernel_loader, resolve_applier, resolve_loader
from fastleuk.loading.prepare import Pixels, open_pixels, to_gpu
from fastleuk.models.device import choose_precision
from fastleuk.training.applier import image_dtype


def loader_config(spec: BenchSpec) -> LoaderConfig:
    """Return what reads and decodes for ``spec``: DALI, or torchvision where it is missing."""
    return resolve_loader(
        LoaderConfig(
            size=spec.size,
            batch_size=spec.batch_size,
            workers=spec.workers,
            cache=str(Path(spec.cache)) if spec.cached else "off",
        )
    )


def pixels_of(spec: BenchSpec, dataset: DataSet) -> Pixels | None:
    """Return the decoded cache where ``spec`` reads it, in GPU memory where it reads it there.

    Raises:
        ConfigError: it doesn't fit into GPU memory.
    """
    device = torch.device(spec.device)
    pixels = open_pixels(dataset, loader_config(spec), device, report=lambda _: None)
    if pixels is None or not spec.resident:
        return pixels
    told: list[str] = []
    resident = to_gpu(pixels.cache, device, told.append)
    if resident is None:
        raise ConfigError(f"needs the decoded cache in GPU memory. {' '.join(told)}")
    return Pixels(pixels.cache, resident)


def open_kernels(spec: BenchSpec, dataset: DataSet) -> tuple[Feed, Callable[[], None]]:
    """Open the loader of the Triton kernels; with ``--amp`` its images are the network's dtype.

    Raises:
        FastleukError: the kernels fail their self-test on this GPU.
    """
    device, config = torch.device(spec.device), loader_config(spec)
    resolve_applier("compiled", PAPER, device)
    loader = kernel_loader(
        config.loader,
        PAPER,
        pixels_of(spec, dataset),
        {
            "manifest": dataset.manifest,
            "stream": EndlessStream(dataset.manifest.labelled, batch_size=spec.batch_size),
            "size": spec.size,
            "workers": config.workers,
            "prefetch": config.prefetch,
            "seed": 0,
            "mean": MEAN,
            "std": STD,
            "device": device,
        },
        image_dtype("compiled", choose_precision(device, spec.amp)),
    )
    return ((batch.images, batch.labels) for batch in loader.epoch()), loader.close


def open_resident(spec: BenchSpec, dataset: DataSet) -> tuple[Feed, Callable[[], None]]:
    """Open a peer's chain over batches that are taken from GPU memory."""
    pixels = pixels_of(spec, dataset)
    assert pixels is not None
    assert pixels.resident is not None
    chain = RESIDENT[spec.method](spec.size, torch.device(spec.device))
    labels = np.asarray(dataset.manifest.labels, np.int64)
    stream = EndlessStream(dataset.manifest.labelled, batch_size=spec.batch_size)
    return resident_feed(pixels.resident, labels, stream, chain), lambda: None


def resident_feed(
    pixels: torch.Tensor, labels: np.ndarray, stream: EndlessStream, chain: Batches
) -> Feed:
    """Yield batches of uint8 ``(N, H, W, 3)`` pixels through a chain, where the pixels are."""
    there = torch.from_numpy(labels).to(pixels.device)
    for plan in stream.batches():
        rows = torch.from_numpy(plan.indices).to(pixels.device, non_blocking=True)
        images = pixels[rows].permute(0, 3, 1, 2).contiguous()
        yield chain(images), there[rows]
