"""Folders and C-NMC names that tell different classes are refused or told."""

import pytest

from fastleuk.data.dataset import load_dataset
from fastleuk.data.discover import discover
from fastleuk.errors import DataError
from tests.makers.data_trees import put, small_cnmc


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


def labels(manifest):
    return {path: manifest.label_name(i) for i, path in enumerate(manifest.paths)}


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
