"""The ways of loading that are compared: each an endless iterator of batches on the device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from fastleuk.augment import PAPER
from fastleuk.bench.contenders.stream import MEAN, STD, EndlessStream, Feed
from fastleuk.bench.spec import BenchSpec
from fastleuk.config import DataConfig, LoaderConfig
from fastleuk.data.dataset import DataSet
from fastleuk.data.from_config import open_dataset


def open_feed(spec: BenchSpec) -> tuple[Feed, Callable[[], None]]:
    """Open what ``spec.method`` names; return its batches and what closes it."""
    data = DataConfig(data=spec.data, subject_regex=spec.subject_regex, skip_bad=True)
    dataset = open_dataset(data, report=lambda _: None)
    if spec.method.startswith("dali"):
        return _dali(spec, dataset)
    if spec.by_kernels or spec.resident:
        from fastleuk.bench.contenders.on_gpu import open_kernels, open_resident

        return (open_kernels if spec.by_kernels else open_resident)(spec, dataset)
    from fastleuk.bench.contenders.dataloaders import open_manifest

    return open_manifest(spec, dataset.manifest)


def _dali(spec: BenchSpec, dataset: DataSet) -> tuple[Feed, Callable[[], None]]:
    from fastleuk.loading import make_loader
    from fastleuk.loading.prepare import open_pixels

    config = LoaderConfig(
        loader="dali",
        size=spec.size,
        batch_size=spec.batch_size,
        workers=spec.workers,
        cache=str(Path(spec.cache)) if spec.cached else "off",
    )
    device = torch.device(spec.device)
    loader = make_loader(
        manifest=dataset.manifest,
        stream=EndlessStream(dataset.manifest.labelled, batch_size=spec.batch_size),
        config=config,
        policy=PAPER,
        mean=MEAN,
        std=STD,
        device=device,
        applier=spec.applier,
        pixels=open_pixels(dataset, config, device, report=lambda _: None),
    )
    return ((batch.images, batch.labels) for batch in loader.epoch()), loader.close
