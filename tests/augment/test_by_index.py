"""Reproducibility by index: equal pixels whatever the batches, workers, shards and resumption."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from nvidia.dali import fn, pipeline_def, types
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from fastleuk.augment import (
    PAPER,
    AugmentCollate,
    Indexed,
    IndexedSample,
    augment,
    augment_batch,
    draw,
)
from fastleuk.errors import ConfigError
from tests.makers.augment_images import COMPILED

COUNT, SIZE, SEED = 20, 16, 11
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 20, 24, 3), dtype=np.uint8)
APPLIERS = [COMPILED, pytest.param("exact", marks=pytest.mark.slow)]


def wanted(applier, epoch, indices, seed=SEED):
    params = draw(PAPER, seed=seed, epoch=epoch, indices=indices, size=SIZE)
    return augment_batch(
        IMAGES[np.array(indices) % COUNT], params, applier=applier, normalize=False
    )


@pytest.fixture(scope="module")
def truth():
    """Pixels by (applier, epoch, index), as ``draw`` and ``augment_batch`` make them."""
    known = {}

    def pixels(applier, epoch):
        if (applier, epoch) not in known:
            known[applier, epoch] = wanted(applier, epoch, range(COUNT))
        return known[applier, epoch]

    return pixels


# In a DALI pipeline


def by_dali(batch, rows, applier, *, checkpoint=None, with_epoch=True, short=True):
    """A stranger's pipeline over ``rows``, whose last batch is short."""

    def source(info):
        chosen = rows[info.iteration * batch : (info.iteration + 1) * batch]
        if not len(chosen) or (not short and len(chosen) < batch):
            raise StopIteration
        numbers = [np.array(row) for row in chosen]
        return [IMAGES[row] for row in chosen], numbers, [np.array(info.epoch_idx)] * len(chosen)

    @pipeline_def(
        batch_size=batch,
        num_threads=2,
        device_id=None,
        enable_checkpointing=True,
        checkpoint=checkpoint,
    )
    def define():
        images, indices, epoch = fn.external_source(
            source, num_outputs=3, batch=True, batch_info=True, layout=["HWC", "", ""]
        )
        options = {"epoch": epoch} if with_epoch else {}
        images = augment(
            images,
            size=SIZE,
            seed=SEED,
            indices=indices,
            applier=applier,
            normalize=False,
            **options,
        )
        return images, indices, epoch

    pipeline = define()
    pipeline.build()
    return pipeline


def run_epoch(pipeline):
    """Pixels by index, to the end of the epoch."""
    found = {}
    while True:
        try:
            images, indices, _ = pipeline.run()
        except StopIteration:
            pipeline.reset()
            return found
        for i in range(len(images)):
            found[int(indices.at(i))] = np.array(images.at(i))


def check_equal(found, truth, rows):
    assert sorted(found) == sorted(rows)
    for row, pixels in found.items():
        np.testing.assert_array_equal(pixels, truth[row], err_msg=f"sample {row}")


@pytest.mark.parametrize("applier", APPLIERS)
@pytest.mark.parametrize(("batch", "shards"), [(3, 1), (8, 1), (40, 1), (3, 2), (8, 4)])
def test_dali_gives_a_sample_the_same_pixels_in_any_batch_and_shard(applier, batch, shards, truth):
    order = np.random.default_rng(batch).permutation(COUNT)
    pipelines = [by_dali(batch, order[shard::shards], applier) for shard in range(shards)]
    for epoch in range(2):
        found = {}
        for pipeline in pipelines:
            found |= run_epoch(pipeline)
        check_equal(found, truth(applier, epoch), range(COUNT))


@pytest.mark.parametrize("with_epoch", [True, False])
@pytest.mark.parametrize("applier", APPLIERS)
def test_dali_resumes_in_the_middle_of_an_epoch(applier, with_epoch, truth):
    rows = np.random.default_rng(1).permutation(COUNT)
    pipeline = by_dali(8, rows, applier, with_epoch=with_epoch)
    run_epoch(pipeline)
    pipeline.run()
    state = pipeline.checkpoint()
    restored = by_dali(8, rows, applier, with_epoch=with_epoch, checkpoint=state)
    check_equal(run_epoch(restored), truth(applier, 1), rows[8:])
    check_equal(run_epoch(restored), truth(applier, 2), rows)


def test_a_batch_may_hold_samples_of_several_epochs(truth):
    epochs = [0, 1, 0, 2, 1]

    @pipeline_def(batch_size=5, num_threads=1, device_id=None)
    def define():
        images = fn.external_source(lambda: list(IMAGES[:5]), batch=True, layout="HWC")
        numbers, epoch = fn.external_source(
            lambda: (np.arange(5), np.array(epochs)), num_outputs=2, batch=True
        )
        options = {"size": SIZE, "seed": SEED, "applier": "exact", "normalize": False}
        return augment(images, indices=numbers, epoch=epoch, **options)

    pipeline = define()
    pipeline.build()
    found = np.array(pipeline.run()[0].as_tensor())
    for i, epoch in enumerate(epochs):
        np.testing.assert_array_equal(found[i], truth("exact", epoch)[i])


def numbered_pipeline(batch, lengths, *, feed=False, branches=False, **options):
    """Without indices: batches of these lengths, then ``StopIteration``."""
    starts = np.cumsum([0, *lengths])

    def rows(iteration):
        if iteration >= len(lengths):
            raise StopIteration
        return np.arange(starts[iteration], starts[iteration + 1]) % COUNT

    def make(images):
        return augment(images, size=SIZE, seed=SEED, normalize=False, applier="exact")

    @pipeline_def(
        batch_size=batch,
        num_threads=2,
        device_id=None,
        enable_conditionals=branches,
        enable_checkpointing=not feed,
        prefetch_queue_depth=1 if feed else 2,
        **options,
    )
    def define():
        if feed:
            return make(fn.external_source(name="images", layout="HWC"))
        images, numbers = fn.external_source(
            lambda info: (
                list(IMAGES[rows(info.iteration)]),
                [np.array(row) for row in rows(info.iteration)],
            ),
            num_outputs=2,
            batch=True,
            batch_info=True,
            layout=["HWC", ""],
        )
        if not branches:
            return make(images), numbers
        if numbers % 3 == 0:  # noqa: SIM108  # in some batches no sample takes it
            augmented = make(images)
        else:
            augmented = make(images)
        return augmented, numbers

    pipeline = define()
    pipeline.build()
    return pipeline


LENGTHS = [4, 2, 4, 1, 1, 4]


@pytest.mark.parametrize("branches", [False, True])
@pytest.mark.parametrize("feed", [False, True])
def test_without_indices_sample_j_of_batch_i_is_i_times_b_plus_j(feed, branches):
    if feed and branches:
        pytest.skip("one is enough")
    pipeline = numbered_pipeline(4, LENGTHS, feed=feed, branches=branches)
    for epoch in range(1 if feed else 2):
        start = 0
        for i, length in enumerate(LENGTHS):
            if feed:
                pipeline.feed_input("images", list(IMAGES[np.arange(start, start + length)]))
            found = np.array(pipeline.run()[0].as_tensor())
            params = draw(
                PAPER, seed=SEED, epoch=epoch, indices=4 * i + np.arange(length), size=SIZE
            )
            images = IMAGES[np.arange(start, start + length) % COUNT]
            expected = augment_batch(images, params, applier="exact", normalize=False)
            np.testing.assert_array_equal(found, expected, err_msg=f"epoch {epoch}, batch {i}")
            start += length
        if not feed:
            with pytest.raises(StopIteration):
                pipeline.run()
            pipeline.reset()


def test_without_indices_short_batches_do_not_shift_a_resumption():
    pipeline = numbered_pipeline(4, LENGTHS)
    for _ in range(3):
        pipeline.run()
    state = pipeline.checkpoint()
    restored = numbered_pipeline(4, LENGTHS, checkpoint=state)
    for _ in range(3):
        np.testing.assert_array_equal(
            *(np.array(p.run()[0].as_tensor()) for p in (pipeline, restored))
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from PIL import Image

    root = tmp_path_factory.mktemp("files")
    (root / "a").mkdir()
    for i in range(8):
        Image.fromarray(IMAGES[0]).save(root / "a" / f"{i}.png")  # equal: parameters tell
    return root


def read_shard(folder, shard, shards, **options):
    @pipeline_def(batch_size=4, num_threads=1, device_id=None)
    def define():
        encoded, labels = fn.readers.file(
            files=[str(path) for path in sorted(folder.rglob("*.png"))],
            labels=list(range(8)),
            shard_id=shard,
            num_shards=shards,
        )
        images = fn.decoders.image(encoded, output_type=types.RGB)
        if "indices" in options:
            options["indices"] = labels
        return augment(images, size=SIZE, applier="exact", seed=SEED, **options)

    return define()


def test_shards_of_a_reader_draw_differently_without_being_told(folder):
    def first(shard, **options):
        pipeline = read_shard(folder, shard, 2, **options)
        pipeline.build()
        return np.array(pipeline.run()[0].as_tensor())

    assert not np.array_equal(first(0), first(1))
    np.testing.assert_array_equal(first(1), first(1, shard_id=1))
    np.testing.assert_array_equal(first(1, shard_id=0), first(0))
    # by index, the shards of one epoch are those of one pipeline
    pipeline = read_shard(folder, 0, 1, indices=True, epoch=0)
    pipeline.build()
    both = np.concatenate([np.array(pipeline.run()[0].as_tensor()) for _ in range(2)])
    by_index = [first(shard, indices=True, epoch=0) for shard in range(2)]
    np.testing.assert_array_equal(np.concatenate(by_index), both)


def test_indices_of_a_reader_need_an_epoch(folder):
    with pytest.raises(ConfigError, match=r"^epoch: missing, and a DALI reader"):
        read_shard(folder, 0, 1, indices=True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"indices": [0, 1]}, "indices: list.*Pass a DataNode"),
        ({"epoch": -1}, "epoch must be from 0"),
        ({"epoch": 1.5}, "epoch must be a whole number"),
        ({"indices": "gpu"}, "indices: on the GPU"),
        ({"shard_id": 0.5}, "shard_id must be from 0"),
        ({"policy": "paper"}, "POLICIES"),
    ],
)
def test_wrong_numbers_are_refused_when_the_pipeline_is_defined(options, says):
    @pipeline_def(batch_size=2, num_threads=1, device_id=0)
    def define():
        images = fn.external_source(lambda: list(IMAGES[:2]), batch=True, layout="HWC")
        numbers = fn.external_source(lambda: np.arange(2), batch=True, dtype=types.INT64)
        nodes = {"gpu": numbers.gpu()}
        chosen = {k: nodes.get(v, v) if isinstance(v, str) else v for k, v in options.items()}
        return augment(images, size=SIZE, **chosen)

    with pytest.raises(ConfigError, match=says):
        define()


@pytest.mark.parametrize("wrong", [np.zeros((2, 3), np.int64), np.zeros(2), np.zeros(2, bool)])
def test_indices_of_another_form_end_the_run(wrong):
    @pipeline_def(batch_size=2, num_threads=1, device_id=None)
    def define():
        images = fn.external_source(lambda: list(IMAGES[:2]), batch=True, layout="HWC")
        numbers = fn.external_source(lambda: wrong, batch=True)
        return augment(images, size=SIZE, indices=numbers, epoch=0, applier="exact")

    pipeline = define()
    pipeline.build()
    with pytest.raises(RuntimeError, match="Give each sample one whole number"):
        pipeline.run()


# In a DataLoader


class Cells(Dataset):
    classes = ("hem", "ALL")

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        return IMAGES[index], index


def by_loader(dataset, batch, workers, collate, **options):
    context = "fork" if workers else None
    return DataLoader(
        dataset,
        batch_size=batch,
        num_workers=workers,
        collate_fn=collate,
        multiprocessing_context=context,
        **options,
    )


def collect(loader):
    found = {}
    for images, labels in loader:
        found |= {
            int(label): image.permute(1, 2, 0).numpy()
            for image, label in zip(images, labels, strict=True)
        }
    return found


@pytest.mark.parametrize(
    ("batch", "workers", "shards"),
    [(3, 0, 1), (8, 0, 2), (40, 0, 1), (3, 0, 4), (8, 2, 1), (3, 1, 2)],
)
def test_a_collate_gives_a_sample_the_same_pixels(batch, workers, shards, truth):
    order = np.random.default_rng(batch).permutation(COUNT)
    collate = AugmentCollate(PAPER, SIZE, seed=SEED, applier="reference", normalize=False)
    dataset = Indexed(Cells())
    loaders = [
        by_loader(
            Subset(dataset, order[shard::shards].tolist()),
            batch,
            workers,
            collate,
            persistent_workers=bool(workers),
        )
        for shard in range(shards)
    ]
    for epoch in (0, 1, 5):  # persistent workers are told, too
        collate.set_epoch(epoch)
        found = {}
        for loader in loaders:
            found |= collect(loader)
        check_equal(found, truth("reference", epoch), range(COUNT))


def test_a_collate_resumes_in_the_middle_of_an_epoch(truth):
    collate = AugmentCollate(PAPER, SIZE, seed=SEED, applier="reference", normalize=False)
    collate.set_epoch(3)
    rest = list(range(8, COUNT))  # as a stateful sampler goes on
    found = collect(by_loader(Indexed(Cells()), 5, 0, collate, sampler=rest))
    check_equal(found, truth("reference", 3), rest)


def test_a_collate_may_be_copied():
    pickled = pickle.loads(pickle.dumps(AugmentCollate(PAPER, SIZE, seed=SEED)))
    assert pickled.seed == SEED
    collate = AugmentCollate(PAPER, SIZE, seed=SEED)
    collate.epoch = 4
    assert copy.deepcopy(collate).epoch == collate.epoch == 4
    assert collate._epoch.is_shared()


def test_a_dataset_that_yields_its_indices_itself(truth):
    class Stream(IterableDataset):
        def __iter__(self):
            return (IndexedSample(i, (IMAGES[i], i)) for i in range(COUNT))

    collate = AugmentCollate(PAPER, SIZE, seed=SEED, applier="reference", normalize=False)
    check_equal(collect(by_loader(Stream(), 6, 0, collate)), truth("reference", 0), range(COUNT))
    with pytest.raises(ConfigError, match="Indexed: a Stream, which has no indices"):
        Indexed(Stream())


def test_indexed_is_its_dataset_otherwise():
    dataset = Indexed(Cells())
    assert len(dataset) == COUNT
    assert dataset.classes == Cells.classes
    assert dataset[3].index == 3
    assert [sample.index for sample in dataset.__getitems__([4, 2])] == [4, 2]
    assert pickle.loads(pickle.dumps(dataset.dataset.classes)) == Cells.classes
    with pytest.raises(AttributeError):
        _ = dataset.nothing


def test_seed_and_index_belong_together():
    samples = [(IMAGES[0], 0)]
    indexed = [IndexedSample(0, samples[0])]
    options = {"size": SIZE, "applier": "reference"}
    with pytest.raises(ConfigError, match=r"^seed: 7, but .*Indexed\(dataset\)"):
        AugmentCollate(seed=7, **options)(samples)
    with pytest.raises(ConfigError, match=r"^seed: missing, but .*AugmentCollate\(seed=7\)"):
        AugmentCollate(**options)(indexed)
    with pytest.raises(ConfigError, match=r"^set_epoch: without a seed"):
        AugmentCollate(**options).set_epoch(1)
    for seed, epoch in itertools.product((-1, 1.5, "7"), (None, -1)):
        with pytest.raises(ConfigError, match=r"seed|epoch"):
            AugmentCollate(seed=7 if epoch else seed, **options).set_epoch(epoch or 0)


def test_without_a_seed_torchs_generator_counts():
    collate = AugmentCollate(PAPER, SIZE, applier="reference")
    batches = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        batches.append(collate([(IMAGES[0], 0), (IMAGES[1], 1)])[0])
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])
