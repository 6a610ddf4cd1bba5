"""Figures of subjects: majority vote and mean probability."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from fastleuk.evaluation.by_subject import by_subject, format_by_subject, subject_figures
from fastleuk.evaluation.decision import Decision
from fastleuk.evaluation.scored import Scored

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
        (_scored([0, 1], [0.2, 0.7], "aa"), "every subject has images of several classes"),
    ],
)
def test_why_there_are_none_is_said(scored, says):
    told, table = subject_figures(scored)
    assert says in told["none"]
    assert not table
    assert says in format_by_subject(told)


def test_subjects_of_several_classes_are_left_out_and_counted():
    told, table = subject_figures(
        _scored([0, 1, 0, 0, 1, 1], [0.2, 0.7, 0.1, 0.3, 0.8, 0.6], "mmaabb")
    )
    assert (told["subjects"], told["mixed"]) == (2, 1)
    assert [row["subject"] for row in table] == ["a", "b"]
    assert "1 subject with images of several classes has" in format_by_subject(told)
