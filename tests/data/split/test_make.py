import csv
import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastleuk.data.copies.identical import subject_groups
from fastleuk.data.split.file import read_split, write_split
from fastleuk.data.split.make import make_split
from fastleuk.data.split.parts import PARTS, check_split, parse_mode
from fastleuk.errors import ConfigError, DataError
from tests.makers.cells import PROJECT
from tests.makers.cohorts import cohort, counts_by_class, mixed_cohort
from tests.makers.data_trees import manifest_of


@pytest.fixture
def even(tmp_path):
    return cohort(tmp_path, [[10] * 20, [20] * 30], folds=3)


def parts_of_groups(split, groups):
    return {g: {PARTS[p] for p in split.parts[groups == g]} for g in np.unique(groups)}


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(1, 60), min_size=3, max_size=25), min_size=2, max_size=4),
    seed=st.integers(0, 10),
)
def test_no_group_crosses_and_every_part_has_every_class(sizes, seed, tmp_path_factory):
    manifest, groups = cohort(tmp_path_factory.getbasetemp(), sizes)
    split = make_split(manifest, groups, seed=seed)
    assert all(len(parts) == 1 for parts in parts_of_groups(split, groups).values())
    for part in PARTS[1:]:
        assert set(manifest.labels[split.indices(part)]) == set(range(len(sizes)))
    assert len(split.indices("unused")) == 0


@settings(max_examples=20, deadline=None)
@given(counts=counts_by_class(12, 30, least=0))
def test_subjects_with_several_classes(counts, tmp_path_factory):
    if sum(b > 0 for _, b in counts) < 8:
        return
    manifest, groups = mixed_cohort(tmp_path_factory.getbasetemp(), counts)
    split = make_split(manifest, groups, val_fraction=0.2, test_fraction=0.2)
    assert all(len(parts) == 1 for parts in parts_of_groups(split, groups).values())
    check_split(split, manifest, groups)


def test_fractions_are_met_where_sizes_allow(even):
    manifest, groups = even
    split = make_split(manifest, groups, val_fraction=0.2, test_fraction=0.1)
    for code, total in ((0, 200), (1, 600)):
        for part, fraction in (("val", 0.2), ("test", 0.1)):
            assert (manifest.labels[split.indices(part)] == code).sum() == fraction * total


def test_a_dominant_subject_is_left_to_training(tmp_path):
    manifest, groups = cohort(tmp_path, [[100] + [5] * 20, [10] * 20])
    for seed in range(5):
        split = make_split(manifest, groups, seed=seed)
        assert split.parts[0] == PARTS.index("train")


def test_each_image_its_own_subject_is_exact_and_said(tmp_path):
    manifest, groups = cohort(tmp_path, [[1] * 100, [1] * 300])
    manifest = dataclasses.replace(manifest, subjects=manifest.paths)
    split = make_split(manifest, groups)
    assert np.bincount(manifest.labels[split.indices("test")]).tolist() == [10, 30]
    assert np.bincount(manifest.labels[split.indices("val")]).tolist() == [10, 30]
    assert any("can't be promised" in note for note in split.notes)


def test_too_few_subjects_are_said_class_by_class(tmp_path):
    manifest, groups = cohort(tmp_path, [[10] * 2, [10] * 9, [1]])
    with pytest.raises(DataError, match=r"(?s)at least 3.*c0: 2 .*c2: 1 ") as caught:
        make_split(manifest, groups)
    assert "c1:" not in str(caught.value)


def test_image_split_is_exactly_stratified(even):
    manifest, groups = even
    split = make_split(manifest, groups, mode="image", val_fraction=0.15, test_fraction=0.1)
    assert np.bincount(manifest.labels[split.indices("test")]).tolist() == [20, 60]
    assert np.bincount(manifest.labels[split.indices("val")]).tolist() == [30, 90]
    tested = set(groups[split.indices("test")])
    shared = tested & set(groups[split.indices("train")])
    assert f"{len(shared)} of the {len(tested)} subjects" in split.notes[0]


def test_image_split_of_too_few_images(tmp_path):
    manifest, groups = cohort(tmp_path, [[2], [30]])
    with pytest.raises(DataError, match="class 'c0' has 2"):
        make_split(manifest, groups, mode="image")


def test_fold_split_keeps_ties_and_strays_out(even):
    manifest, groups = even
    tied = np.flatnonzero(np.array(manifest.subjects) == "c0s1")  # fold 1
    groups = groups.copy()
    groups[tied] = groups[0]  # c0s0 is in fold 0
    split = make_split(manifest, groups, mode="fold:0", val_fraction=0.2)
    np.testing.assert_array_equal(split.indices("test"), np.flatnonzero(manifest.folds == 0))
    np.testing.assert_array_equal(split.indices("unused"), tied)
    assert any("10 images of 1 subject(s)" in note for note in split.notes)
    val = manifest.labels[split.indices("val")]
    assert np.bincount(val).tolist() == [20, 80]


def test_all_other_folds_are_trained_on_and_what_has_no_fold_is_not(even):
    manifest, groups = even
    folds = manifest.folds.copy()
    stray = np.flatnonzero(np.array(manifest.subjects) == "c1s2")
    folds[stray] = -1
    manifest = dataclasses.replace(manifest, folds=folds)
    split = make_split(manifest, groups, mode="fold:1", val_fraction=0.2)
    np.testing.assert_array_equal(split.indices("unused"), stray)
    used = np.concatenate([split.indices("train"), split.indices("val")])
    assert set(folds[used]) == {0, 2}
    assert len(used) == ((folds == 0) | (folds == 2)).sum()


def test_fold_split_refuses_a_subject_in_two_folds(even):
    manifest, groups = even
    folds = manifest.folds.copy()
    folds[0] = 2
    broken = dataclasses.replace(manifest, folds=folds)
    with pytest.raises(DataError, match="c0s0: folds 0, 2"):
        make_split(broken, groups, mode="fold:1")


@pytest.mark.parametrize(("mode", "said"), [("fold:7", "only 0, 1, 2"), ("fold:0", "no folds")])
def test_unknown_fold(even, tmp_path, mode, said):
    manifest, groups = even if mode == "fold:7" else cohort(tmp_path, [[3] * 5, [3] * 5])
    with pytest.raises(DataError, match=said):
        make_split(manifest, groups, mode=mode)


@pytest.mark.parametrize("mode", ["fold", "fold:", "fold:x", "fold:-1", "random", ""])
def test_unknown_mode(mode):
    with pytest.raises(ConfigError, match="choose subject, image, or fold:K"):
        parse_mode(mode)


@pytest.mark.parametrize(
    ("val", "test"), [(0, 0.1), (0.1, 0), (1, 0.1), (0.5, 0.5), (-0.1, 0.1), (float("nan"), 0.1)]
)
def test_fractions_that_make_no_sense(even, val, test):
    with pytest.raises(ConfigError, match="fraction"):
        make_split(*even, val_fraction=val, test_fraction=test)


def test_unlabelled_images_are_unused(even):
    manifest, groups = even
    labels = manifest.labels.copy()
    labels[::7] = -1
    part = dataclasses.replace(manifest, labels=labels)
    for mode in ("subject", "image", "fold:1"):
        split = make_split(part, groups, mode=mode)
        assert not np.any(split.parts[::7])


def test_check_refuses_a_crossing_group_by_name(even):
    manifest, groups = even
    split = make_split(manifest, groups)
    victim = int(split.indices("test")[0])
    parts = split.parts.copy()
    parts[victim] = PARTS.index("train")
    crossed = dataclasses.replace(split, parts=parts)
    with pytest.raises(DataError, match=manifest.subjects[victim]):
        check_split(crossed, manifest, groups)
    check_split(dataclasses.replace(crossed, mode="image"), manifest, groups)
    merged = groups.copy()
    merged[groups == groups[victim]] = groups[split.indices("val")[0]]
    with pytest.raises(DataError, match="promises"):
        check_split(split, manifest, merged)


def test_written_and_read_back_is_the_same(even, tmp_path):
    manifest, groups = even
    sha256 = [f"h{i}" for i in range(len(manifest))]
    for mode in ("subject", "image", "fold:2"):
        split = make_split(manifest, groups, mode=mode, seed=5)
        write_split(split, manifest, tmp_path / "split.csv", sha256)
        again = read_split(tmp_path / "split.csv", manifest, groups, sha256)
        np.testing.assert_array_equal(again.parts, split.parts)
        assert (again.mode, again.seed, again.notes) == (split.mode, split.seed, split.notes)
    with open(tmp_path / "split.csv", newline="") as stream:
        header = next(csv.reader(stream))
    assert header[:6] == ["path", "label", "subject", "group", "part", "sha256"]


def test_reading_lists_what_changed(even, tmp_path):
    manifest, groups = even
    sha256 = [f"h{i}" for i in range(len(manifest))]
    path = tmp_path / "split.csv"
    write_split(make_split(manifest, groups), manifest, path, sha256)
    lines = path.read_text().splitlines()
    lines[1] = lines[1].replace("00000.bmp", "gone.bmp")
    path.write_text("\n".join(lines))
    changed = [*sha256[:2], "other", *sha256[3:]]
    relabelled = manifest.labels.copy()
    relabelled[3] = 1
    now = dataclasses.replace(manifest, labels=relabelled)
    with pytest.raises(DataError) as caught:
        read_split(path, now, groups, changed)
    text = str(caught.value)
    for said in (
        "gone.bmp: not in the data",
        "00000.bmp: new",
        "00002.bmp: the file's content has changed",
        "00003.bmp: label was 'c0', is 'c1'",
    ):
        assert said in text


def test_reading_refuses_an_edited_split_that_leaks(even, tmp_path):
    manifest, groups = even
    path = tmp_path / "split.csv"
    write_split(make_split(manifest, groups), manifest, path, ["h"] * len(manifest))
    text = path.read_text()
    path.write_text(text.replace(",test,", ",train,", 1))
    with pytest.raises(DataError, match="promises that no subject is shared"):
        read_split(path, manifest, groups)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("part", "piece", 1),
        lambda text: text.replace(",test,", ",exam,"),
        lambda text: text.replace(",subject,0\n", ",subject,1\n", 1),
        lambda text: text.replace(",subject,0\n", ",best,0\n"),
        lambda text: text.splitlines()[0],
        lambda text: text + text.splitlines()[1] + "\n",
    ],
)
def test_files_that_are_no_split(even, tmp_path, spoil):
    manifest, groups = even
    path = tmp_path / "split.csv"
    write_split(make_split(manifest, groups), manifest, path, ["h"] * len(manifest))
    path.write_text(spoil(path.read_text()))
    with pytest.raises(DataError, match="split file"):
        read_split(path, manifest, groups)


def test_a_missing_split_file(even, tmp_path):
    with pytest.raises(DataError, match="is missing: it says which images"):
        read_split(tmp_path / "none.csv", *even)


def test_split_does_not_depend_on_pythons_hash_seed():
    script = (
        "import sys; sys.path.insert(0, '.')\n"
        "from pathlib import Path; from tests.makers.cohorts import cohort\n"
        "from fastleuk.data.split.make import make_split\n"
        "m, g = cohort(Path('/x'), [[7, 3, 5, 8, 2], [4, 9, 6, 1]], folds=3)\n"
        "print([make_split(m, g, mode=k).parts.tolist() for k in ('subject', 'image')])\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_a_split_made_before_pictures_were_compared_stays_usable_with_a_note(tmp_path):
    subjects = [f"s{i // 2}" for i in range(24)]
    manifest = manifest_of(tmp_path, [i // 2 % 2 for i in range(24)], subjects)
    sha256 = [f"{i:064x}" for i in range(24)]
    drawn = subject_groups(manifest, ())
    split = make_split(manifest, drawn, val_fraction=0.25, test_fraction=0.25)
    write_split(split, manifest, tmp_path / "split.csv", sha256)
    pair = (int(split.indices("train")[0]), int(split.indices("test")[0]))
    tied = subject_groups(manifest, [pair])
    again = read_split(tmp_path / "split.csv", manifest, tied, sha256)
    (note,) = again.looks
    assert "near-identical pictures tie" in note
    assert note in again.notes
    check_split(again, manifest, tied)
    np.testing.assert_array_equal(again.parts, split.parts)
    assert read_split(tmp_path / "split.csv", manifest, drawn, sha256).looks == ()
    # A subject in two parts is still refused, whatever ties it.
    text = (tmp_path / "split.csv").read_text().replace(",train,", ",test,", 1)
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(DataError, match="no subject is shared"):
        read_split(tmp_path / "split.csv", manifest, tied, sha256)
