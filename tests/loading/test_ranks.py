"""Sharding: what the ranks see together, whatever their number. And memory between batches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastleuk.errors import ConfigError
from fastleuk.loading.stream import EvalStream, TrainStream

ranks = st.integers(1, 9)


def _train(labels, rank, world, batch, **options):
    rows = np.arange(len(labels)) * 3 + 1
    options = {"per_class": "auto", "frozen": False, "seed": 5} | options
    return TrainStream(labels, rows, batch_size=batch, rank=rank, world_size=world, **options)


@given(count=st.integers(0, 90), batch=st.integers(1, 40), world=ranks)
def test_evaluation_sees_every_sample_exactly_once_over_all_ranks(count, batch, world):
    samples = np.arange(100, 100 + count)[::-1]
    streams = [
        EvalStream(samples, batch_size=batch, rank=rank, world_size=world) for rank in range(world)
    ]
    seen = []
    for stream in streams:
        plans = list(stream.batches())
        assert len(plans) == len(stream)
        assert all(len(plan) == batch for plan in plans[:-1])
        assert all(1 <= len(plan) <= batch for plan in plans)
        seen.append(sum(map(len, plans)))
        samples = samples.copy()
        for plan in plans:
            samples = samples[~np.isin(samples, plan.indices)]
    assert sum(seen) == count
    assert max(seen) - min(seen) <= 1
    assert not len(samples)


@given(
    sizes=st.tuples(st.integers(10, 40), st.integers(10, 40)),
    batch=st.integers(1, 5),
    world=st.integers(1, 4),
    epoch=st.integers(0, 3),
)
def test_training_ranks_share_the_batches_of_one_process(sizes, batch, world, epoch):
    labels = np.repeat([0, 1], sizes)
    streams = [_train(labels, rank, world, batch) for rank in range(world)]
    assert len({len(stream) for stream in streams}) == 1
    alone = _train(labels, 0, 1, batch * world)
    for whole, *parts in zip(
        alone.batches(epoch), *(stream.batches(epoch) for stream in streams), strict=True
    ):
        for name in ("indices", "draws", "augmented"):
            together = np.concatenate([getattr(part, name) for part in parts])
            assert np.array_equal(together, getattr(whole, name))
        assert {part.draw_epoch for part in parts} == {whole.draw_epoch}


@given(start=st.integers(0, 9), world=st.integers(1, 3))
def test_any_step_of_any_rank_can_be_started_from(start, world):
    stream = _train(np.repeat([0, 1], [30, 31]), world - 1, world, 2)
    whole = [plan.indices for plan in stream.batches(1)]
    rest = [plan.indices for plan in stream.batches(1, start)]
    assert np.array_equal(np.ravel(whole[start:]), np.ravel(rest))


@pytest.mark.parametrize("rank", [-1, 2, 3])
def test_a_rank_outside_the_world_is_refused(rank):
    with pytest.raises(ConfigError, match=f"rank {rank} of 2"):
        EvalStream(np.arange(4), batch_size=1, rank=rank, world_size=2)
    with pytest.raises(ConfigError, match=f"rank {rank} of 2"):
        _train(np.repeat([0, 1], 8), rank, 2, 1)


def test_a_global_batch_larger_than_an_epoch_is_refused_with_the_largest_that_fits():
    with pytest.raises(ConfigError, match=r"--batch-size 8 on 3 processes.*Use at most.* 6"):
        _train(np.repeat([0, 1], 10), 0, 3, 8)
