"""What is dropped is freed: pipelines, threads and images; and epochs don't get mixed up."""

import gc
import os
import sys
import time
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastleuk.augment import NONE, PAPER, augment_batch, draw
from fastleuk.augment.hold import Hold
from fastleuk.config import LoaderConfig
from fastleuk.data.discover import discover
from fastleuk.errors import FastleukError
from fastleuk.loading import make_loader
from fastleuk.loading.stream import TrainStream
from tests.makers.augment_images import COMPILED
from tests.makers.cells import SUBJECT_REGEX
from tests.makers.skips import needs_dali

APPLIERS = ["fused", COMPILED]
QUICK_APPLIERS = [pytest.param("fused", marks=pytest.mark.slow), COMPILED]


@pytest.fixture(scope="module")
def manifest(cells):
    return discover(cells, subject_regex=SUBJECT_REGEX).manifest


def _loader(manifest, applier="fused", name="dali", policy=PAPER, **options):
    rows = np.arange(len(manifest))
    stream = TrainStream(manifest.labels, rows, per_class="off", frozen=False, seed=3, batch_size=8)
    return make_loader(
        manifest=manifest,
        stream=stream,
        config=LoaderConfig(loader=name, size=32, workers=2),
        policy=policy,
        applier=applier,
        **{"mean": (0.5,) * 3, "std": (0.2,) * 3, "device": torch.device("cpu")} | options,
    )


def _threads():
    return len(os.listdir("/proc/self/task"))


def _settled(number):
    """Whether the threads come back to ``number``: a thread's end takes a moment."""
    for _ in range(100):
        gc.collect()
        if _threads() <= number:
            return True
        time.sleep(0.05)
    return False


def _sums(batches):
    return [(batch.indices.tolist(), float(batch.images.double().sum())) for batch in batches]


# Lifetimes


@needs_dali
@pytest.mark.parametrize("applier", QUICK_APPLIERS)
@pytest.mark.parametrize("left", ["whole", "midway", "suspended"])
def test_loaders_that_nobody_closes_are_freed_with_their_threads(manifest, applier, left):
    def use():
        loader = _loader(manifest, applier)
        batches = loader.epoch()
        if left == "whole":
            list(batches)
        else:
            next(batches)
        running = next(iter(loader._running), loader._spare)
        return weakref.ref(running.pipeline), batches if left == "suspended" else None

    use()  # what a first use starts once and for all
    gc.collect()
    before = _threads()
    used = [use() for _ in range(3)]
    pipelines = [pipeline for pipeline, _ in used]
    if left == "suspended":
        assert all(pipeline() is not None for pipeline in pipelines)
    del used
    assert _settled(before)
    assert [pipeline() for pipeline in pipelines] == [None] * 3


@needs_dali
@pytest.mark.parametrize("applier", QUICK_APPLIERS)
def test_array_pipelines_are_freed_when_others_take_their_place(applier):
    from fastleuk.augment.dali.pipeline import array_pipeline

    def use(size):
        params = draw(PAPER, seed=1, epoch=0, indices=[0], size=size)
        augment_batch(np.zeros((1, 8, 8, 3), np.uint8), params, applier=applier)

    use(8)
    array_pipeline.cache_clear()
    gc.collect()
    before = _threads()
    for size in range(8, 16):
        use(size)
    full = _threads()
    for size in range(16, 20):
        use(size)
    assert _settled(full)
    array_pipeline.cache_clear()
    assert _settled(before)


@needs_dali
@pytest.mark.parametrize("applier", ["fused", "exact", COMPILED])
def test_no_image_is_kept_after_a_call(applier):
    class Image(np.ndarray):
        pass  # plain arrays have no weak references

    params = draw(PAPER, seed=1, epoch=0, indices=[0], size=16)
    image = np.zeros((8, 8, 3), np.uint8)
    owner = image.view(Image)
    gone = weakref.ref(owner)
    augment_batch([owner], params, applier=applier)
    references = sys.getrefcount(image)
    del owner
    gc.collect()
    assert gone() is None
    assert sys.getrefcount(image) <= references
    from fastleuk.augment.dali.pipeline import array_pipeline

    options = {"applier": applier, "size": 16, "interpolation": "bilinear"}
    pipeline = array_pipeline(1, "cpu", **options)
    pipeline([image], params)
    assert sys.getrefcount(image) == 2


@needs_dali
def test_a_pipeline_has_no_more_threads_than_cores_it_may_use(monkeypatch):
    from fastleuk.augment.dali import pipeline as dali_pipeline

    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7}, raising=False)
    options = {"applier": "fused", "size": 16, "interpolation": "bilinear"}
    pipeline = dali_pipeline.ArrayPipeline(1, "cpu", **options)
    assert pipeline._pipeline.num_threads == 3


# Epochs


@needs_dali
@pytest.mark.parametrize("name", ["dali", "torchvision"])
def test_two_epochs_at_once_are_as_one_after_the_other(manifest, name):
    with _loader(manifest, name=name, policy=NONE) as loader:
        loader._workers = 1 if name == "dali" else 0
        first, second = (_sums(loader.epoch(number)) for number in (0, 1))
        at_once = zip(loader.epoch(0), loader.epoch(1, 2), strict=False)
        pairs = [(_sums([left])[0], _sums([right])[0]) for left, right in at_once]
        assert pairs == list(zip(first, second[2:], strict=False))
        assert _sums(loader.epoch(0)) == first


@needs_dali
@pytest.mark.parametrize("name", ["dali", "torchvision"])
def test_a_loader_closes_itself_and_its_epochs(manifest, name):
    with _loader(manifest, name=name) as loader:
        loader._workers = 1 if name == "dali" else 0
        batches = loader.epoch()
        next(batches)
    with pytest.raises(FastleukError, match="closed in the middle of an epoch"):
        next(batches)
    loader.close()
    loader.close()
    assert len(list(loader.epoch())) == len(loader)
    loader.close()


@needs_dali
def test_an_epoch_after_another_has_the_same_pipeline(manifest):
    with _loader(manifest) as loader:
        list(loader.epoch(0))
        kept = loader._spare
        list(loader.epoch(1))
        assert loader._spare is kept


# NaN


# What a GPU still reads


class Work:
    """An event of a stream that runs when it is told to."""

    def __init__(self, stream, number):
        self.stream, self.number = stream, number

    def query(self):
        return self.stream.done >= self.number

    def synchronize(self):
        self.stream.done = max(self.stream.done, self.number)


class Stream:
    def __init__(self):
        self.done = self.queued = 0

    def record(self):
        self.queued += 1
        return Work(self, self.queued)


@given(limit=st.integers(1, 5), steps=st.lists(st.integers(0, 3), max_size=40))
def test_nothing_is_let_go_before_its_event_has_passed(limit, steps):
    stream, freed = Stream(), []

    class Tensors:
        def __init__(self, number):
            self.number = number

        def __del__(self):
            freed.append((self.number, stream.done >= self.number))

    hold = Hold(limit, record=stream.record)
    for number, progress in enumerate(steps, 1):
        hold.add(Tensors(number))
        assert len(hold) <= limit
        assert len(hold) + len(freed) == number
        stream.done = min(stream.queued, stream.done + progress)
    hold.close()
    assert len(hold) == 0
    assert freed == [(number, True) for number in range(1, len(steps) + 1)]
