"""What a path holds is discovered, or refused with what was found there."""

import pytest

from fastleuk.data.discover import discover
from fastleuk.errors import ConfigError, DataError
from tests.makers.data_trees import FINAL, put, small_cnmc


def reasons(found):
    return {item.path: item.reason for item in found.ignored}


def test_class_folders(tmp_path):
    put(tmp_path, "b/deep/er/2.png", "b/10.jpg", "b/9.jpg", "a/1.bmp", "c/1.bmp")
    manifest = discover(tmp_path).manifest
    assert manifest.class_names == ("a", "b", "c")
    assert manifest.paths == ("a/1.bmp", "b/9.jpg", "b/10.jpg", "b/deep/er/2.png", "c/1.bmp")
    assert manifest.labels.tolist() == [0, 1, 1, 1, 2]
    assert manifest.subject_is_image
    assert manifest.layout == "folder"


def test_hem_and_all_folders_have_our_polarity(tmp_path):
    put(tmp_path, "All/1.png", "HEM/1.png")
    manifest = discover(tmp_path).manifest
    assert manifest.class_names == ("hem", "ALL")
    assert manifest.paths == ("All/1.png", "HEM/1.png")
    assert manifest.labels.tolist() == [1, 0]


@pytest.mark.parametrize("regex", [r"p(\d+)_", r"(?P<subject>p\d+)_(\w)"])
def test_subject_regex(tmp_path, regex):
    put(tmp_path, "a/p1_x.png", "a/p2_x.png", "b/p1_y.png")
    manifest = discover(tmp_path, subject_regex=regex).manifest
    assert [s.strip("p") for s in manifest.subjects] == ["1", "2", "1"]
    assert not manifest.subject_is_image


@pytest.mark.parametrize(
    ("regex", "warned"), [(r"^([^_]+)_", True), (r"([^/_]+)_[^/]*$", False), (r"^(.*)$", False)]
)
def test_one_name_in_two_folders_is_told_where_the_folder_parts_it(tmp_path, regex, warned):
    put(tmp_path, "a/p1_x.png", "a/p2_x.png", "b/p1_y.png", "b/p3_y.png")
    notes = " ".join(discover(tmp_path, subject_regex=regex).remarks)
    assert ("1 names, such as 'p1' in a and b, count as different people" in notes) is warned


def test_subject_regex_that_misses_names_every_file(tmp_path):
    put(tmp_path, "a/p1_x.png", "a/q.png", "b/r.png")
    with pytest.raises(DataError, match=r"(?s)2 of 3.*a/q\.png.*b/r\.png"):
        discover(tmp_path, subject_regex=r"p(\d+)_")


@pytest.mark.parametrize("regex", ["p", "("])
def test_unusable_subject_regex(tmp_path, regex):
    with pytest.raises(ConfigError, match="--subject-regex"):
        discover(tmp_path, subject_regex=regex)


def test_subject_regex_beside_cnmc_names_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="C-NMC"):
        discover(small_cnmc(tmp_path), subject_regex=r"(\d)")


def test_litter_is_ignored_with_its_reason_and_links_are_read(tmp_path):
    root, outside = tmp_path / "set", tmp_path / "outside"
    put(root, "a/1.png", "b/1.png", "stray.png", "__MACOSX/a/1.png", ".hidden/1.png", "a/._1.png")
    put(outside, "1.png", "2.png")
    (root / "a" / "Thumbs.db").write_text("x")
    (root / "a" / "readme.txt").write_text("x")
    (root / "a" / "linked.png").symlink_to(outside / "1.png")
    (root / "a" / "inner.png").symlink_to(root / "b" / "1.png")
    (root / "c").symlink_to(outside)
    found = discover(root)
    assert found.manifest.paths == (
        "a/1.png", "a/inner.png", "a/linked.png", "b/1.png", "c/1.png", "c/2.png"
    )  # fmt: skip
    assert any(
        remark.startswith("3 images are links that lead outside") for remark in found.remarks
    )
    why = reasons(found)
    assert why["stray.png"] == "not in a class folder"
    assert {"__MACOSX/", ".hidden/", "a/._1.png", "a/Thumbs.db", "a/readme.txt"} <= set(why)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "no image"),
        (["1.png", "2.png"], "no recognisable class"),
        (["a/1.png"], "only one class, 'a'"),
        (["w/a/1.png", "w/b/1.png"], "Did you mean"),
        (["train/a/1.png", "test/a/1.png"], "ready-made split"),
        (["a/1.png", "A/1.png"], "differ only by case"),
        (["fold_0/all/UID_1_1_1_all.bmp"], "only one class, 'ALL'"),
        ([f"{FINAL}/1.bmp"], "no labelled image"),
    ],
)
def test_trees_that_are_no_data_set(tmp_path, names, said):
    put(tmp_path, *names)
    with pytest.raises(DataError) as caught:
        discover(tmp_path)
    assert said in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_empty_classes_are_all_named(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "c").mkdir()
    (tmp_path / "d" / "e").mkdir(parents=True)
    with pytest.raises(DataError, match=r"(?s)without an image.*c/.*d/"):
        discover(tmp_path)


def test_missing_path_and_a_file(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        discover(tmp_path / "nowhere")
    put(tmp_path, "one.png")
    with pytest.raises(DataError, match="a file"):
        discover(tmp_path / "one.png")


def test_demo_marker_makes_it_synthetic(tmp_path):
    root = small_cnmc(tmp_path / "demo")
    assert not discover(root).manifest.synthetic
    (root / "fastleuk-demo.json").write_text("{}")
    assert discover(root).manifest.synthetic
    assert discover(root / "C-NMC_training_data").manifest.synthetic
    assert discover(tmp_path).manifest.synthetic
