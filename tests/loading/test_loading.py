"""Both loaders: the same samples, exactly once, from any step, with the same pixels."""

import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastleuk.augment import NONE, PAPER
from fastleuk.config import LoaderConfig
from fastleuk.data.discover import discover
from fastleuk.errors import ConfigError, DataError, MissingDependencyError
from fastleuk.loading import load_policy, make_loader, resolve_loader
from fastleuk.loading.stream import EvalStream, TrainStream
from tests.makers.cells import SUBJECT_REGEX
from tests.makers.skips import needs_dali

LOADERS = [pytest.param("dali", marks=needs_dali), "torchvision"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def manifest(cells):
    return discover(cells, subject_regex=SUBJECT_REGEX).manifest


def _train_stream(manifest, rows=None, **options):
    rows = np.arange(len(manifest)) if rows is None else rows
    options = {"per_class": "auto", "frozen": False, "seed": 3, "batch_size": 8} | options
    return TrainStream(manifest.labels[rows], rows, **options)


def _loader(name, manifest, stream, policy=PAPER, workers=2, size=64):
    config = LoaderConfig(loader=name, size=size, workers=workers)
    return make_loader(
        manifest=manifest,
        stream=stream,
        config=config,
        policy=policy,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.4),
        device=CPU,
        seed=3,
    )


def _images(loader, *args):
    return torch.cat([batch.images.clone() for batch in loader.epoch(*args)])


# Orders


@given(count=st.integers(1, 60), batch=st.integers(1, 70))
def test_evaluation_sees_every_sample_exactly_once(count, batch):
    samples = np.arange(100, 100 + count)
    stream = EvalStream(samples, batch_size=batch)
    plans = list(stream.batches())
    assert len(plans) == len(stream)
    assert np.array_equal(np.concatenate([plan.indices for plan in plans]), samples)
    assert not any(plan.augmented.any() for plan in plans)


def test_training_rows_are_those_of_the_split_and_follow_the_seed(manifest):
    rows = np.arange(5, 60)  # unbalanced: 27 of one class, 28 of the other
    stream = _train_stream(manifest, rows)
    plans = list(stream.batches(0))
    seen = np.concatenate([plan.indices for plan in plans])
    assert set(seen) <= set(rows)
    assert len(seen) == len(stream) * 8
    again = np.concatenate([plan.indices for plan in _train_stream(manifest, rows).batches(0)])
    other = np.concatenate([plan.indices for plan in stream.batches(1)])
    assert np.array_equal(seen, again)
    assert not np.array_equal(seen, other)


def test_a_batch_larger_than_an_epoch_is_refused(manifest):
    with pytest.raises(ConfigError, match="--batch-size 64"):
        _train_stream(manifest, batch_size=65)


# Loaders


@pytest.mark.parametrize("name", LOADERS)
def test_batches_are_channels_last_normalised_and_labelled(name, manifest):
    stream = EvalStream(np.arange(len(manifest)), batch_size=24)
    loader = _loader(name, manifest, stream, NONE)
    batches = list(loader.epoch())
    assert [len(batch.labels) for batch in batches] == [24, 24, 16]
    rows = torch.cat([batch.indices for batch in batches]).numpy()
    assert np.array_equal(rows, np.arange(len(manifest)))
    labels = torch.cat([batch.labels for batch in batches]).numpy()
    assert np.array_equal(labels, manifest.labels)
    images = batches[0].images
    assert images.shape == (24, 3, 64, 64)
    assert images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    corner = torch.tensor([-0.5 / 0.2, -0.4 / 0.3, -0.3 / 0.4])  # black, normalised
    assert torch.allclose(images[0, :, 0, 0], corner, atol=1e-5)
    loader.close()


@needs_dali
def test_both_loaders_give_the_same_training_epoch(manifest):
    stream = _train_stream(manifest, np.arange(5, 60), batch_size=11)
    dali, plain = (_loader(name, manifest, stream, workers=0 if name[0] == "t" else 2)
                   for name in ("dali", "torchvision"))  # fmt: skip
    for left, right in zip(dali.epoch(1), plain.epoch(1), strict=True):
        assert torch.equal(left.indices, right.indices)
        assert torch.equal(left.labels, right.labels)
        levels = (left.images - right.images).abs() * torch.tensor([0.2, 0.3, 0.4])[:, None, None]
        # The appliers' own tests hold each step to its tolerance; here: the same augmentation.
        assert float(levels.mean()) < 1 / 255
    dali.close()


@pytest.mark.parametrize("name", LOADERS)
def test_any_step_can_be_started_from(name, manifest):
    loader = _loader(name, manifest, _train_stream(manifest), workers=1)
    whole = _images(loader, 2)
    assert torch.equal(_images(loader, 2, 3), whole[3 * 8 :])
    assert torch.equal(_images(loader, 2), whole)
    loader.close()


@needs_dali
def test_batches_outlive_those_after_them(manifest):
    loader = _loader("dali", manifest, _train_stream(manifest))
    kept = [batch.images for batch in loader.epoch(0)]
    assert torch.equal(torch.cat(kept), _images(loader, 0))


@needs_dali
def test_an_epoch_left_midway_leaves_nothing_behind(manifest):
    loader = _loader("dali", manifest, _train_stream(manifest))
    whole = _images(loader, 1)
    next(iter(loader.epoch(0)))
    assert torch.equal(_images(loader, 1), whole)


@needs_dali
@settings(max_examples=6, deadline=None)
@given(batch=st.integers(1, 20), workers=st.integers(1, 3))
def test_samples_do_not_depend_on_batch_size_or_threads(manifest, batch, workers):
    rows = np.arange(16)
    images = _images(_loader("dali", manifest, EvalStream(rows, batch_size=16), NONE))
    loader = _loader("dali", manifest, EvalStream(rows, batch_size=batch), NONE, workers)
    assert torch.equal(_images(loader), images)


@needs_dali
def test_originals_of_a_balanced_epoch_are_the_plain_resize(manifest):
    rows = np.arange(10, 64)  # 22 of one class and 32 of the other: 10 are augmented
    stream = _train_stream(manifest, rows, batch_size=64)
    plan = next(stream.batches(0))
    images = _images(_loader("dali", manifest, stream), 0)
    plain = _images(_loader("dali", manifest, EvalStream(plan.indices, batch_size=64), NONE))
    same = (images == plain).flatten(1).all(1).numpy()
    assert np.array_equal(same, ~plan.augmented)
    assert plan.augmented.sum() == 10


@needs_dali
def test_frozen_augmentation_repeats_and_the_default_does_not(manifest):
    rows = np.arange(40, 64)
    for frozen in (True, False):
        options = {"per_class": 30, "frozen": frozen, "batch_size": 30}
        stream = _train_stream(manifest, rows, **options)
        loader = _loader("dali", manifest, stream)
        sums = [_images(loader, epoch).double().flatten(1).sum(1).sort().values for epoch in (0, 1)]
        assert torch.equal(*sums) is frozen


@pytest.mark.parametrize("name", LOADERS)
def test_a_centre_crop_comes_before_the_resize(name, tmp_path):
    from dataclasses import replace

    from tests.makers.cells import write_cells

    manifest = discover(write_cells(tmp_path / "set", subjects=2, per_subject=1)).manifest
    crops = np.array([0, 48, 0, 48])
    rows = np.arange(4)
    stream = EvalStream(rows, batch_size=4)
    whole = _images(_loader(name, manifest, stream, NONE, size=48))
    cropped = _images(_loader(name, replace(manifest, crops=crops), stream, NONE, size=48))
    assert torch.equal(cropped[0], whole[0])
    from PIL import Image

    pixels = np.asarray(Image.open(manifest.file(1)))[12:60, 12:60] / 255
    expected = (pixels - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]
    assert np.allclose(cropped[1].permute(1, 2, 0).numpy(), expected, atol=1e-4)


@needs_dali
def test_a_file_that_vanishes_is_named(tmp_path):
    from tests.makers.cells import write_cells

    manifest = discover(write_cells(tmp_path / "set", subjects=3, per_subject=1)).manifest
    loader = _loader("dali", manifest, EvalStream(np.arange(6), batch_size=2), NONE)
    manifest.file(4).write_bytes(b"BM" + b"\0" * 50)
    with pytest.raises(DataError, match=manifest.file(4).name):
        list(loader.epoch())
    shutil.rmtree(tmp_path / "set")
    with pytest.raises(DataError, match=manifest.file(0).name):
        list(loader.epoch())


# Names


def test_asking_for_dali_where_there_is_none_says_why(monkeypatch):
    monkeypatch.setattr("fastleuk.loading.has_dali", lambda: False)
    assert resolve_loader(LoaderConfig()).loader == "torchvision"
    with pytest.raises(MissingDependencyError, match="x86-64 and aarch64"):
        resolve_loader(LoaderConfig(loader="dali"))


def test_policies_go_by_name_or_file(tmp_path):
    assert load_policy("paper") == PAPER
    file = tmp_path / "mine.toml"
    file.write_text("p_hflip = 0.25\n")
    assert load_policy(str(file)).p_hflip == 0.25
    with pytest.raises(ConfigError, match="Did you mean paper"):
        load_policy("papr")
    with pytest.raises(ConfigError, match=r"missing\.toml"):
        load_policy(str(tmp_path / "missing.toml"))


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_what_vanishes_under_torchvisions_workers_is_one_clear_error(workers, tmp_path):
    from tests.makers.cells import write_cells

    manifest = discover(write_cells(tmp_path / "set", subjects=3, per_subject=1)).manifest
    stream = EvalStream(np.arange(6), batch_size=2)
    loader = _loader("torchvision", manifest, stream, NONE, workers=workers)
    shutil.rmtree(tmp_path / "set")
    with pytest.raises(DataError, match=manifest.file(0).name) as caught:
        list(loader.epoch())
    assert "Traceback" not in str(caught.value)
    assert "resume the run" in str(caught.value)


def test_a_cache_that_vanishes_under_torchvisions_workers_is_one_clear_error(cells, tmp_path):
    import pickle

    from fastleuk.data.dataset import load_dataset
    from fastleuk.loading.prepare import Pixels, build_cache

    dataset = load_dataset(cells, subject_regex=SUBJECT_REGEX)
    cache = build_cache(dataset, tmp_path / "cache", size=32, backend="torchvision", workers=1)
    unopened = pickle.loads(pickle.dumps(cache))  # as a worker gets it
    shutil.rmtree(unopened.folder)
    loader = make_loader(
        manifest=dataset.manifest,
        stream=EvalStream(np.arange(6), batch_size=2),
        config=LoaderConfig(loader="torchvision", size=32, workers=0),
        policy=NONE,
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
        device=CPU,
        pixels=Pixels(unopened),
    )
    with pytest.raises(DataError, match=r"the decoded cache.*can't be read any more.*Resume"):
        list(loader.epoch())
