"""K folds drawn by subject: ``kfold:I/K``."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastleuk.data.split.draw_folds import _deal, draw_folds
from fastleuk.data.split.file import read_split, write_split
from fastleuk.data.split.make import make_split
from fastleuk.data.split.parts import PARTS, check_split, parse_mode
from fastleuk.errors import ConfigError
from tests.makers.cohorts import cohort, counts_by_class, mixed_cohort


def folds_of(manifest, groups, folds, *, seed=0, draw=""):
    return [
        make_split(manifest, groups, mode=f"kfold:{i}/{folds}{draw}", seed=seed, val_fraction=0.2)
        for i in range(folds)
    ]


@settings(max_examples=12, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(1, 30), min_size=6, max_size=15), min_size=2, max_size=3),
    folds=st.integers(2, 5),
    seed=st.integers(0, 5),
)
def test_folds_are_disjoint_by_subject_and_test_everything_once(
    sizes, folds, seed, tmp_path_factory
):
    manifest, groups = cohort(tmp_path_factory.getbasetemp(), sizes)
    splits = folds_of(manifest, groups, folds, seed=seed)
    tested = np.concatenate([split.indices("test") for split in splits])
    assert sorted(tested) == list(range(len(manifest)))
    for split in splits:
        for part in PARTS[1:]:
            assert set(manifest.labels[split.indices(part)]) == set(range(len(sizes)))
        for group in np.unique(groups):
            assert len(set(split.parts[groups == group])) == 1


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 90), min_size=6, max_size=30),
    folds=st.integers(2, 6),
    seed=st.integers(0, 99),
)
def test_every_deal_is_as_even_as_the_largest_subject_allows(sizes, folds, seed):
    counts = np.array(sizes)[:, None]
    owner = np.zeros(len(sizes), dtype=np.int64)
    dealt = _deal(counts, owner, folds, np.random.default_rng(seed))
    images = np.bincount(dealt, weights=sizes, minlength=folds)
    assert images.max() - images.min() <= max(sizes)
    people = np.bincount(dealt, minlength=folds)
    assert people.max() - people.min() <= 1


def test_the_most_even_of_many_deals_is_taken(tmp_path):
    manifest, groups = cohort(tmp_path, [[30, 20, 20, 10, 25, 15] * 2, [9, 1, 5, 5] * 4])
    for seed in range(3):
        drawn = draw_folds(manifest.labels, groups, manifest.class_names, 4, seed)
        for code, each in ((0, 60), (1, 20)):
            assert np.bincount(drawn[manifest.labels == code]).tolist() == [each] * 4


@settings(max_examples=8, deadline=None)
@given(counts=counts_by_class(12, 24, least=1))
def test_subjects_with_several_classes_are_kept_whole(counts, tmp_path_factory):
    manifest, groups = mixed_cohort(tmp_path_factory.getbasetemp(), counts)
    splits = folds_of(manifest, groups, 3)
    tested = np.concatenate([split.indices("test") for split in splits])
    assert sorted(tested) == list(range(len(manifest)))
    for split in splits:
        check_split(split, manifest, split.groups)


def test_subjects_tied_by_an_identical_file_stay_together(tmp_path):
    manifest, groups = cohort(tmp_path, [[5] * 9, [5] * 9])
    groups = np.where(groups == groups[0], groups[-1], groups)  # one group with both classes
    for split in folds_of(manifest, groups, 4):
        assert len(set(split.parts[groups == groups[0]])) == 1


def test_the_runs_seed_changes_validation_and_never_the_folds(tmp_path):
    manifest, groups = cohort(tmp_path, [[7, 3, 5, 8, 2, 6, 4] * 3, [4, 9, 6, 1, 3] * 4])
    first, second = (folds_of(manifest, groups, 3, seed=seed) for seed in (0, 1))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.indices("test"), b.indices("test"))
    assert any(
        not np.array_equal(a.indices("val"), b.indices("val"))
        for a, b in zip(first, second, strict=True)
    )
    other = folds_of(manifest, groups, 3, draw="@1")
    assert not np.array_equal(other[0].indices("test"), first[0].indices("test"))
    again = folds_of(manifest, groups, 3, draw="@0")
    np.testing.assert_array_equal(again[0].parts, first[0].parts)


def test_a_drawn_fold_is_written_and_read_back(tmp_path):
    manifest, groups = cohort(tmp_path, [[4] * 9, [4] * 9])
    sha256 = ["h"] * len(manifest)
    split = make_split(manifest, groups, mode="kfold:1/3@5", seed=2)
    write_split(split, manifest, tmp_path / "split.csv", sha256)
    again = read_split(tmp_path / "split.csv", manifest, groups, sha256)
    np.testing.assert_array_equal(again.parts, split.parts)
    assert (again.mode, again.seed) == ("kfold:1/3@5", 2)


@pytest.mark.parametrize(
    "mode", ["kfold", "kfold:", "kfold:1", "kfold:3/3", "kfold:0/1", "kfold:-1/3", "kfold:0/3@x"]
)
def test_modes_that_name_no_fold(mode):
    with pytest.raises(ConfigError, match="kfold:0/5"):
        parse_mode(mode)


@pytest.mark.parametrize(
    ("sizes", "folds", "says"),
    [
        ([[5] * 4, [5] * 20], 5, r"(?s)at least 5 .*choose 4 folds or fewer.*c0: 4 "),
        ([[5] * 3, [5] * 20], 2, r"(?s)at least 4 .*choose 3 folds,.*c0: 3 "),
        ([[5] * 2, [5] * 20], 3, r"(?s)at least 3 .*add subjects.*c0: 2 "),
    ],
)
def test_more_folds_than_subjects(tmp_path, sizes, folds, says):
    manifest, groups = cohort(tmp_path, sizes)
    with pytest.raises(ConfigError, match=says) as caught:
        make_split(manifest, groups, mode=f"kfold:0/{folds}")
    assert "c1:" not in str(caught.value)
