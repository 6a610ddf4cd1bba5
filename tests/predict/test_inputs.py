"""Which images the words of a command line mean."""

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastleuk.data.derived import MASK, PREVIEW
from fastleuk.data.litter import LITTER
from fastleuk.errors import ConfigError, DataError
from fastleuk.predict.inputs import Inputs
from fastleuk.predict.words import split_words


def names(paths, **options):
    return [item.name for item in Inputs([str(path) for path in paths], **options)]


@pytest.fixture
def tree(tmp_path):
    """Images in folders, with what is none between them."""
    for name in ("b/10.png", "b/9.png", "a/x.JPG", "2.bmp", ".hidden.png", "b/.deep/1.png",
                 "notes.txt", "b/table", "b/__MACOSX/1.png"):  # fmt: skip
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "tree"


def test_folders_are_walked_in_natural_order_and_what_is_left_out_is_counted(tree):
    found = [os.path.relpath(name, tree) for name in names([tree])]
    assert found == ["2.bmp", "a/x.JPG", "b/9.png", "b/10.png"]
    total, left_out = Inputs([str(tree)]).survey()
    assert total == 4
    assert left_out.hidden == 2
    assert left_out.endings == {".txt": 1, "without an ending": 1}
    assert [line.split(", such as ")[0] for line in left_out.lines()[2:]] == [
        f"Left out: 1: {LITTER}"
    ]


def test_masks_previews_and_litter_are_left_out_of_folders_and_shards_alike(tmp_path):
    root = tmp_path / "masks" / "set"  # a folder above, whose name says nothing
    kept = ["ALL/x.png", "ALL/face_mask.png", "hem/images/y.png"]
    gone = ["ALL/x_mask.png", "ALL/x_thumb.jpg", "hem/masks/y.png", "ALL/@eaDir/x.png/a.jpg",
            "lost+found/1.png", "found.000/2.png"]  # fmt: skip
    for name in (*kept, *gone):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.add(root, arcname="set")
    for place, prefix in ((root, root), (tmp_path / "s.tar", tmp_path / "s.tar/set")):
        inputs = Inputs([str(place)])
        assert {os.path.relpath(item.name, prefix) for item in inputs} == set(kept)
        total, left_out = inputs.survey()
        assert total == len(kept)
        assert left_out.others[MASK] == 2
        assert left_out.others[PREVIEW] == 1
        assert left_out.others[LITTER] == 3
        assert any("hem/masks/y.png" in line or "x_mask.png" in line for line in left_out.lines())


def test_links_are_followed_once(tree):
    (tree / "a" / "back").symlink_to(tree)
    (tree / "a" / "again").symlink_to(tree / "b")
    (tree / "a" / "self.png").symlink_to("self.png")
    found = [os.path.relpath(name, tree) for name in names([tree / "a"])]
    assert found == ["a/again/9.png", "a/again/10.png", "a/back/2.bmp", "a/back/b/9.png",
                     "a/back/b/10.png", "a/self.png", "a/x.JPG"]  # fmt: skip


def test_files_patterns_and_their_order(tree):
    assert names([tree / "b/10.png", tree / "2.bmp"]) == [f"{tree}/b/10.png", f"{tree}/2.bmp"]
    found = names([f"{tree}/**/*.png"])
    assert found == [f"{tree}/b/9.png", f"{tree}/b/10.png"]
    inputs = Inputs([f"{tree}/**/*.png"])
    assert inputs.survey()[1].others == {LITTER: 1}  # b/__MACOSX/1.png
    whole = names([f"{tree}/**"])
    assert sorted(whole) == sorted(set(names([tree])) | {f"{tree}/notes.txt"})
    odd = tree / "[1]*.png"
    odd.write_bytes(b"x")
    assert names([odd]) == [str(odd)]  # a file of that name is meant before a pattern


def test_a_manifest_names_images_and_their_crops(tree):
    table = tree.parent / "m.csv"
    table.write_text("label,path,crop\nALL,b/9.png,40\nhem,2.bmp,\n")
    found = list(Inputs([str(table)], root=str(tree)))
    assert [(item.name, item.crop) for item in found] == [
        (f"{tree}/b/9.png", 40),
        (f"{tree}/2.bmp", 0),
    ]
    table.write_text("path;root\n9.png;tree/b\n")
    assert names([table]) == [f"{tree}/b/9.png"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("image,label\na.png,1\n", r"missing column\(s\) path"),
        ("path,crop\na.png,half\n", "crop 'half' is not a whole number"),
        ('path\n"a.png\n', "can't be read as a CSV"),
        ("path\n", "has a header but no row"),
    ],
)
def test_a_manifest_that_cannot_be_used_says_why(tmp_path, text, reason):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(DataError, match=reason):
        Inputs([str(tmp_path / "m.csv")]).survey()


def test_a_shards_images_come_with_what_it_says_of_their_crop(tmp_path):
    rng = np.random.default_rng(0)
    for number in (10, 9):
        Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(
            tmp_path / f"{number}.png"
        )
    (tmp_path / "9.json").write_text('{"crop": 12}')
    (tmp_path / "10.json").write_text('{"crop": "half"}')
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name in ("10.png", "9.png", "9.json", "10.json"):
            tar.add(tmp_path / name, name)
    found = list(Inputs([str(tmp_path / "s.tar")]))
    assert [(item.name, item.crop) for item in found] == [
        (f"{tmp_path}/s.tar/9.png", 12),
        (f"{tmp_path}/s.tar/10.png", 0),
    ]
    folder = tmp_path / "shards"
    folder.mkdir()
    (tmp_path / "s.tar").rename(folder / "s.tar")
    with pytest.raises(DataError, match=r"For its tar shards, give '.*\*\.tar'"):
        Inputs([str(folder)]).survey()


def test_what_is_not_there_and_what_is_a_run_is_said(tmp_path, runs, tree):
    for path, reason in (("nowhere", "no such file"), ("*.xyz", "nothing matches")):
        with pytest.raises(DataError, match=reason):
            Inputs([str(tmp_path / path)])
    with pytest.raises(ConfigError, match="is a run folder"):
        Inputs([str(tree), str(runs[0])])
    with pytest.raises(ConfigError, match="nothing to predict"):
        Inputs([])
    with pytest.raises(ConfigError, match="is for a manifest CSV"):
        Inputs([str(tree)], root=str(tree))


def test_words_are_runs_until_one_is_not(runs, tree):
    words = [str(runs[0]), str(runs[1]), str(tree)]
    assert split_words(words) == (runs, [str(tree)])
    assert split_words(["nowhere", str(tree)]) == ([Path("nowhere")], [str(tree)])


def test_the_command_writes_its_table_and_says_what_it_did(fastleuk, runs, pictures, tmp_path):
    out = tmp_path / "p.csv"
    code, text, _ = fastleuk("predict", *runs, pictures, "--out", out, "--device", "cpu")
    assert code == 0
    assert "21 of 21 images predicted" in text
    assert "images/s" in text
    assert "2 runs together" in text
    assert len(out.read_text().splitlines()) == 22
    code, _, error = fastleuk("predict", runs[0], pictures, "--out", out)
    assert code == 2
    assert "is there already" in error
    code, _, error = fastleuk("predict", runs[0], "--out", tmp_path / "q.csv")
    assert (code, error.count("nothing to predict")) == (2, 1)
    code, _, error = fastleuk("predict", runs[0], pictures, "--out", tmp_path / "q.txt")
    assert (code, ".parquet" in error) == (2, True)
    assert not (tmp_path / "q.txt").exists()
