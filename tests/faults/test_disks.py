"""Full and read-only disks: one message that names the place, and nothing half-written."""

import contextlib
import shutil

import pytest

from tests.faults.commands import TINY, give, mounted, of, read_only, temporaries


@pytest.fixture(scope="module")
def run(cells, tmp_path_factory):
    """A run that has ended."""
    out = tmp_path_factory.mktemp("whole") / "run"
    outcome = give("train", *of(cells), *TINY, "--out", out)
    assert outcome.code == 0, outcome.text
    return out


def writers(cells, run, place):
    """Each command that writes, with what it writes in ``place``."""
    return {
        "train": ("train", *of(cells), *TINY, "--out", place / "run"),
        "evaluate": ("evaluate", run, *of(cells)[:2], "--out", place / "figures"),
        "pack": ("pack", place / "shards", *of(cells)),
        "demo-data": ("demo-data", place / "demo", "--cells", 120),
        "manifest": ("data", cells, *of(cells)[2:], "--manifest", place / "m.csv"),
        "gallery": ("gallery", *of(cells)[:2], "--size", 64, "--out", place / "g.png"),
    }


NAMES = ["train", "evaluate", "pack", "demo-data", "manifest", "gallery"]


def fill(disk):
    """Leave room for nothing but the names of files."""
    with (disk / "filling").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk(name, cells, run, tmp_path):
    with mounted(tmp_path / "disk", "size=64k") as disk:
        fill(disk)
        outcome = give(*writers(cells, run, disk)[name])
        assert outcome.code == 2, outcome.text
        assert "space" in outcome.text.lower() or "full" in outcome.text, outcome.text
        assert str(disk) in outcome.text, outcome.text
        assert temporaries(disk) == []


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [250, 500, 900, 1400, 2000, 2600])
def test_a_disk_that_fills_up_during_a_run(kilobytes, cells, run, tmp_path):
    """However far it comes, with room it goes on and ends like the undisturbed run."""
    with mounted(tmp_path / "disk", f"size={kilobytes}k") as disk:
        words = ("train", *of(cells), *TINY, "--out", disk / "run")
        outcome = give(*words)
        assert outcome.code == 2, outcome.text
        assert "space" in outcome.text.lower() or "full" in outcome.text
        assert temporaries(disk) == []
        shutil.copytree(disk / "run", tmp_path / "run")
    again = give(*words[:-1], tmp_path / "run")
    assert again.code == 0, again.text
    for file in ("best.safetensors", "test_predictions.csv"):
        assert (tmp_path / "run" / file).read_bytes() == (run / file).read_bytes()


def test_a_cache_folder_without_room(cells, tmp_path, monkeypatch):
    with mounted(tmp_path / "disk", "size=64k") as disk:
        monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(disk))
        outcome = give("prepare", *of(cells), "--size", 224, "--cache", disk / "decoded")
        assert outcome.code == 2, outcome.text
        assert str(disk) in outcome.text
        assert temporaries(disk) == []


def test_training_goes_on_without_room_for_a_cache(cells, tmp_path, monkeypatch):
    with mounted(tmp_path / "disk", "size=64k") as disk:
        monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(disk))
        outcome = give("train", *of(cells), *TINY, "--epochs", 1, "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.text
    assert "cache" in outcome.text


@pytest.mark.parametrize("name", NAMES)
def test_a_read_only_folder(name, cells, run, tmp_path):
    (tmp_path / "disk").mkdir()
    with read_only(tmp_path / "disk") as disk:
        outcome = give(*writers(cells, run, disk)[name])
        assert outcome.code == 2, outcome.text
        assert str(disk) in outcome.text, outcome.text
        assert list(disk.iterdir()) == []


def test_somebody_elses_run_is_evaluated_from_a_read_only_folder(cells, run, tmp_path):
    theirs = shutil.copytree(run, tmp_path / "theirs" / "run")
    with read_only(theirs.parent):
        outcome = give("evaluate", theirs, *of(cells)[:2], "--out", tmp_path / "mine")
        assert outcome.code == 0, outcome.text
        refused = give("evaluate", theirs, *of(cells)[:2])
        assert refused.code == 2
        assert "--out" in refused.text
    figures = (tmp_path / "mine" / "test_predictions.csv").read_bytes()
    assert figures == (run / "test_predictions.csv").read_bytes()
