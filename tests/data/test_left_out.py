"""What is left out is counted and said; links are read; losing much of a class is refused."""

import os
import shutil
import tarfile

import pytest

from fastleuk.config import DataConfig
from fastleuk.data.dataset import load_dataset
from fastleuk.data.discover import discover
from fastleuk.data.from_config import open_dataset
from fastleuk.data.left_out import MISNAMED, NOT_AN_IMAGE, UNREAD
from fastleuk.errors import DataError
from tests.makers.data_trees import LABELS, PRELIM, picture, put, small_cnmc


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


def kinds(found):
    return {item.path: item.reason for item in found.ignored}


def said(root, **options):
    lines: list[str] = []
    open_dataset(DataConfig(data=str(root), **options), report=lines.append, hidden=True)
    return lines


def test_one_line_for_each_kind_with_the_command_that_lists_them(tmp_path):
    root = tmp_path / "my set"
    put(root, *(f"{c}/{i}.png" for c in "ab" for i in range(12)), "loose.png")
    (root / "a/copy.png").write_bytes((root / "a/1.png").read_bytes())
    for name in ("a/x.gif", "b/notes.txt", "b/more.txt", ".hidden"):
        (root / name).write_bytes(b"GIF89a")
    lines = said(root)
    ways = f"list: fastleuk data '{root}'"
    assert lines == [
        f"Left out: 1 file: hidden file, such as .hidden; {ways}",
        f"Left out: 1 file: an image of a format that isn't read (1 .gif), such as a/x.gif; {ways}",
        f"Left out: 2 files: not an image (2 .txt), such as b/more.txt; {ways}",
        f"Left out: 1 file: not in a class folder, such as loose.png; {ways}",
        f"Left out: 1 file: a copy of another image, such as a/copy.png; {ways}",
    ]


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("x.GIF", b"GIF89a", UNREAD),
        ("x.heic", b"", UNREAD),
        ("x", picture(5, kind="PNG"), MISNAMED),
        ("x.jpg.1", picture(5, kind="JPEG"), MISNAMED),
        ("x.bak", b"text", NOT_AN_IMAGE),
        ("x.json", picture(5), NOT_AN_IMAGE),
    ],
)
def test_a_class_that_loses_more_than_a_tenth_is_refused(tmp_path, name, content, kind):
    put(tmp_path, *(f"{c}/{i}.png" for c in "ab" for i in range(8)))
    (tmp_path / "a" / name).write_bytes(content)
    assert kinds(discover(tmp_path)) == {f"a/{name}": kind}
    if kind == NOT_AN_IMAGE:
        load_dataset(tmp_path)
        return
    with pytest.raises(DataError, match=r"(?s)'a' 1 of 9.*--skip-bad.*a/x"):
        load_dataset(tmp_path)
    assert len(load_dataset(tmp_path, skip_bad=True).manifest) == 16
    put(tmp_path, "a/8.png")  # now it is a tenth
    assert len(load_dataset(tmp_path).manifest) == 17


@pytest.mark.parametrize("ending", [".jfif", ".JPE", ".pjpeg", ".JPEG", ".Tif", ".WEBP"])
def test_endings_of_images(tmp_path, ending):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / f"b/2{ending}").write_bytes(picture(3, kind="JPEG"))
    assert f"b/2{ending}" in discover(tmp_path).manifest.paths


def test_sets_made_of_links_are_read_and_told(tmp_path):
    root, store = tmp_path / "set", tmp_path / "store"
    put(store, *(f"{i}.png" for i in range(4)), "c/1.png", "c/deep/2.png")
    for i, name in enumerate(("a/1.png", "a/2.png", "b/1.png", "b/2.png")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(store / f"{i}.png")
    (root / "c").symlink_to("../store/c")
    found = discover(root)
    assert found.manifest.paths == (
        "a/1.png", "a/2.png", "b/1.png", "b/2.png", "c/1.png", "c/deep/2.png"
    )  # fmt: skip
    assert f"6 images are links that lead outside {root}." in said(root)


def test_loops_are_cut_and_each_folder_is_read_once_in_a_class(tmp_path):
    root = tmp_path / "set"
    put(root, "a/real/1.png", "b/1.png")
    (root / "a/again").symlink_to("real")
    (root / "a/up").symlink_to("..")
    (root / "a/out").symlink_to(tmp_path)
    (root / "b/self").symlink_to("self")
    (root / "b/x").symlink_to(".")
    found = discover(root)
    assert found.manifest.paths == ("a/real/1.png", "b/1.png")
    why = kinds(found)
    assert set(why) == {"a/again/", "a/up/", "a/out/", "b/self", "b/x/"}
    assert why["a/up/"] == why["a/out/"] == "a link that leads back to a folder it lies in"
    assert "read already" in why["a/again/"]
    (root / "c").symlink_to("b")  # one folder, two classes: the copies tell, not the walk
    with pytest.raises(DataError, match=r"c/1\.png: labelled c, but identical to b/1\.png"):
        load_dataset(root)


def test_links_to_nothing_are_bad_and_pipes_are_not_opened(tmp_path):
    put(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a/2.png").symlink_to("gone.png")
    os.mkfifo(tmp_path / "b/2.png")
    found = discover(tmp_path)
    assert found.bad == (("a/2.png", "a link to gone.png, which isn't there"),)
    assert kinds(found) == {"b/2.png": "neither a file nor a folder"}


def test_cnmc_kept_as_phases_is_the_whole_set(tmp_path):
    expected = discover(small_cnmc(tmp_path / "one")).manifest
    root = small_cnmc(tmp_path / "two")
    (root / PRELIM).rename(root / "phase2")
    (root / LABELS).rename(root / "phase2.csv")
    (root / "C-NMC_test_final_phase_data").rename(root / "phase3")
    found = discover(root)
    assert (found.ignored, found.bad) == ((), ())
    for field in ("subjects", "sources"):
        assert sorted(getattr(found.manifest, field)) == sorted(
            str(v).replace(PRELIM, "phase2").replace("C-NMC_test_final_phase_data", "phase3")
            for v in getattr(expected, field)
        )
    assert sorted(found.manifest.labels) == sorted(expected.labels)
    shutil.rmtree(root / "C-NMC_training_data")
    assert len(discover(root).manifest.labelled) == 4


def test_a_folder_of_shards_says_how_to_give_them(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w"):
        pass
    with pytest.raises(DataError, match=r"give '.*/\*\.tar'"):
        discover(tmp_path)
