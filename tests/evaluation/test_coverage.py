"""How often intervals over subjects hold a known truth, by simulation, and what replaces no width.

The slow tests repeat what ``benchmarks/interval_coverage.py`` publishes in docs/honesty.md.
"""

import importlib.util
import itertools
import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as sk

from fastleuk.evaluation import subject_interval
from fastleuk.evaluation.intervals.bands import curve_bands
from fastleuk.evaluation.intervals.few_subjects import EXACT
from fastleuk.evaluation.intervals.figures import figures
from fastleuk.evaluation.intervals.headline import macro_f1_interval
from fastleuk.evaluation.intervals.subjects import count_subjects
from tests.makers.cells import PROJECT

NAMES = ("hem", "ALL")


def _load_benchmark():
    name = "interval_coverage"
    spec = importlib.util.spec_from_file_location(name, PROJECT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


benchmark = _load_benchmark()
NEAR_ONE = [benchmark.Population(0.99, 0.3, 6), benchmark.Population(0.95, 0.5, 20),
            benchmark.Population(0.99, 0.05, 30)]  # fmt: skip
USUAL = [benchmark.Population(0.85, 0.15, 20), benchmark.Population(0.95, 0.15, 20)]


@pytest.mark.parametrize(
    ("population", "subjects"),
    [(NEAR_ONE[0], 5), (NEAR_ONE[0], 10), (NEAR_ONE[1], 5), (NEAR_ONE[2], 5)],
    ids=str,
)
def test_intervals_hold_a_truth_near_one(population, subjects):
    """Zero-width intervals held it in 17 to 83 of 100 draws."""
    found = benchmark.coverage(population, subjects, draws=60, resamples=100)
    for name, each in found.items():
        assert each["inside"] >= 0.9, (name, each)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("population", "subjects"), list(itertools.product(NEAR_ONE, benchmark.SUBJECTS)), ids=str
)
def test_nine_of_ten_intervals_hold_a_truth_near_one(population, subjects):
    found = benchmark.coverage(population, subjects, draws=400, resamples=150)
    for name, each in found.items():
        assert each["inside"] >= 0.9, (name, each)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("population", "subjects"), list(itertools.product(USUAL, benchmark.SUBJECTS)), ids=str
)
def test_nineteen_of_twenty_intervals_hold_another_truth(population, subjects):
    found = benchmark.coverage(population, subjects, draws=400, resamples=150)
    for name in ("auc", "f1_macro"):  # three standard errors around 0.93 to 0.97
        assert 0.925 <= found[name]["inside"] <= 0.99, found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pair", "subjects"), list(itertools.product(benchmark.PAIRS, benchmark.SUBJECTS)), ids=str
)
def test_intervals_of_differences_hold_the_true_one(pair, subjects):
    found = benchmark.coverage_of_difference(pair, subjects, draws=300, resamples=150)
    for name in ("auc", "f1_macro", "accuracy"):
        assert found[name]["inside"] >= 0.88, (name, found[name])


def test_the_published_table_is_that_of_the_simulation():
    document = json.loads(
        (PROJECT / "benchmarks" / "results" / "interval_coverage.json").read_text(encoding="utf-8")
    )
    page = (PROJECT / "docs" / "honesty.md").read_text(encoding="utf-8")
    begin, end = benchmark.MARKS
    shown = page.partition(begin)[2].partition(end)[0]
    assert shown.rstrip("\n") == benchmark.table(document)


# In place of no width


def _all_right(of_class, images):
    """Return labels, probabilities and subjects, all right, of so many subjects a class."""
    labels = np.repeat(np.repeat([0, 1], of_class), images)
    score = np.where(labels == 1, 0.9, 0.1)
    return labels, np.stack([1 - score, score], axis=1), np.arange(sum(of_class)).repeat(images)


@pytest.mark.parametrize("images", [1, 4])
@pytest.mark.parametrize("of_class", [(2, 2), (5, 3), (3, 20), (40, 40)])
def test_where_all_are_right_the_bound_is_the_exact_binomial(of_class, images):
    labels, chances, subjects = _all_right(of_class, images)
    found = figures(labels, chances, subjects, NAMES, "ALL", resamples=20)["figures"]
    fewest, (negative, positive) = min(of_class), of_class
    for name, n in (("f1_macro", fewest), ("auc", fewest), ("balanced_accuracy", fewest),
                    ("sensitivity", positive), ("specificity", negative),
                    ("accuracy", negative + positive)):  # fmt: skip
        each = found[name]
        assert each["low"] == pytest.approx(binomtest(n, n).proportion_ci().low), name
        assert each["low"] == pytest.approx(0.025 ** (1 / n)), name
        assert (each["estimate"], each["high"], each["method"]) == (1, 1, EXACT), name


@pytest.mark.parametrize(
    ("metric", "needs", "n"),
    [
        (sk.accuracy_score, None, 9),
        (sk.recall_score, None, 5),
        (sk.roc_auc_score, None, 4),
        (sk.jaccard_score, None, 4),
        (lambda true, said: (true == said).mean(), "labels", 4),
        (lambda true, said, sample_weight=None: sk.recall_score(
            true, said, pos_label=0, sample_weight=sample_weight), "labels", 4),
        (lambda true, said, sample_weight=None: sk.recall_score(
            true, said, sample_weight=sample_weight), "labels", 5),
    ],
)  # fmt: skip
def test_any_metric_has_the_bound_of_the_subjects_that_it_rests_on(metric, needs, n):
    labels, chances, subjects = _all_right((4, 5), 3)
    found = subject_interval(metric, labels, chances, subjects, needs=needs, resamples=20)
    assert (found.estimate, found.high, found.method) == (1, 1, EXACT)
    assert found.low == pytest.approx(0.025 ** (1 / n))


def test_a_metric_of_no_known_range_has_no_ends_where_no_resample_differs():
    labels, chances, subjects = _all_right((4, 5), 3)
    found = subject_interval(
        lambda *_: 7.0, labels, chances, subjects, needs="labels", resamples=20
    )
    assert (found.low, found.high) == (-np.inf, np.inf)


trials = st.lists(st.tuples(st.integers(0, 1), st.booleans()), min_size=4, max_size=40)


@settings(deadline=None, max_examples=30)
@given(trials)
def test_shares_of_independent_samples_have_the_exact_interval(table):
    labels, right = (np.array(column) for column in zip(*table, strict=True))
    said = np.where(right, labels, 1 - labels)
    chances = np.eye(2)[said] * 0.8 + 0.1
    for subjects in (np.arange(len(labels)), None):
        found = figures(labels, chances, subjects, NAMES, "ALL", resamples=5)["figures"]
        for name, chosen in (("accuracy", labels >= 0), ("sensitivity", labels == 1),
                             ("specificity", labels == 0)):  # fmt: skip
            if not chosen.any():
                continue
            exact = binomtest(int(right[chosen].sum()), int(chosen.sum())).proportion_ci()
            each = found[name]
            assert (each["low"], each["high"]) == pytest.approx((exact.low, exact.high))


cells = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 3), st.booleans(), st.booleans()),
    min_size=4, max_size=30,
)  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(cells)
def test_no_interval_is_without_width_and_each_holds_its_estimate(table):
    labels, people, right, sure = (np.array(column) for column in zip(*table, strict=True))
    said = np.where(right, labels, 1 - labels)
    chances = np.eye(2)[said] * np.where(sure, 0.8, 0.2)[:, None]
    chances += (1 - chances.sum(axis=1, keepdims=True)) / 2
    subjects = 2 * people + labels
    found = figures(labels, chances, subjects, NAMES, "ALL", resamples=20)["figures"]
    for name, each in found.items():
        if each["low"] is not None and each["high"] is not None:
            assert each["low"] < each["high"], name
            assert each["low"] - 1e-9 <= each["estimate"] <= each["high"] + 1e-9, name
    other = count_subjects(labels, said, subjects, 2)
    for pair in ((other,), (other, other), (other, count_subjects(labels, labels, subjects, 2))):
        interval = macro_f1_interval(*pair, resamples=20)
        assert interval.low < interval.high
        assert interval.low - 1e-9 <= interval.estimate <= interval.high + 1e-9


def test_one_wrong_image_does_not_make_the_lower_end_rise():
    labels, chances, subjects = _all_right((5, 5), 6)
    before = figures(labels, chances, subjects, NAMES, "ALL")["figures"]
    chances = chances.copy()
    chances[0] = chances[0, ::-1]
    after = figures(labels, chances, subjects, NAMES, "ALL")["figures"]
    # 0.48 where all are right; the plain interval of one wrong image of 60 began at 0.86.
    for name in ("f1_macro", "auc", "specificity"):
        assert before[name]["low"] < after[name]["low"] < 0.84, name


def test_bands_of_perfect_curves_have_the_bound():
    labels, chances, subjects = _all_right((6, 8), 5)
    roc, pr = curve_bands(labels, chances, subjects, NAMES, "ALL", resamples=20)
    np.testing.assert_allclose(roc.low[:-1], 0.025 ** (1 / 8))
    assert (roc.low[-1], roc.high[-1]) == (1, 1)  # by definition
    np.testing.assert_allclose(pr.low, 0.025 ** (1 / 6))
