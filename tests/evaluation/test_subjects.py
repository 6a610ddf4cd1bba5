"""Intervals and tests over subjects: how often they are right, by simulation, with few subjects."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from fastleuk.evaluation.intervals.few_subjects import EXACT, share_interval
from fastleuk.evaluation.intervals.headline import (
    format_summary,
    macro_f1_interval,
    macro_f1_summary,
)
from fastleuk.evaluation.intervals.subjects import (
    SubjectCounts,
    count_subjects,
    group_confusions,
    macro_f1,
)
from fastleuk.tracking.paired import EXACT_UP_TO, holm, swap_test

SIMULATIONS, RESAMPLES = 500, 150


def _subjects(rng, labels, shares):
    """Return counts of subjects with 20 to 70 cells, ``shares`` of which are right."""
    cells = rng.integers(20, 70, len(labels))
    return _classified(labels, cells, rng.binomial(cells, shares)), cells


def _classified(labels, cells, right):
    here, zeros = np.arange(len(labels)), np.zeros((len(labels), 2))
    counts = SubjectCounts(zeros.copy(), zeros.copy(), zeros.copy())
    counts.right[here, labels] = counts.predicted[here, labels] = right
    counts.true[here, labels] = cells
    counts.predicted[here, 1 - labels] = cells - right
    return counts


def _equal_pair(rng, subjects):
    """Return two classifiers that are equally good, each with easy and hard subjects of its own."""
    labels = np.repeat([0, 1], subjects)
    first, cells = _subjects(rng, labels, rng.beta(9, 1, 2 * subjects))
    second = _classified(labels, cells, rng.binomial(cells, rng.beta(9, 1, 2 * subjects)))
    return first, second


@pytest.mark.parametrize(
    ("subjects", "percentile"),
    [
        (3, 0.2),
        pytest.param(5, 0.12, marks=pytest.mark.slow),
        pytest.param(8, 0.09, marks=pytest.mark.slow),
        pytest.param(13, None, marks=pytest.mark.slow),
    ],
)
def test_equal_classifiers_are_called_different_rarely(subjects, percentile):
    """Few subjects a class: the percentile interval fails ``percentile`` of the time."""
    rng = np.random.default_rng(subjects)
    excluded = small = 0
    for _ in range(SIMULATIONS):
        first, second = _equal_pair(rng, subjects)
        interval = macro_f1_interval(second, first, resamples=RESAMPLES)
        excluded += not interval.low <= 0 <= interval.high
        small += subjects < 6 and swap_test(first, second).p_value <= 0.05
    assert excluded / SIMULATIONS <= 0.07, f"the percentile interval: {percentile}"
    assert small / SIMULATIONS <= 0.07


@pytest.mark.parametrize("subjects", [3, 5, 8, 13, 28])
def test_the_interval_of_a_figure_covers_the_truth_as_often_as_it_says(subjects):
    rng = np.random.default_rng(100 + subjects)
    many, _ = _subjects(rng, np.repeat([0, 1], 40_000), rng.beta(9, 1, 80_000))
    involved = (many.true + many.predicted).sum(axis=0)
    truth = (2 * many.right.sum(axis=0) / involved).mean()
    covered = 0
    for _ in range(SIMULATIONS):
        counts, _ = _subjects(rng, np.repeat([0, 1], subjects), rng.beta(9, 1, 2 * subjects))
        interval = macro_f1_interval(counts, resamples=RESAMPLES)
        assert 0 <= interval.low <= interval.estimate <= interval.high <= 1
        covered += interval.low <= truth <= interval.high
    assert 0.93 <= covered / SIMULATIONS <= (1 if subjects < 5 else 0.985), covered


def test_cells_taken_one_by_one_cover_far_less():
    """That it is subjects that count: each cell its own subject, in the same simulation."""
    rng, covered = np.random.default_rng(7), 0
    for _ in range(100):
        labels = np.repeat([0, 1], 8)
        counts, _ = _subjects(rng, labels, rng.beta(9, 1, 16))
        right, true = counts.right.sum(axis=1).astype(int), counts.true.sum(axis=1).astype(int)
        cells = np.repeat(labels, true)
        good = np.concatenate([np.arange(n) < r for r, n in zip(right, true, strict=True)])
        each = count_subjects(cells, np.where(good, cells, 1 - cells), np.arange(len(cells)), 2)
        interval = macro_f1_interval(each, resamples=60)
        covered += interval.low <= 0.9 <= interval.high
    assert covered < 75, covered


def test_subjects_are_drawn_within_their_class():
    """Alike within a class, unlike between: only what draws across classes sees a variance."""
    labels, cells = np.repeat([0, 1], [3, 9]), np.full(12, 30)
    counts = _classified(labels, cells, np.where(labels == 0, 12, 28))
    interval = macro_f1_interval(counts, resamples=500)
    assert interval.method == EXACT  # no resample differs
    other = _classified(labels, cells, np.where(labels == 0, 15, 27))
    difference = macro_f1_interval(other, counts, resamples=500)
    assert difference.method == EXACT
    assert difference.estimate > 0.01
    nearly = _classified(labels, cells, np.where(labels == 0, 12, 28) + np.arange(12) % 3 % 2)
    interval = macro_f1_interval(nearly, resamples=500)
    assert 0.01 < interval.high - interval.low < 0.14  # drawn across classes: 0.28


def test_one_subject_of_a_class_tells_nothing_of_how_subjects_differ():
    labels, cells = np.array([0, 1, 1, 1]), np.full(4, 30)
    counts = _classified(labels, cells, np.array([28, 20, 25, 29]))
    interval = macro_f1_interval(counts)
    assert (interval.low, interval.high) == (0, 1)
    summary = macro_f1_summary(counts, ("hem", "ALL"), by_image=False)
    assert summary["clusters_by_class"] == {"hem": 1, "ALL": 3}
    assert "can't be known" in format_summary(summary, interval.estimate)
    # Where every subject has cells of both classes, there is one stratum, and an interval.
    mixed = group_confusions(np.arange(40) % 2, np.arange(40) // 3 % 2, np.arange(40) // 10, 2)
    interval = macro_f1_interval(mixed)
    assert 0 < interval.low < interval.estimate < interval.high < 1


samples = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), st.integers(0, 4)),
    min_size=1,
    max_size=40,
)


@settings(deadline=None)
@given(samples)
def test_counts_by_subject_are_those_of_the_confusion_matrices(table):
    labels, predicted, other, groups = (np.array(column) for column in zip(*table, strict=True))
    counts, confusions = (
        count(labels, predicted, groups, 3) for count in (count_subjects, group_confusions)
    )
    assert np.array_equal(counts.right, np.diagonal(confusions, axis1=1, axis2=2))
    assert np.array_equal(counts.true, confusions.sum(axis=2))
    assert np.array_equal(counts.predicted, confusions.sum(axis=1))
    reference = group_confusions(labels, other, groups, 3)
    from_counts = macro_f1_interval(counts, count_subjects(labels, other, groups, 3), resamples=20)
    assert from_counts == macro_f1_interval(confusions, reference, resamples=20)
    expected = f1_score(labels, predicted, labels=[0, 1, 2], average="macro", zero_division=0)
    assert macro_f1_interval(counts, resamples=5).estimate == pytest.approx(expected)


# Swapping


@settings(deadline=None)
@given(samples)
def test_the_swap_test_tries_every_swap(table):
    labels, first, second, groups = (np.array(column) for column in zip(*table, strict=True))
    a, b = (group_confusions(labels, each, groups, 3) for each in (first, second))

    def gap(swapped):
        chosen = np.array(swapped, dtype=bool)[:, None, None]
        one, two = np.where(chosen, b, a), np.where(chosen, a, b)
        return abs(macro_f1(two.sum(axis=0)) - macro_f1(one.sum(axis=0)))

    gaps = [gap(swapped) for swapped in itertools.product([False, True], repeat=len(a))]
    test = swap_test(a, b)
    assert test.exact
    assert test.p_value == pytest.approx(np.mean(np.array(gaps) >= gaps[0] - 1e-9))
    assert test.p_value == swap_test(b, a).p_value
    assert test.p_value >= test.smallest


def test_of_independent_samples_of_one_class_it_is_the_sign_test():
    labels, first, second = np.zeros(30, int), np.zeros(30, int), np.zeros(30, int)
    first[:9], second[9:11] = 1, 1
    a, b = (count_subjects(labels, each, np.arange(30), 2) for each in (first, second))
    test = swap_test(a, b)
    assert test.differing == 11
    assert test.p_value == pytest.approx(binomtest(2, 11).pvalue)


def test_with_many_subjects_random_swaps_come_near_and_repeat():
    rng = np.random.default_rng(3)
    labels, groups = np.zeros(60, int), np.arange(60)
    first, second = np.zeros(60, int), np.zeros(60, int)
    first[:14], second[14:20] = 1, 1
    rng.shuffle(groups)
    a, b = (count_subjects(labels, each, groups, 2) for each in (first, second))
    test = swap_test(a, b)
    assert test.differing == 20 > EXACT_UP_TO
    assert not test.exact
    assert test.p_value == pytest.approx(binomtest(6, 20).pvalue, abs=0.02)
    assert test == swap_test(a, b)
    assert test != swap_test(a, b, seed=1)
    assert swap_test(a, _classified(labels, np.ones(60), np.zeros(60))).p_value >= 1 / 10_001


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holms_correction_by_its_definition(p_values):
    adjusted = holm(p_values)
    order = sorted(range(len(p_values)), key=lambda k: p_values[k])
    for rank, place in enumerate(order):
        steps = [(len(order) - r) * p_values[order[r]] for r in range(rank + 1)]
        assert adjusted[place] == pytest.approx(min(1, max(steps)))


# What is said


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 0.6))
def test_an_interval_of_a_share_stays_between_0_and_1_and_holds_it(value, reach):
    interval = share_interval(value, reach)
    assert 0 <= interval.low <= value * (1 + 1e-9)
    assert value * (1 - 1e-9) <= interval.high <= 1


@pytest.mark.parametrize(
    ("subjects", "by_image", "says"),
    [
        (3, False, "a rough one: a class has 3 subjects only"),
        (25, False, "over 50 subjects (25 hem, 25 ALL)"),
        (25, True, "no subject is known"),
    ],
)
def test_it_is_said_how_far_an_interval_can_be_trusted(subjects, by_image, says):
    rng = np.random.default_rng(0)
    counts, _ = _subjects(rng, np.repeat([0, 1], subjects), rng.beta(9, 1, 2 * subjects))
    summary = macro_f1_summary(counts, ("hem", "ALL"), by_image=by_image)
    low, high = summary["f1_macro"]
    assert low < high
    text = format_summary(summary, 0.9)
    assert says in text
    assert f"{low:.4f} to {high:.4f}" in text
    assert ("rough" in text) == (subjects < 20)
    assert summary == macro_f1_summary(counts, ("hem", "ALL"), by_image=by_image)
