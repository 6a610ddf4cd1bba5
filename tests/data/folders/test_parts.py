"""Folders that are a ready-made split, and the split that they make."""

import dataclasses

import numpy as np
import pytest

from fastleuk.config import DataConfig
from fastleuk.data.discover import discover
from fastleuk.data.folders.parts import part_of
from fastleuk.data.from_config import open_dataset
from fastleuk.data.split.file import read_split, write_split
from fastleuk.data.split.make import make_split
from fastleuk.data.split.parts import PARTS
from fastleuk.data.split.ready_made import folder_notes
from fastleuk.errors import ConfigError, DataError
from tests.makers.data_trees import put, small_cnmc


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


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
    told = [note for note in split.notes if "unused" in note]
    assert [note.split(" are ")[0] for note in told] == ["1 images of train or val"]
    path = tmp_path / "split.csv"
    write_split(split, dataset.manifest, path, dataset.sha256)
    again = read_split(path, dataset.manifest, dataset.groups, dataset.sha256)
    np.testing.assert_array_equal(again.parts, split.parts)
    assert again.notes == split.notes


def test_labelled_images_of_no_part_are_counted(tmp_path):
    put(tmp_path, *(f"{p}/{c}/{p}{c}{i}.png" for p in ("train", "test") for c in "xy"
                    for i in range(3)))  # fmt: skip
    dataset, split = _parts(tmp_path)
    sources = list(dataset.manifest.sources)
    sources[:2] = ["extra", "extra"]
    manifest = dataclasses.replace(dataset.manifest, sources=tuple(sources))
    told = [note for note in folder_notes(manifest, split.parts) if "no folder of a part" in note]
    assert told == ["2 labelled images in no folder of a part are unused."]


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
