"""The loader of a GPU on a GPU: torch, Triton and numba are all that most of it needs."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fastleuk.augment import PAPER
from fastleuk.loading import has_dali, kernel_loader
from tests.loading.test_gpu_sources import (
    MEAN,
    SIZE,
    STD,
    cache_of,
    decoded,
    expected,
    photo,
    train_stream,
    write_set,
)
from tests.makers.augment_images import needs_numba

pytestmark = [pytest.mark.gpu, needs_numba]
needs_dali = pytest.mark.skipif(not has_dali(), reason="NVIDIA DALI is not installed")
LAG = 100_000_000


def loader_of(manifest, stream, pixels=None, decoder="torchvision", dtype="float32"):
    common = {
        "manifest": manifest, "stream": stream, "size": SIZE, "workers": 2, "prefetch": 2,
        "seed": 3, "mean": MEAN, "std": STD, "device": torch.device("cuda", 0),
    }  # fmt: skip
    return kernel_loader(decoder, PAPER, pixels, common, dtype)


def check(loader, wanted, lag):
    kept = []
    with loader:
        for batch in loader.epoch(1):
            if lag:
                torch.cuda._sleep(LAG)
            kept.append((batch.images.clone(), batch.labels.clone(), batch.indices.clone()))
            del batch
        torch.cuda.synchronize()
    assert len(kept) == len(wanted) > 1
    for (found, labels, indices), (images, *numbers) in zip(kept, wanted, strict=True):
        assert labels.tolist() == numbers[0].tolist()
        assert indices.tolist() == numbers[1].tolist()
        levels = 255 * np.array(STD)[:, None, None] * np.abs(found.cpu().numpy() - images)
        assert levels.mean() < 0.1
        assert (levels > 1.1).mean() < 0.005


@pytest.mark.parametrize("lag", [False, True])
@pytest.mark.parametrize("source", ["resident", "mapped", "own sizes"])
def test_batches_from_a_cache(tmp_path, source, lag):
    manifest = write_set(tmp_path, ("bmp",))
    images = decoded(manifest)
    if source != "own sizes":
        images = [photo(SIZE, SIZE) // (1 + row % 3) for row in range(len(manifest))]
    pixels = cache_of(images, resident=source == "resident")
    if pixels.resident is not None:
        pixels = SimpleNamespace(cache=pixels.cache, resident=pixels.resident.cuda())
    stream = train_stream(manifest)
    check(loader_of(manifest, stream, pixels), expected(manifest, stream, 1, images), lag)


@pytest.mark.parametrize("lag", [False, True])
def test_batches_from_plain_bmps(tmp_path, lag):
    manifest = write_set(tmp_path, ("bmp", "bmp", "png"))
    stream = train_stream(manifest)
    check(loader_of(manifest, stream), expected(manifest, stream, 1, decoded(manifest)), lag)


@needs_dali
@pytest.mark.parametrize("lag", [False, True])
def test_batches_that_dali_has_decoded(tmp_path, lag):
    manifest = write_set(tmp_path, ("png",))
    stream = train_stream(manifest)
    loader = loader_of(manifest, stream, decoder="dali")
    check(loader, expected(manifest, stream, 1, decoded(manifest)), lag)
