"""Patterns of shards and images: brackets and braces in folders' names, ranges, choices."""

import tarfile

import pytest

from fastleuk.data.discover import discover
from fastleuk.data.patterns import expand_pattern, is_pattern
from fastleuk.errors import DataError
from fastleuk.predict.inputs import Inputs
from tests.makers.data_trees import picture, put

ODD_FOLDERS = ("plain", "[site] 1", "a[1-3]b", "set {a,b}", "{000..002}", "it's", 'say "x"',
               "$HOME", "-dash", "a*b", "q?", "tab\tand\nline")  # fmt: skip


def shards(folder, count=3):
    """Write shards of one image each, of two classes."""
    import io

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        with tarfile.open(folder / f"data-{number:03d}.tar", "w") as tar:
            for kind, content in (
                (".png", picture(number, kind="PNG")),
                (".cls", b"%d" % (number % 2)),
            ):
                info = tarfile.TarInfo(f"{number}{kind}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("name", ODD_FOLDERS)
def test_folders_of_any_name_are_read_with_a_pattern_behind_them(tmp_path, name, monkeypatch):
    shards(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / name, f"./{name}" if name[0] == "-" else name):
        for pattern in ("*.tar", "data-*.tar", "data-{000..002}.tar", "data-00[0-2].tar",
                        "{data-000,data-001,data-002}.tar", "data-0{00..02..1}.tar"):  # fmt: skip
            assert len(discover(f"{folder}/{pattern}").manifest) == 3
            assert sum(1 for _ in Inputs([f"{folder}/{pattern}"])) == 3
    put(tmp_path / name / "images", "1.png")
    assert sum(1 for _ in Inputs([f"{tmp_path}/{name}/images/*.png"])) == 1
    assert sum(1 for _ in Inputs([f"{tmp_path}/*/images/1.png"])) == 1


def test_brackets_below_a_wildcard(tmp_path):
    shards(tmp_path / "x" / "[site]")
    assert len(discover(f"{tmp_path}/*/[site]/*.tar").manifest) == 3


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("{0..2}", ["0", "1", "2"]),
        ("{08..11}", ["08", "09", "10", "11"]),
        ("{3..1}", ["3", "2", "1"]),
        ("{0..9..4}", ["0", "4", "8"]),
        ("x{a,b}-{1..2}", ["xa-1", "xa-2", "xb-1", "xb-2"]),
    ],
)
def test_ranges_and_choices(tmp_path, pattern, names):
    for name in names:
        (tmp_path / name).touch()
    assert expand_pattern(f"{tmp_path}/{pattern}")[1] == [f"{tmp_path}/{name}" for name in names]
    assert is_pattern(pattern)


def test_a_range_with_a_gap_is_refused_with_the_missing_names(tmp_path):
    shards(tmp_path)
    for read in (discover, lambda place: Inputs([place])):
        with pytest.raises(DataError, match=r"(?s)2 of the files.*data-003\.tar.*data-004\.tar"):
            read(f"{tmp_path}/data-{{000..004}}.tar")
    with pytest.raises(DataError, match="Shorten it"):
        discover(f"{tmp_path}/data-{{0..99999999999}}.tar")
    with pytest.raises(DataError, match="shorter range"):
        discover(f"{tmp_path}/{{0..99999}}-{{0..99999}}.tar")


def test_braces_that_are_no_pattern_are_a_name(tmp_path):
    assert not is_pattern("{x}.tar")
    shards(tmp_path)
    (tmp_path / "data-000.tar").rename(tmp_path / "{x}.tar")
    assert len(discover(f"{tmp_path}/{{x}}.tar", least_classes=1).manifest) == 1
    with pytest.raises(DataError, match="no such shard"):
        discover(f"{tmp_path}/{{y}}.tar")
