"""Figures of subjects: majority vote and mean probability."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import f1_score, roc_auc_score

from fastleuk.evaluation.by_subject import by_subject, format_by_subject, subject_figures
from fastleuk.evaluation.decision import Decision
from fastleuk.evaluation.scored import Scored, concentration, concentration_sentence

NAMES = ("hem", "ALL")


def _scored(labels, scores, subjects, *, threshold=None, known=True):
    labels, scores = np.array(labels), np.array(scores)
    decision = Decision(
        threshold=threshold, rule="0.3", positive="ALL" if threshold else None, class_names=NAMES
    )
    chances = np.stack([1 - scores, scores], axis=1)
    manifest = SimpleNamespace(
        class_names=NAMES, subjects=list(subjects), subject_is_image=not known
    )
    groups = np.unique(list(subjects), return_inverse=True)[1]
    return Scored(
        dataset=SimpleNamespace(manifest=manifest, groups=groups),
        rows=np.arange(len(labels)),
        labels=labels,
        before=chances,
        probabilities=chances,
        predicted=decision.labels(chances),
        decision=decision,
        positive="ALL",
    )


def test_votes_means_and_ties():
    scored = _scored(
        [1, 1, 1, 0, 0, 1, 1],
        [0.6, 0.6, 0.1, 0.2, 0.9, 0.45, 0.6],
        ["a", "a", "a", "b", "b", "c", "c"],
    )
    found = by_subject(scored)
    assert found.names == ("a", "b", "c")
    assert found.votes[:, 1] == pytest.approx([2 / 3, 1 / 2, 1 / 2])
    assert found.means[:, 1] == pytest.approx([1.3 / 3, 0.55, 0.525])
    assert found.meant.tolist() == [0, 1, 1]  # the mean of a is below a half, its vote is not
    assert found.voted.tolist() == [1, 1, 1]  # a tie: the more probable one
    strict = by_subject(_scored([1, 1, 0, 0], [0.4, 0.5, 0.2, 0.35], "aabb", threshold=0.3))
    assert strict.meant.tolist() == [1, 0]
    assert strict.votes[:, 1].tolist() == [1, 0.5]


rows_of = st.lists(st.tuples(st.integers(0, 5), st.floats(0.01, 0.99)), min_size=8, max_size=60)


@settings(deadline=None, max_examples=30)
@given(rows_of)
def test_figures_of_subjects_are_scikit_learns(rows):
    """Subjects 0, 2 and 4 are of one class, 1, 3 and 5 of the other."""
    subjects = np.array([0, 0, 1, 1, *(subject for subject, _ in rows)])
    scores = np.array([0.4, 0.2, 0.7, 0.9, *(score for _, score in rows)])
    told, table = subject_figures(_scored(subjects % 2, scores, [f"s{s}" for s in subjects]))
    there = np.unique(subjects)
    means = np.array([scores[subjects == s].mean() for s in there])
    votes = np.array([(scores[subjects == s] > 0.5).mean() for s in there])
    mean, vote = (told[way]["intervals"]["figures"] for way in ("mean", "vote"))
    assert mean["auc"]["estimate"] == pytest.approx(roc_auc_score(there % 2, means))
    assert vote["auc"]["estimate"] == pytest.approx(roc_auc_score(there % 2, votes))
    assert mean["f1_macro"]["estimate"] == pytest.approx(
        f1_score(there % 2, means > 0.5, average="macro", zero_division=0)
    )
    assert told["mean"]["intervals"]["clusters"] == told["subjects"] == len(there)
    assert [row["subject"] for row in table] == [f"s{s}" for s in there]
    assert sum(row["images"] for row in table) == len(subjects)
    assert np.sum(told["vote"]["confusion_matrix"]) == len(there)


@pytest.mark.parametrize(
    ("scored", "says"),
    [
        (_scored([0, 1], [0.2, 0.7], "ab", known=False), "the data name no subjects"),
        (_scored([0, 1], [0.2, 0.7], "ab"), "every subject has one image"),
    ],
)
def test_why_there_are_none_is_said(scored, says):
    told, table = subject_figures(scored)
    assert says in told["none"]
    assert not table
    assert says in format_by_subject(told)


def test_subjects_of_several_classes_are_in_the_table_and_in_no_figure():
    told, table = subject_figures(
        _scored([0, 1, 0, 0, 1, 1], [0.2, 0.4, 0.1, 0.3, 0.8, 0.6], "mmaabb")
    )
    assert (told["subjects"], told["mixed"]) == (2, 1)
    assert [(row["subject"], row["label"], row["right"], row["images"]) for row in table] == [
        ("a", "hem", 2, 2), ("b", "ALL", 2, 2), ("m", "", 1, 2),
    ]  # fmt: skip
    assert [table[2][f"{key}_ALL"] for key in ("images", "right")] == [1, 0]
    said = format_by_subject(told)
    assert "1 subject with images of several classes has" in said
    assert "all of 2 of 3 subjects" in said
    assert "m 1 of 2" in said
    told, table = subject_figures(_scored([0, 1], [0.2, 0.7], "aa"))
    assert "vote" not in told
    assert table[0]["right"] == 2
    assert "every subject has images of several classes" in format_by_subject(told)


def test_one_class_gives_no_figure_that_needs_two():
    """Labelled subjects of one class only, as where all others are mixed: no macro-F1 of 0.5."""
    told, _ = subject_figures(_scored([0, 0, 0, 0, 0, 1], [0.1] * 5 + [0.9], "aabbmm"))
    for way in ("vote", "mean"):
        found = told[way]["intervals"]["figures"]
        for name in ("f1_macro", "auc", "sensitivity", "mcc", "recall_macro"):
            assert found[name]["estimate"] is None, name
            assert found[name]["low"] is None, name
        assert found["accuracy"]["estimate"] == 1
        assert found["accuracy"]["low"] == pytest.approx(0.025 ** (1 / 2))
    said = format_by_subject(told)
    assert "0.5000" not in said
    assert re.search(r"^macro-F1 +undefined: one class only", said, flags=re.MULTILINE)


def test_six_of_six_subjects_have_the_exact_interval():
    labels = np.repeat([0, 0, 0, 1, 1, 1], 4)
    scored = _scored(labels, 0.1 + 0.8 * labels, np.repeat(list("abcdef"), 4))
    told, _ = subject_figures(scored)
    low = binomtest(6, 6).proportion_ci().low
    assert low == pytest.approx(0.541, abs=1e-3)
    said = format_by_subject(told)
    line = next(line for line in said.splitlines() if line.startswith("accuracy"))
    assert line.count(f"1.0000 ({low:.3f}–1.000)") == 2
    assert "(1.000–1.000)" not in said


@pytest.mark.parametrize(
    ("subjects", "known", "expected"),
    [
        ("aaab" + "cdef", True, [{"class": "hem", "subject": "a", "images": 3, "of": 4}]),
        ("aabb" + "cdef", True, []),  # half of a class, and no more
        ("aaaa" + "cccd", True, [{"class": "hem", "subject": "a", "images": 4, "of": 4},
                                 {"class": "ALL", "subject": "c", "images": 3, "of": 4}]),
        ("aaab" + "cdef", False, []),
    ],
)  # fmt: skip
def test_a_class_that_rests_on_one_subject_is_named(subjects, known, expected):
    scored = _scored([0] * 4 + [1] * 4, [0.2] * 8, subjects, known=known)
    found = concentration(scored)
    assert found == expected
    for each in found:
        assert f"{each['images']} of 4 images" in concentration_sentence(each)
