"""Batches from the decoded cache are those from the files."""

import numpy as np
import pytest
import torch

from fastleuk.augment import NONE, PAPER
from fastleuk.data.decoded.read import (
    SOURCE,
)
from fastleuk.loading import make_loader
from fastleuk.loading.prepare import open_pixels
from fastleuk.loading.stream import EvalStream, TrainStream
from tests.makers.decoded_caches import CPU, SIZE, build, loader_config
from tests.makers.skips import needs_dali

LOADERS = [pytest.param("dali", marks=needs_dali), "torchvision"]


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    return tmp_path_factory.mktemp("caches")


def _loader(dataset, stream, policy, pixels, *, loader="dali", applier="auto", device=CPU):
    return make_loader(
        manifest=dataset.manifest,
        stream=stream,
        config=loader_config(loader, workers=2 if loader == "dali" else 0),
        policy=policy,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.4),
        device=device,
        seed=3,
        applier=applier,
        pixels=pixels,
    )


def _images(dataset, loader, pixels, policy, stream, applier="auto"):
    made = _loader(dataset, stream, policy, pixels, loader=loader, applier=applier)
    batches = [(batch.images.clone(), batch.indices.clone()) for batch in made.epoch(1)]
    made.close()
    return [torch.cat(parts) for parts in zip(*batches, strict=True)]


@pytest.mark.parametrize("size", [SIZE, SOURCE])
@pytest.mark.parametrize("loader", LOADERS)
def test_batches_are_equal_with_and_without_the_cache(loader, size, dataset, caches):
    """Bit for bit, by every applier and from a cache of either size."""
    cache = build(dataset, caches / f"{loader}{size}", loader, size)
    pixels = open_pixels(dataset, loader_config(loader, cache.folder), CPU)
    assert pixels.cache.size == size
    rows = np.arange(5, 60)
    train = TrainStream(
        dataset.manifest.labels[rows], rows, per_class=40, frozen=False, seed=3, batch_size=9
    )
    for policy, stream, applier in (
        (NONE, EvalStream(rows[::-1], batch_size=16), "auto"),
        (PAPER, train, "exact"),
        (PAPER, train, "fused"),
        (PAPER, train, "auto"),
        (NONE.replace(p_hflip=1.0), train, "auto"),
    ):
        cached = _images(dataset, loader, pixels, policy, stream, applier)
        files = _images(dataset, loader, None, policy, stream, applier)
        assert torch.equal(cached[1], files[1])
        assert torch.equal(cached[0], files[0]), applier


@needs_dali
@pytest.mark.parametrize("where", ["mapped", "resident"])
def test_the_gpu_graph_of_a_cache_uploads_once_and_decodes_nothing(where, dataset, tmp_path):
    """Traced without CUDA; a CPU tensor stands for the one in GPU memory."""
    from fastleuk.loading.prepare import Pixels

    cache = build(dataset, tmp_path, "dali")
    resident = torch.zeros(1) if where == "resident" else None
    made = _loader(
        dataset,
        EvalStream(np.arange(64), batch_size=16),
        PAPER,
        Pixels(cache, resident),
        applier="fused",
        device=torch.device("cuda", 0),
    )
    pipeline = made.build()
    pipeline._build_graph()
    placed = [(op._op.schema.Name(), str(op.spec.OutputDevice(0)).lower()) for op in pipeline._ops]
    names = [name for name, _ in placed]
    assert not [name for name in names if "ecode" in name or name == "Resize"]
    sources = [device for name, device in placed if name == "ExternalSource"]
    assert ["gpu" in device for device in sources].count(True) == (where == "resident")
    assert [node.device for node in pipeline._graph_outputs] == ["gpu"] * 3


@pytest.mark.gpu
@pytest.mark.parametrize("cache", ["auto", "gpu"])
def test_batches_from_the_cache_on_the_gpu_equal_those_from_the_files(
    cache, dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr("fastleuk.loading.prepare.decoded_root", lambda: tmp_path)
    device, images = torch.device("cuda", 0), []
    pixels = open_pixels(dataset, loader_config("dali", cache), device)
    assert (pixels.resident is not None) == (cache == "gpu")
    for given in (pixels, None):
        made = _loader(
            dataset, EvalStream(np.arange(64), batch_size=16), NONE, given, device=device
        )
        images.append(torch.cat([batch.images.clone() for batch in made.epoch()]))
        made.close()
    # The cache was resized on the CPU, the files on the GPU: at most a level apart (DESIGN 8.9).
    levels = 255 * torch.tensor([0.2, 0.3, 0.4], device=device)[:, None, None]
    assert float(((images[0] - images[1]) * levels).abs().max()) < 1.01
