"""A batch on a GPU is whole for as long as the GPU's queued work reads it."""

import numpy as np
import pytest
import torch

from fastleuk.augment import NONE, PAPER, augment_batch, draw
from fastleuk.config import LoaderConfig
from fastleuk.data.discover import discover
from fastleuk.loading import has_dali, make_loader
from fastleuk.loading.stream import EvalStream, TrainStream
from tests.makers.cells import SUBJECT_REGEX

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not has_dali(), reason="NVIDIA DALI is not installed"),
]
LAG = 400_000_000
"""Cycles that the GPU lags behind the host: a fifth of a second and more."""


@pytest.fixture(scope="module")
def manifest(cells):
    return discover(cells, subject_regex=SUBJECT_REGEX).manifest


def _loader(manifest, policy, applier="fused"):
    rows = np.arange(len(manifest))
    stream = (
        EvalStream(rows, batch_size=4)
        if policy == NONE
        else TrainStream(manifest.labels, rows, per_class="off", frozen=False, seed=3, batch_size=4)
    )
    return make_loader(
        manifest=manifest,
        stream=stream,
        config=LoaderConfig(loader="dali", size=224, workers=2),
        policy=policy,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.4),
        device=torch.device("cuda:0"),
        seed=3,
        applier=applier,
    )


@pytest.mark.parametrize("applier", ["fused", "compiled-host"])
@pytest.mark.parametrize("policy", [PAPER, NONE], ids=["augmented", "plain"])
def test_a_batch_stays_until_the_gpu_has_read_it(manifest, policy, applier):
    def copies(lag):
        kept = []
        with _loader(manifest, policy, applier) as loader:
            for batch in loader.epoch(1):
                if lag:
                    torch.cuda._sleep(LAG)
                kept.append((batch.images.clone(), batch.labels.clone(), batch.indices.clone()))
                del batch  # as the training loop drops it
                if not lag:
                    torch.cuda.synchronize()
        torch.cuda.synchronize()
        return kept

    right, late = copies(False), copies(True)
    assert len(right) == 16
    for batch, other in zip(right, late, strict=True):
        for tensor, delayed in zip(batch, other, strict=True):
            assert torch.equal(tensor, delayed)


def test_an_epoch_left_midway_leaves_its_last_batch_whole(manifest):
    def first(lag):
        with _loader(manifest, PAPER) as loader:
            batches = loader.epoch()
            batch = next(batches)
            if lag:
                torch.cuda._sleep(LAG)
            kept = batch.images.clone()
            del batch
            batches.close()
            list(loader.epoch(1))
        return kept

    assert torch.equal(first(False), first(True))


def test_a_tensor_of_augment_batch_is_not_overwritten_while_it_is_copied():
    images = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), dtype=np.uint8)
    )
    options = {"applier": "fused", "device": "gpu"}

    def results(lag):
        kept = []
        for number in range(6):
            params = draw(PAPER, seed=number, epoch=0, indices=np.arange(4), size=224)
            if lag:
                torch.cuda._sleep(LAG)
            kept.append(augment_batch(images, params, **options))
        torch.cuda.synchronize()
        return kept

    for right, late in zip(results(False), results(True), strict=True):
        assert right.is_cuda
        assert torch.equal(right, late)


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("applier", ["fused", "exact", "compiled-host"])
def test_a_tensor_is_augmented_on_the_gpu_that_it_is_on(applier, dtype, layout):
    last = torch.device("cuda", torch.cuda.device_count() - 1)
    images = torch.randint(256, (4, 48, 40, 3), dtype=torch.uint8)
    params = draw(PAPER, seed=1, epoch=0, indices=np.arange(4), size=32)
    options = {"applier": applier, "dtype": dtype, "layout": layout, "device": "gpu"}
    result = augment_batch(images.to(last), params, **options)
    assert result.device == last
    assert result.dtype == getattr(torch, dtype)
    torch.testing.assert_close(result.cpu(), augment_batch(images, params, **options).cpu())
