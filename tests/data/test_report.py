import pytest

from fastleuk.data.dataset import load_dataset
from fastleuk.data.report import describe
from tests.makers.data_trees import FINAL, picture, put, small_cnmc


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


def cells(text):
    return [line.split() for line in text.splitlines()]


def test_cnmc_report(tmp_path):
    root = small_cnmc(tmp_path)
    (root / FINAL / "1.bmp").write_bytes(picture(1, 600))
    copied = root / "C-NMC_training_data/fold_0/all/UID_1_1_1_all.bmp"
    (root / "C-NMC_training_data/fold_2/all/UID_21_1_1_all.bmp").write_bytes(copied.read_bytes())
    (root / "C-NMC_training_data/fold_2/hem/UID_H21_1_1_hem.bmp").write_bytes(b"")
    (root / "notes.txt").write_text("x")
    text = describe(load_dataset(root, skip_bad=True))
    rows = cells(text)
    assert "31 images found, 29 used, 2 left out" in text
    assert ["train", "12", "12", "0", "24"] in rows
    assert ["prelim", "2", "2", "0", "4"] in rows
    assert ["total", "14", "14", "3", "31"] in rows
    assert ["1", "4", "2", "4", "2"] in rows
    assert ["ALL", "7", "2", "2", "2"] in rows
    assert "1 sets, 1 of them across folds" in text
    assert "UID_1_1_1_all.bmp = C-NMC_training_data/fold_2/all/UID_21_1_1_all.bmp" in text
    assert "1 ~ 21" in text
    assert "Crop: of 1 images only the centred 450x450" in text
    assert "differs by -1126" in text
    assert "1 not an image: notes.txt" in text
    assert "UID_H21_1_1_hem.bmp: empty file (0 bytes)" in text
    assert "SYNTHETIC" not in text


def test_synthetic_data_say_so_and_are_not_compared(tmp_path):
    root = small_cnmc(tmp_path)
    (root / "fastleuk-demo.json").write_text("{}")
    text = describe(load_dataset(root))
    assert "SYNTHETIC" in text
    assert "official C-NMC" not in text


def test_folder_report(tmp_path):
    put(tmp_path, "a/p1_1.png", "a/p1_2.png", "b/p1_3.png", "b/p2_1.png")
    alone = describe(load_dataset(tmp_path))
    assert "Subjects: none known" in alone
    assert ["folder", "2", "2", "4"] in cells(alone)
    assert "Identical files: none" in alone
    assert "official" not in alone
    known = describe(load_dataset(tmp_path, subject_regex=r"(p\d)_"))
    assert "1 subject(s) have images of several classes: p1" in known


def test_long_lists_are_shortened(tmp_path):
    put(tmp_path, *(f"a/p{i}_1.png" for i in range(30)), "b/q_1.png")
    text = describe(load_dataset(tmp_path, subject_regex=r"/(.*)_"))
    line = next(line for line in text.splitlines() if line.startswith("  a: "))
    assert line.count("(1)") == 10
    assert "…" in line
