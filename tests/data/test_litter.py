"""One list of litter: for data sets, predictions and shards."""

import os

import pytest

from fastleuk.data.discover import discover
from fastleuk.data.litter import LITTER, litter_reason, path_litter_reason
from fastleuk.errors import DataError
from tests.makers.data_trees import put

FOLDERS = (
    "lost+found", "System Volume Information", "#recycle", "@Recycle", "@tmp", ".@__thumb",
    "$RECYCLE.BIN", "RECYCLER", "Recycled", "found.000", "FOUND.001", ".Trash-1000", ".AppleDouble",
    ".Spotlight-V100", ".fseventsd", "__MACOSX", ".snapshot", "~snapshot", "@eaDir", ".thumbnails",
    ".ipynb_checkpoints", "__pycache__", "Network Trash Folder", "Temporary Items",
)  # fmt: skip
FILES = (
    "Thumbs.db", "ehthumbs.db", "desktop.ini", "Icon\r", ".DS_Store", "._1.png", "~$notes.docx",
    "SYNOPHOTO_THUMB_XL.jpg", "AlbumArt_{B5020207-474E}_Small.jpg",
)  # fmt: skip
LEGITIMATE = ("found", "ALL", "recycle bins", "icon", "tmp", "lost", "snapshot", "#1", "@home")


def set_with(root, *others):
    put(root, *(f"{c}/{i}.png" for c in "ab" for i in range(2)), *others)
    return root


@pytest.mark.parametrize("place", ["", "a/"])
@pytest.mark.parametrize("name", FOLDERS)
def test_folders_of_systems_are_left_out_with_what_is_in_them(tmp_path, name, place):
    found = discover(set_with(tmp_path, f"{place}{name}/1.png"))
    assert len(found.manifest) == 4
    assert found.manifest.class_names == ("a", "b")
    assert [item.path for item in found.ignored] == [f"{place}{name}/"]


@pytest.mark.parametrize("name", FILES)
def test_files_of_systems_are_left_out(tmp_path, name):
    set_with(tmp_path)
    (tmp_path / "a" / name).write_bytes(b"x")
    assert len(discover(tmp_path).manifest) == 4
    assert path_litter_reason(f"a/{name}")


def test_an_unreadable_lost_and_found_is_left_out_and_another_folder_is_refused(
    tmp_path, monkeypatch
):
    """It is root's, of mode 0700; these tests may run as root, so the refusal is made here."""
    set_with(tmp_path)
    (tmp_path / "lost+found").mkdir()
    scandir = os.scandir

    def closed(path="."):
        if os.path.basename(os.path.normpath(path)) in ("lost+found", "secret"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert [(item.path, item.reason) for item in discover(tmp_path).ignored] == [
        ("lost+found/", LITTER)
    ]
    (tmp_path / "a" / "secret").mkdir()
    with pytest.raises(DataError, match=r"can't be read.*\n.*secret"):
        discover(tmp_path)


def test_other_names_are_no_litter():
    for name in LEGITIMATE:
        assert not litter_reason(name, folder=True)
        assert not litter_reason(f"{name}.png", folder=False)
