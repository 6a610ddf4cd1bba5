"""Labels, parts and subjects that can be read in two ways are refused or told."""

import numpy as np
import pytest

from fastleuk.config import DataConfig
from fastleuk.data.discover import discover
from fastleuk.data.folders.parts import part_of
from fastleuk.data.load import load_dataset
from fastleuk.data.open import open_dataset
from fastleuk.data.split.split import PARTS, make_split, read_split, write_split
from fastleuk.errors import ConfigError, DataError
from tests.makers.data_trees import put, small_cnmc


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


def labels(manifest):
    return {path: manifest.label_name(i) for i, path in enumerate(manifest.paths)}


# Names of C-NMC in class folders


DISAGREE = ("blast/UID_H6_1_1_hem.png", "blast/UID_7_1_1_all.png", "normal/UID_H8_1_1_hem.png")


def test_folders_and_names_that_disagree_are_refused_with_both_readings(tmp_path):
    put(tmp_path, *DISAGREE)
    with pytest.raises(DataError) as caught:
        discover(tmp_path)
    text = str(caught.value)
    assert "--layout folders (classes blast, normal)" in text
    assert "--layout cnmc" in text
    assert "blast/UID_H6_1_1_hem.png: blast by its folder, hem by its name" in text
    by_folder = discover(tmp_path, layout="folders").manifest
    assert labels(by_folder) == {p: p.split("/")[0] for p in sorted(DISAGREE, key=str.casefold)}
    assert set(by_folder.subjects) == {"H6", "7", "H8"}
    by_name = discover(tmp_path, layout="cnmc").manifest
    assert labels(by_name)["blast/UID_H6_1_1_hem.png"] == "hem"


def test_a_class_of_other_names_is_not_left_out_in_silence(tmp_path):
    put(tmp_path, *(f"blast/UID_{i}_1_1_all.png" for i in range(3)))
    put(tmp_path, *(f"normal/UID_H{i}_1_1_hem.png" for i in range(3)))
    put(tmp_path, "basophil/1.png", "basophil/2.png")
    with pytest.raises(DataError, match=r"basophil/1\.png: basophil by its folder, left out"):
        discover(tmp_path)
    assert discover(tmp_path, layout="folders").manifest.class_names == (
        "basophil", "blast", "normal"
    )  # fmt: skip


@pytest.mark.parametrize(
    "names",
    [
        ("leukemia/UID_1_1_1_all.png", "normal/UID_H1_1_1_hem.png"),
        ("1/UID_1_1_1_all.png", "H1/UID_H1_1_1_hem.png", "H2/UID_H2_1_1_hem.png"),
        ("x/UID_1_1_1_all.png", "x/UID_H1_1_1_hem.png"),
        ("UID_1_1_1_all.png", "UID_H1_1_1_hem.png"),
        ("train/UID_1_1_1_all.png", "train/UID_H1_1_1_hem.png", "test/UID_H2_1_1_hem.png"),
        ("ALL/UID_1_1_1_all.png", "hem/UID_H1_1_1_hem.png", "figures/1.png", "figures/2.png"),
    ],
)
def test_folders_that_agree_or_are_no_classes_are_fine(tmp_path, names):
    put(tmp_path, *names)
    manifest = discover(tmp_path).manifest
    for path, label in labels(manifest).items():
        assert path.lower().endswith(f"_{label.lower()}.png")


def test_one_foreign_file_blocks_nothing_and_many_do(tmp_path):
    root = small_cnmc(tmp_path, cells=3)
    put(root, "C-NMC_training_data/fold_0/hem/copy of cell.bmp")
    dataset = load_dataset(root)
    assert [item.lost_by for item in dataset.ignored] == ["hem"]
    put(root, *(f"C-NMC_training_data/fold_0/hem/odd {i}.bmp" for i in range(3)))
    with pytest.raises(DataError, match="'hem' 4 of 24"):
        load_dataset(root)


def test_a_few_cnmc_names_among_others_are_told(tmp_path):
    put(tmp_path, *(f"{c}/{i}.png" for c in "ab" for i in range(3)), "a/UID_H1_1_1_hem.png")
    found = discover(tmp_path)
    assert any("1 files bear C-NMC names" in remark for remark in found.remarks)
    put(tmp_path, "a/UID_1_1_1_all.png")
    with pytest.raises(DataError, match="disagree"):
        discover(tmp_path)


# Parts


@pytest.mark.parametrize(
    "names",
    [
        ("TRAIN", "TEST", "TEST_SIMPLE"), ("training_set", "test_set"), ("train", "val", "holdout"),
        ("Train", "Test", "dev"), ("train_images", "test_images"), ("TrainData", "TestData"),
        ("trainset", "valset", "testset"), ("01_train", "02_test"), ("bccd train", "bccd test"),
        ("Training", "Validation", "Hold-out"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("inside", [False, True], ids=["part/class", "class/part"])
def test_folders_that_are_parts(tmp_path, names, inside):
    put(tmp_path, *(f"{c}/{p}/{i}.png" if inside else f"{p}/{c}/{i}.png"
                    for p in names for c in ("x", "y") for i in range(4)))  # fmt: skip
    if inside:
        remarks = discover(tmp_path).remarks
        assert any("--split folders uses them" in remark for remark in remarks)
    else:
        with pytest.raises(DataError, match=r"ready-made split.*--split folders"):
            discover(tmp_path)
    config = DataConfig(data=str(tmp_path), split="folders")
    dataset = open_dataset(config, report=lambda _: None, hidden=True)
    manifest = dataset.manifest
    assert manifest.class_names == ("x", "y")
    split = make_split(manifest, dataset.groups, mode="folders", val_fraction=0.3)
    part = {manifest.paths[i]: p for p in ("train", "val", "test") for i in split.indices(p)}
    assert len(part) == len(manifest)
    has_val = any(part_of(name)[0] == "val" for name in names)
    for path, where in part.items():
        folder = path.split("/")[1 if inside else 0]
        named = part_of(folder)[0]
        assert where == named or (where == "val" and named == "train" and not has_val)


@pytest.mark.parametrize("names", [("blast", "normal"), ("test", "control"), ("valid", "invalid")])
def test_folders_that_are_classes(tmp_path, names):
    put(tmp_path, *(f"{name}/1.png" for name in names))
    assert discover(tmp_path).manifest.class_names == tuple(sorted(names))
    with pytest.raises(DataError, match="no folders of a ready-made split"):
        discover(tmp_path, layout="parts")


def _parts(root, regex="", **more):
    config = DataConfig(data=str(root), split="folders", subject_regex=regex, **more)
    dataset = open_dataset(config, report=lambda _: None, hidden=True)
    return dataset, make_split(dataset.manifest, dataset.groups, mode="folders", val_fraction=0.3)


def test_what_an_identical_image_ties_to_another_part_is_unused(tmp_path):
    put(tmp_path, *(f"train/{c}/p{c}{i}_{k}.png" for c in "xy" for i in range(4) for k in range(2)))
    put(tmp_path, *(f"test/{c}/q{c}{i}_0.png" for c in "xy" for i in range(3)))
    (tmp_path / "test/x/qx0_copy.png").write_bytes((tmp_path / "train/x/px0_0.png").read_bytes())
    dataset, split = _parts(tmp_path, r"/(\w\w\d)_")
    unused = {dataset.manifest.paths[i] for i in split.indices("unused")}
    assert unused == {"train/x/px0_1.png"}
    assert any("1 images of train or val are unused" in note for note in split.notes)
    path = tmp_path / "split.csv"
    write_split(split, dataset.manifest, path, dataset.sha256)
    again = read_split(path, dataset.manifest, dataset.groups, dataset.sha256)
    np.testing.assert_array_equal(again.parts, split.parts)
    assert again.notes == split.notes


def test_a_subject_in_two_parts_is_refused(tmp_path):
    put(tmp_path, *(f"{p}/{c}/p{c}{i}_{p}.png" for p in ("train", "test") for c in "xy"
                    for i in range(3)))  # fmt: skip
    with pytest.raises(DataError, match=r"(?s)6 subjects.*--layout parts.*px0: test, train"):
        _parts(tmp_path, r"/(p\w\d)_")


def test_parts_without_test_and_contradicting_options(tmp_path):
    put(tmp_path, *(f"{p}/{c}/{i}.png" for p in ("train", "val") for c in "xy" for i in range(3)))
    with pytest.raises(DataError, match="no labelled image of test"):
        _parts(tmp_path)
    with pytest.raises(ConfigError, match="contradict"):
        _parts(tmp_path, layout="folders")
    assert discover(tmp_path, layout="folders").manifest.class_names == ("train", "val")
    merged = discover(tmp_path, layout="parts").manifest
    assert merged.class_names == ("x", "y")
    assert set(merged.sources) == {"train", "val"}


def test_a_test_folder_without_classes_is_unlabelled(tmp_path):
    put(tmp_path, *(f"train/{c}/{i}.png" for c in "xy" for i in range(3)), "test/1.png")
    manifest = discover(tmp_path, layout="parts").manifest
    assert manifest.labels.tolist() == [-1, 0, 0, 0, 1, 1, 1]


def test_cnmc_is_tested_on_its_preliminary_set(tmp_path):
    root = small_cnmc(tmp_path, cells=2)
    dataset, split = _parts(root)
    sources = {p: {dataset.manifest.sources[i] for i in split.indices(p)} for p in PARTS}
    assert sources == {
        "unused": {"final"},
        "train": {"train"},
        "val": {"train"},
        "test": {"prelim"},
    }


def test_parts_that_hold_cnmc_names_only(tmp_path):
    put(tmp_path, *(f"{p}/UID_{h}{k}_{i}_1_{c}.bmp" for p, k in (("train", 1), ("test", 2))
                    for h, c in (("", "all"), ("H", "hem")) for i in range(2)))  # fmt: skip
    manifest = discover(tmp_path, layout="parts").manifest
    assert manifest.class_names == ("hem", "ALL")
    assert set(zip(manifest.sources, manifest.subjects, strict=True)) == {
        ("train", "1"), ("train", "H1"), ("test", "2"), ("test", "H2")
    }  # fmt: skip


# Subjects


@pytest.mark.parametrize(
    ("regex", "subjects", "what"),
    [
        (r"^p(\d+)_", ["1", "2", "1"], "file name"),
        (r"p(\d+)_(\w)", ["1", "2", "1"], "path"),
        (r"(\w)_(?P<subject>\w)\.", ["x", "y", "z"], "path"),
        (r"^q(\d)|^p(\d+)", ["1", "2", "1"], "file name"),
    ],
)
def test_what_the_regex_is_matched_against(tmp_path, regex, subjects, what):
    put(tmp_path, "a/p1_x.png", "a/p2_y.png", "b/p1_z.png")
    found = discover(tmp_path, subject_regex=regex)
    assert list(found.manifest.subjects) == subjects
    assert f"matched against the {what}" in found.remarks[0]


def test_a_regex_that_misses_names_twenty_files(tmp_path):
    put(tmp_path, *(f"{c}/{i}.png" for c in "ab" for i in range(15)))
    with pytest.raises(DataError) as caught:
        discover(tmp_path, subject_regex=r"p(\d+)_")
    cause, *lines = str(caught.value).splitlines()
    assert "30 of 30" in cause
    assert "each file name" in cause
    assert len(lines) == 21
    assert lines[-1] == "  … and 10 more"


@pytest.mark.parametrize(
    ("one", "other"),
    [("12", "12.0"), ("12", "012"), ("p1", "P1"), ("ma\N{LATIN SMALL LETTER SHARP S}", "mass")],
)  # fmt: skip
def test_two_spellings_of_a_subject_are_refused_with_both(tmp_path, one, other):
    put(tmp_path, "1.png", "2.png")
    table = tmp_path / "m.csv"
    table.write_text(f"path,label,subject\n1.png,a,{one}\n2.png,b,{other}\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        discover(table)
    for spelling, path in ((one, "1.png"), (other, "2.png")):
        assert f"{spelling!r} ({path})" in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("12", "\N{FULLWIDTH DIGIT ONE}\N{FULLWIDTH DIGIT TWO}"),
        ("12", " 12 "),
        ("12", "\N{ZERO WIDTH NO-BREAK SPACE}12"),
        ("é", "e\N{COMBINING ACUTE ACCENT}"),
        ("a b", "a\N{NO-BREAK SPACE}b"),
    ],
)
def test_spellings_that_are_surely_one_subject_become_one(tmp_path, one, other):
    put(tmp_path, "1.png", "2.png")
    table = tmp_path / "m.csv"
    table.write_text(f"path,label,subject\n1.png,a,{one}\n2.png,b,{other}\n", encoding="utf-8")
    assert discover(table).manifest.subjects == (one, one)


def test_healthy_and_ill_subjects_of_one_number_stay_apart(tmp_path):
    put(tmp_path, "ALL/UID_1_1_1_all.png", "hem/UID_H1_1_1_hem.png", "hem/UID_h1_2_1_hem.png")
    assert set(discover(tmp_path).manifest.subjects) == {"1", "H1", "h1"}


def test_images_that_are_their_own_subject_keep_their_path(tmp_path):
    names = ("a/\N{FULLWIDTH DIGIT ONE}.png", "a/1.png", "a/01.png", "b/ 1.png", "b/e\u0301.png")
    put(tmp_path, *names)
    manifest = discover(tmp_path).manifest
    assert manifest.subjects == manifest.paths
