"""Inside anybody's pipeline: determinism, checkpoints, epochs."""

import importlib.util

import numpy as np
import pytest
from nvidia.dali import fn, pipeline_def, types
from nvidia.dali.plugin.base_iterator import LastBatchPolicy
from PIL import Image

from fastleuk.augment import (
    PAPER,
    augment,
    augment_batch,
    draw,
)
from fastleuk.errors import ConfigError
from tests.makers.augment_images import COMPILED

RNG = np.random.default_rng(0)
IMAGES = list(RNG.integers(0, 256, (6, 40, 60, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory):
    root = tmp_path_factory.mktemp("jpegs")
    for i, image in enumerate(IMAGES):
        folder = root / f"class_{i % 2}"
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).resize((80, 50)).save(folder / f"{i}.jpg")
    return root


@pipeline_def(num_threads=2, device_id=None)
def foreign(root, applier="fused", seed=7, shard_id=0, layout="HWC", std=(1, 1, 1)):
    """A pipeline as a stranger would write it."""
    encoded, labels = fn.readers.file(file_root=str(root), name="reader", pad_last_batch=True)
    images = fn.decoders.image(encoded, output_type=types.RGB)
    images = augment(
        images,
        policy=PAPER,
        size=32,
        seed=seed,
        applier=applier,
        shard_id=shard_id,
        layout=layout,
        mean=(0, 0, 0),
        std=std,
    )
    return images, labels


def batches(pipeline, count):
    pipeline.build()
    return [np.array(pipeline.run()[0].as_tensor()) for _ in range(count)]


@pytest.mark.parametrize(
    ("numba", "interpolation", "taken"),
    [
        pytest.param(True, "bilinear", "compiled", marks=COMPILED.marks),
        (False, "bilinear", "fused"),
        (True, "nearest", "exact"),
    ],
)
def test_auto_is_the_fastest_that_can_be_had(monkeypatch, numba, interpolation, taken):
    found = importlib.util.find_spec
    there = (lambda name: found(name)) if numba else lambda name: name != "numba" and found(name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: there(name) or None)
    policy = PAPER.replace(interpolation=interpolation)

    @pipeline_def(batch_size=6, num_threads=2, device_id=None)
    def define(applier):
        images = fn.external_source(lambda: IMAGES, batch=True, layout="HWC")
        return augment(images, policy=policy, size=32, seed=7, applier=applier)

    (auto,), (named,) = (batches(define(applier), 1) for applier in ("auto", taken))
    np.testing.assert_array_equal(auto, named)
    if taken == "compiled":
        assert not np.array_equal(auto, batches(define("fused"), 1)[0])


@pytest.mark.parametrize("applier", ["fused", "exact", COMPILED])
def test_in_a_foreign_pipeline(jpegs, applier):
    """Nothing is fed, and sample j of batch i has the parameters of (seed, 0, i * B + j)."""
    first, second = batches(foreign(jpegs, applier, batch_size=6), 2)
    files = sorted(jpegs.rglob("*.jpg"))
    decoded = [decode(path) for path in files]
    for i, batch in enumerate((first, second)):
        params = draw(PAPER, seed=7, epoch=0, indices=np.arange(6) + 6 * i, size=32)
        moments = {"mean": (0, 0, 0), "std": (1, 1, 1)}
        wanted = augment_batch(decoded, params, applier=applier, **moments)
        np.testing.assert_array_equal(batch, wanted)


def decode(path):
    @pipeline_def(batch_size=1, num_threads=1, device_id=None)
    def one():
        return fn.decoders.image(
            fn.io.file.read(np.frombuffer(bytes(path), np.uint8)), output_type=types.RGB
        )

    pipeline = one()
    pipeline.build()
    return np.array(pipeline.run()[0].as_tensor())[0]


@pytest.mark.parametrize("applier", ["fused", COMPILED])
def test_threads_prefetch_and_conditionals_change_nothing(jpegs, applier):
    expected = batches(foreign(jpegs, applier, batch_size=4), 3)
    for options in (
        {"num_threads": 1},
        {"prefetch_queue_depth": 4},
        {"enable_conditionals": True},
        {"exec_dynamic": False},
    ):
        for a, b in zip(
            expected, batches(foreign(jpegs, applier, batch_size=4, **options), 3), strict=True
        ):
            np.testing.assert_array_equal(a, b, err_msg=str(options))


def test_seeds_shards_and_batches_differ(jpegs):
    base, later = batches(foreign(jpegs, batch_size=6), 2)
    other_seed = batches(foreign(jpegs, seed=8, batch_size=6), 1)[0]
    other_shard = batches(foreign(jpegs, shard_id=1, batch_size=6), 1)[0]
    for other in (later, other_seed, other_shard):
        assert not np.array_equal(base, other)


@pytest.mark.parametrize("applier", ["fused", COMPILED])
def test_goes_on_from_a_checkpoint(jpegs, applier):
    pipeline = foreign(jpegs, applier, batch_size=4, enable_checkpointing=True)
    batches(pipeline, 2)
    state = pipeline.checkpoint()
    expected = np.array(pipeline.run()[0].as_tensor())
    restored = foreign(jpegs, applier, batch_size=4, enable_checkpointing=True, checkpoint=state)
    np.testing.assert_array_equal(batches(restored, 1)[0], expected)


def test_epochs_through_dalis_iterator(jpegs):
    from nvidia.dali.plugin.pytorch import DALIGenericIterator

    iterator = DALIGenericIterator(
        [foreign(jpegs, batch_size=4)],
        ["images", "labels"],
        reader_name="reader",
        auto_reset=True,
        last_batch_policy=LastBatchPolicy.PARTIAL,
    )
    epochs = [[b[0]["images"].numpy() for b in iterator] for _ in range(2)]
    assert [len(b) for b in epochs[0]] == [4, 2]
    assert not np.array_equal(epochs[0][0], epochs[1][0])


def test_arguments_are_checked_when_the_pipeline_is_defined(jpegs):
    for options, says in (
        ({"applier": "reference"}, "no DALI graph"),
        ({"seed": -1}, "seed"),
        ({"layout": "NHWC"}, "layout must be"),
        ({"shard_id": -1}, "shard_id"),
        ({"std": (0, 1, 1)}, "std must be 3 finite numbers above 0"),
    ):
        with pytest.raises(ConfigError, match=says):
            foreign(jpegs, batch_size=4, **options)
    with pytest.raises(ConfigError, match="augment_batch"):
        augment(np.zeros((1, 8, 8, 3), np.uint8))
