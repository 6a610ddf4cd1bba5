import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastleuk.data.balance import parse_per_class, plan_epoch
from fastleuk.errors import ConfigError

LABELS = np.array([0] * 30 + [1] * 70 + [2] * 9)

classes = st.lists(st.integers(1, 30), min_size=2, max_size=5).map(
    lambda sizes: np.repeat(np.arange(len(sizes)), sizes)
)
keys = {"seed": st.integers(0, 2**40), "epoch": st.integers(0, 60)}


def rows(plan):
    return list(zip(plan.indices.tolist(), plan.augmented.tolist(), plan.draws.tolist(),
                    strict=True))  # fmt: skip


@settings(deadline=None)
@given(labels=classes, per_class=st.one_of(st.integers(1, 90), st.just("auto")), **keys)
def test_a_balanced_epoch(labels, per_class, seed, epoch):
    plan = plan_epoch(labels, per_class=per_class, seed=seed, epoch=epoch)
    sizes = np.bincount(labels)
    target = sizes.max() if per_class == "auto" else per_class
    np.testing.assert_array_equal(np.bincount(labels[plan.indices]), np.maximum(sizes, target))
    originals = plan.indices[~plan.augmented]
    np.testing.assert_array_equal(np.sort(originals), np.arange(len(labels)))
    copies = np.bincount(plan.indices[plan.augmented], minlength=len(labels))
    for code in range(len(sizes)):
        spread = copies[labels == code]
        assert spread.max() - spread.min() <= 1
    assert len(np.unique(plan.draws)) == len(plan)
    assert plan.draw_epoch == epoch


@settings(deadline=None)
@given(labels=classes, share=st.floats(0, 1), **keys)
def test_off_takes_every_image_once_and_spares_the_same_share_of_each_class(
    labels, seed, epoch, share
):
    plan = plan_epoch(labels, per_class="off", originals=share, seed=seed, epoch=epoch)
    np.testing.assert_array_equal(np.sort(plan.indices), np.arange(len(labels)))
    for code in np.unique(labels):
        mine = labels[plan.indices] == code
        assert abs((~plan.augmented & mine).sum() - share * mine.sum()) < 1


def test_the_spared_images_change_and_every_image_is_spared_in_time():
    spared = []
    for epoch in range(400):
        plan = plan_epoch(LABELS, per_class="off", originals=0.3, seed=1, epoch=epoch)
        spared.append(np.bincount(plan.indices[~plan.augmented], minlength=len(LABELS)))
    shares = np.mean(spared, axis=0)
    assert np.abs(shares - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / 400)
    assert len({tuple(row) for row in spared}) > 390


@given(labels=classes, per_class=st.integers(1, 90), frozen=st.booleans(), **keys)
@settings(max_examples=30, deadline=None)
def test_it_is_a_pure_function(labels, per_class, frozen, seed, epoch):
    state = np.random.get_state()[1].copy()
    first, second = (
        plan_epoch(labels, per_class=per_class, seed=seed, epoch=epoch, frozen=frozen)
        for _ in range(2)
    )
    assert rows(first) == rows(second)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_the_papers_numbers():
    labels = np.array([0] * 3631 + [1] * 7644)
    plan = plan_epoch(labels, per_class=10000, seed=0, epoch=0)
    assert len(plan) == 20000
    assert np.bincount(labels[plan.indices[plan.augmented]]).tolist() == [6369, 2356]


def test_frozen_repeats_the_first_epochs_draws_in_a_new_order():
    def plan(epoch, frozen):
        return plan_epoch(LABELS, per_class=100, seed=4, epoch=epoch, frozen=frozen)

    first, later = plan(0, True), plan(7, True)
    assert sorted(rows(first)) == sorted(rows(later))
    assert rows(first) != rows(later)
    assert first.draw_epoch == later.draw_epoch == 0
    assert rows(plan(0, False)) == rows(first)


def test_epochs_and_seeds_differ_in_order_and_in_who_gets_one_copy_more():
    plans = {
        (seed, epoch): plan_epoch(LABELS, per_class=100, seed=seed, epoch=epoch)
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    orders = {tuple(plan.indices) for plan in plans.values()}
    extras = {tuple(sorted(plan.draws)) for plan in plans.values()}
    assert len(orders) == len(extras) == 4
    assert plans[0, 1].draw_epoch == 1


def test_who_gets_one_copy_more_is_spread_evenly():
    counts = np.zeros(30)
    for epoch in range(300):
        plan = plan_epoch(LABELS, per_class="auto", seed=0, epoch=epoch)
        counts += np.bincount(plan.indices[plan.augmented], minlength=109)[:30]
    # 40 copies over 30 images: one each, and a second with probability 1/3.
    assert abs(counts.mean() / 300 - 4 / 3) < 1e-9
    assert counts.std() / 300 < 3 * np.sqrt(2 / 9 / 300)


def test_a_samples_draws_do_not_depend_on_which_others_are_there():
    ids = np.arange(1000, 1109)
    plan = plan_epoch(LABELS, ids, per_class=100, seed=0, epoch=2)
    assert (plan.draws % 2**32 == ids[plan.indices]).all()
    copies = plan.draws // 2**32
    np.testing.assert_array_equal(copies > 0, plan.augmented)
    for i in range(len(LABELS)):
        mine = np.sort(copies[plan.indices == i])
        np.testing.assert_array_equal(mine, np.arange(len(mine)))


def test_dtypes():
    plan = plan_epoch(LABELS, seed=0, epoch=0)
    assert (plan.indices.dtype, plan.augmented.dtype, plan.draws.dtype) == (
        np.dtype(np.int64),
        np.dtype(bool),
        np.dtype(np.int64),
    )


@pytest.mark.parametrize(
    ("text", "value"), [("auto", "auto"), ("OFF", "off"), (" 10000 ", 10000), (7, 7)]
)
def test_per_class_values(text, value):
    assert parse_per_class(text) == value


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "", "1e4", "²", 0, "9" * 12])
def test_per_class_nonsense(text):
    with pytest.raises(ConfigError, match="--per-class"):
        parse_per_class(text)


@pytest.mark.parametrize(("seed", "epoch"), [(-1, 0), (0, -1)])
def test_negative_seed_or_epoch(seed, epoch):
    with pytest.raises(ConfigError):
        plan_epoch(LABELS, seed=seed, epoch=epoch)


@pytest.mark.parametrize("samples", [np.arange(3), np.zeros(109, dtype=int), np.arange(109) - 1])
def test_senseless_samples(samples):
    with pytest.raises(AssertionError):
        plan_epoch(LABELS, samples, seed=0, epoch=0)
