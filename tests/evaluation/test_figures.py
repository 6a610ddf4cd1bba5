"""Every figure's value and interval: against scikit-learn, a plain bootstrap, and a known truth."""

import functools
import re
import time

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from fastleuk.errors import ConfigError
from fastleuk.evaluation import subject_interval
from fastleuk.evaluation.format import format_metrics
from fastleuk.evaluation.intervals.figures import figures, prepare
from fastleuk.evaluation.intervals.metric_table import METRICS
from fastleuk.evaluation.intervals.resampling import interval, replicate
from fastleuk.evaluation.metrics import calibration_error, classification_metrics

NAMES = ("hem", "ALL")


def cells(rng, subjects, each, *, shift=0.8, apart=1.2):
    """Cells of subjects, half of each class, whose scores have a subject's own shift."""
    labels = np.repeat(np.arange(subjects) % 2, each)
    own = np.repeat(rng.normal(0, shift, subjects), each)
    logit = apart * (2 * labels - 1) + own + rng.normal(0, 1, len(labels))
    score = 1 / (1 + np.exp(-logit))
    return labels, np.stack([1 - score, score], axis=1), np.repeat(np.arange(subjects), each)


def sklearns(labels, chances, names, positive):
    """What scikit-learn says, by our names."""
    codes, said = list(range(len(names))), chances.argmax(axis=1)
    found = {
        "accuracy": sk.accuracy_score(labels, said),
        "mcc": sk.matthews_corrcoef(labels, said) if len({*labels, *said}) > 1 else 0.0,
        "log_loss": sk.log_loss(labels, chances, labels=codes),
        "brier": ((chances - np.eye(len(names))[labels]) ** 2).sum(axis=1).mean() / 2,
        "ece_15": calibration_error(labels, chances, bins=15),
    }
    for average in ("macro", "weighted"):
        three = sk.precision_recall_fscore_support(
            labels, said, labels=codes, average=average, zero_division=0
        )
        found.update(
            zip((f"{n}_{average}" for n in ("precision", "recall", "f1")), three[:3], strict=True)
        )
    if positive is not None:
        code = names.index(positive)
        three = sk.precision_recall_fscore_support(
            labels == code, said == code, average="binary", zero_division=0
        )
        for name, value in zip(("precision", "recall", "f1"), three[:3], strict=True):
            found[f"{name}_positive"] = value
        found["sensitivity"] = found["recall_positive"]
        found["specificity"] = sk.recall_score(labels != code, said != code, zero_division=0)
    there = np.unique(labels)
    if len(there) > 1:
        chosen = [names.index(positive)] if positive and len(names) == 2 else there
        for name, score in (("auc", sk.roc_auc_score), ("average_precision",
                             sk.average_precision_score)):  # fmt: skip
            found[name] = np.mean([score(labels == c, chances[:, c]) for c in chosen])
    return found


def _without_samples(labels, names, positive):
    """What says nothing where a class has no sample."""
    there, code = set(labels.tolist()), names.index(positive)
    macros = ("mcc", "f1_macro", "precision_macro", "recall_macro")
    found = {} if len(there) > 1 else dict.fromkeys(macros, "one class only")
    if code not in there:
        found |= dict.fromkeys(
            ["sensitivity", "recall_positive", "precision_positive", "f1_positive"],
            f"no image of {positive}",
        )
    if there == {code}:
        found["specificity"] = f"no image of {' or '.join(n for n in names if n != positive)}"
    return found


samples = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 4), *[st.integers(1, 9)] * 3),
    min_size=2, max_size=40,
)  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(samples, st.booleans())
def test_every_estimate_is_scikit_learns(table, two):
    columns = np.array(table)
    labels = columns[:, 0] % 2 if two else columns[:, 0]
    chances = columns[:, 2 : 4 if two else 5].astype(float)
    chances /= chances.sum(axis=1, keepdims=True)
    names, positive = (NAMES, "ALL") if two else (("a", "b", "c"), "b")
    found = figures(labels, chances, columns[:, 1], names, positive, resamples=3)
    truth = sklearns(labels, chances, names, positive)
    plain = classification_metrics(labels, chances, names, positive=positive)
    absent = _without_samples(labels, names, positive)
    for name, each in found["figures"].items():
        if name in absent:
            assert each["estimate"] is None, name
            assert each["undefined"] == absent[name]
            continue
        if name in truth:
            assert each["estimate"] == pytest.approx(truth[name], abs=1e-12), name
        elif name in ("auc", "average_precision"):
            assert each["estimate"] is None
            assert each["undefined"] == "one class only"
        if name in plain and name != "auc":
            assert each["estimate"] == pytest.approx(plain[name], abs=1e-12), name
    assert found["figures"].keys() == METRICS.keys()


@pytest.mark.parametrize("name", ["f1_macro", "auc", "sensitivity", "brier", "ece_15", "mcc"])
def test_resamples_are_those_of_a_plain_bootstrap_over_subjects(name):
    """Repeat a drawn subject's rows as often as it was drawn, and let scikit-learn count."""
    labels, chances, subjects = cells(np.random.default_rng(1), 12, 9)
    answers, plan = prepare(labels, chances, subjects, NAMES, "ALL", resamples=40)
    ours = replicate(answers, plan, [name])[name].drawn
    weights = np.concatenate(list(plan.draws()))
    assert (weights[:, ::2].sum(axis=1) == 6).all()  # of each class as many as there are
    assert (weights[:, 1::2].sum(axis=1) == 6).all()
    for value, counts in zip(ours, weights, strict=True):
        rows = np.concatenate([np.flatnonzero(subjects == s) for s in np.repeat(range(12), counts)])
        assert value == pytest.approx(sklearns(labels[rows], chances[rows], NAMES, "ALL")[name])


def test_intervals_cover_a_known_truth_by_subject_and_far_less_by_image():
    """Cells of a subject are alike: 95 % intervals of 300 experiments with 14 subjects a class."""
    names = ["f1_macro", "auc", "sensitivity", "brier"]
    rng = np.random.default_rng(11)
    labels, chances, subjects = cells(rng, 20_000, 20)
    found = sklearns(labels, chances, NAMES, "ALL")
    truth = {name: found[name] for name in names}
    inside = {over: dict.fromkeys(names, 0) for over in ("subjects", "images")}
    times = {"subjects": 300, "images": 60}
    for over, count in times.items():
        for _ in range(count):
            labels, chances, subjects = cells(rng, 28, 20)
            answers, plan = prepare(
                labels, chances, subjects if over == "subjects" else None, NAMES, "ALL",
                resamples=120 if over == "subjects" else 50,
            )  # fmt: skip
            for name, each in replicate(answers, plan, names).items():
                end = interval(each, plan)
                inside[over][name] += end.low <= truth[name] <= end.high
    for name in names:
        assert 0.93 <= inside["subjects"][name] / times["subjects"] <= 0.975, inside
        assert inside["images"][name] / times["images"] < 0.8, inside


def test_1867_cells_of_28_subjects_take_seconds():
    rng = np.random.default_rng(0)
    labels, chances, subjects = cells(rng, 28, 67)
    begin = time.process_time()
    found = figures(labels, chances, subjects, NAMES, "ALL")
    assert time.process_time() - begin < 10  # 1.8 s on a machine with two cores
    assert (found["clusters"], found["resamples"], found["over"]) == (28, 2000, "subjects")
    assert found["clusters_by_class"] == {"hem": 14, "ALL": 14}
    names = [f"P{9 - subject % 10}{subject}" for subject in subjects]
    assert found == figures(labels, chances, names, NAMES, "ALL")


def test_any_metric_of_scikit_learn_has_an_interval():
    labels, chances, subjects = cells(np.random.default_rng(2), 16, 8)
    whole = figures(labels, chances, subjects, NAMES, "ALL")["figures"]
    for metric, name in (
        (sk.roc_auc_score, "auc"),
        (sk.balanced_accuracy_score, "balanced_accuracy"),
        (functools.partial(sk.f1_score, average="macro"), "f1_macro"),
        ("brier", "brier"),
    ):
        found = subject_interval(metric, labels, chances, subjects)
        assert (found.estimate, found.low, found.high) == pytest.approx(
            [whole[name][key] for key in ("estimate", "low", "high")]
        ), name
        assert (found.clusters, found.over) == (16, "subjects")
    kappa = subject_interval(sk.cohen_kappa_score, labels, chances, subjects, resamples=100)
    assert kappa.estimate == pytest.approx(sk.cohen_kappa_score(labels, chances.argmax(axis=1)))
    assert kappa.low < kappa.estimate < kappa.high
    # The same way for what no table knows, and the same resamples: equal ends.
    same = subject_interval(
        lambda true, said, sample_weight=None: sk.accuracy_score(
            true, said, sample_weight=sample_weight
        ),
        labels, chances, subjects, needs="labels", resamples=100,
    )  # fmt: skip
    fast = subject_interval("accuracy", labels, chances, subjects, resamples=100)
    assert same.estimate == pytest.approx(fast.estimate)
    assert (same.low, same.high) == pytest.approx((fast.low, fast.high), abs=5e-3)
    names = np.array(["hem", "ALL"])[labels]
    texts = subject_interval(sk.roc_auc_score, names, chances, subjects, classes=["hem", "ALL"])
    assert texts.estimate == pytest.approx(whole["auc"]["estimate"])
    assert subject_interval("auc", labels, chances, None).over == "images"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"metric": "f1_marco"}, "f1_marco.*is none of f1_macro"),
        ({"metric": max}, "needs='labels' or needs='probabilities'"),
        ({"chances": np.full((32, 2), np.nan)}, "32 of 32 samples have scores that are no finite"),
        ({"chances": np.full((32, 2), 3.0)}, "must be probabilities.*Apply a softmax"),
        ({"chances": np.full((32, 3), 1 / 3), "classes": ["a", "b"]}, "2 classes.*3 columns"),
        ({"subjects": [1, 2]}, "32 samples, but subjects of the shape \\(2,\\)"),
        ({"labels": np.zeros(32, int)}, "undefined for these samples, whose classes are 0"),
    ],
)
def test_bad_arguments_are_refused(change, says):
    labels, chances, subjects = cells(np.random.default_rng(2), 8, 4)
    given_ = {"metric": sk.roc_auc_score, "labels": labels, "chances": chances,
              "subjects": subjects, "classes": None, **change}  # fmt: skip
    with pytest.raises(ConfigError, match=says):
        subject_interval(
            given_["metric"], given_["labels"], given_["chances"], given_["subjects"],
            classes=given_["classes"], resamples=50,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("subjects", "known", "says"),
    [(8, True, "rough ones: a class has 4 subjects only"), (44, True, "over 44 subjects (22 hem"),
     (8, False, "over 48 images (24 hem, 24 ALL), drawn within class, 2,000 resamples; no subject "
      "is known, and what subjects differ by is not in it")],
)  # fmt: skip
def test_the_printed_table_has_each_interval_and_says_over_what(subjects, known, says):
    labels, chances, people = cells(np.random.default_rng(3), subjects, 6)
    found = figures(labels, chances, people if known else None, NAMES, "ALL")
    text = format_metrics(
        {**classification_metrics(labels, chances, NAMES, positive="ALL"), "intervals": found}
    )
    assert says in text
    for name in ("auc", "sensitivity", "f1_macro", "brier"):
        each = found["figures"][name]
        assert f"{each['estimate']:.4f} ({each['low']:.3f}–{each['high']:.3f})" in text, name


def test_one_class_alone_gives_what_can_be_given():
    labels, chances, people = cells(np.random.default_rng(3), 8, 6)
    chosen = labels == 1
    found = figures(labels[chosen], chances[chosen], people[chosen], NAMES, "ALL")
    plain = classification_metrics(labels[chosen], chances[chosen], NAMES, positive="ALL")
    assert found["clusters_by_class"] == {"hem": 0, "ALL": 4}
    text = format_metrics({**plain, "intervals": found})
    assert re.search(r"^AUC +undefined: one class only$", text, flags=re.MULTILINE)
    assert re.search(r"^specificity +undefined: no image of hem$", text, flags=re.MULTILINE)
    assert found["figures"]["sensitivity"]["low"] is not None
    others = figures(labels[~chosen], chances[~chosen], people[~chosen], NAMES, "ALL")
    plain = classification_metrics(labels[~chosen], chances[~chosen], NAMES, positive="ALL")
    text = format_metrics({**plain, "intervals": others})
    assert re.search(r"^recall +undefined  ", text, flags=re.MULTILINE)
    one = figures(labels[:6], chances[:6], people[:6], NAMES, "ALL")["figures"]["accuracy"]
    assert (one["low"], one["high"]) == (0, 1)
