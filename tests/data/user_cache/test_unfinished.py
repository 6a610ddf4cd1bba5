"""What killed processes leave is listed and cleared; what is being written is left alone."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from fastleuk.data.decoded.read import clear_caches, list_caches
from fastleuk.data.user_cache import unfinished
from fastleuk.data.user_cache.folder import cache_root
from fastleuk.data.user_cache.unfinished import clear_unfinished, find_unfinished, note_unfinished
from fastleuk.evaluation.plots import NUMBERED, plot_confusion_matrix
from fastleuk.locks import locked


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path / "cache"))


def _folder(place):
    place.mkdir(parents=True)
    (place / "half").write_bytes(b"x" * 10_000)
    return place


KILLED = """if True:
    import os, signal, sys
    from pathlib import Path
    from fastleuk.data.user_cache.unfinished import note_unfinished
    note_unfinished(Path(sys.argv[1]), "shards")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_wrote_is_cleared(tmp_path):
    folder = _folder(tmp_path / ".pk.partial")
    subprocess.run([sys.executable, "-c", KILLED, folder], check=False)
    (found,) = find_unfinished()
    assert (found.folder, found.what, found.writer) == (folder, "shards", "")
    assert found.bytes >= 10_000
    assert clear_unfinished() == (found.bytes, [])
    assert not folder.exists()
    assert not list((cache_root() / unfinished.NOTES).iterdir())


def test_what_this_process_writes_is_left_alone(tmp_path):
    folder = _folder(tmp_path / ".pk.partial")
    note_unfinished(folder, "shards")
    (found,) = find_unfinished()
    assert str(os.getpid()) in found.writer
    assert clear_unfinished() == (0, [found])
    assert folder.exists()
    folder.rename(tmp_path / "pk")  # done
    assert find_unfinished() == []


@pytest.mark.parametrize(("age", "alive"), [(60.0, True), (2 * unfinished.DAY, False)])
def test_a_process_of_another_machine_lives_for_a_day(tmp_path, age, alive):
    folder = _folder(tmp_path / ".pk.partial")
    note_unfinished(folder, "shards")
    (note,) = (cache_root() / unfinished.NOTES).iterdir()
    note.write_text(json.dumps({**json.loads(note.read_text()), "host": "elsewhere"}))
    for path in (folder / "half", folder):
        when = path.stat().st_mtime - age
        os.utime(path, (when, when))
    (found,) = find_unfinished()
    assert bool(found.writer) is alive


def test_a_demo_set_that_nobody_noted_is_litter_after_an_hour(tmp_path):
    folder = _folder(tmp_path / "cache" / "demo" / ".v2-cells10-seed0-abc")
    assert find_unfinished()[0].writer
    for path in (folder / "half", folder):
        os.utime(path, (1e9, 1e9))
    assert clear_unfinished()[0] >= 10_000
    assert not folder.exists()


@pytest.mark.parametrize("note", ["", "[]", '{"folder": "/no"}'])
def test_a_damaged_note_is_removed(note):
    place = cache_root() / unfinished.NOTES
    place.mkdir(parents=True)
    (place / "n.json").write_text(note)
    assert find_unfinished() == []
    assert not list(place.iterdir())


def test_demo_sets_and_shards_are_noted_while_they_are_written(monkeypatch):
    import fastleuk.data.demo.generate as demo

    seen = []

    def fail(*_, **__):
        seen.append(find_unfinished())
        raise ZeroDivisionError

    monkeypatch.setattr(demo, "write_demo", fail)
    with pytest.raises(ZeroDivisionError):
        demo.demo_root(cells=132)
    assert [each.what for each in seen[0]] == ["demo set"]
    assert find_unfinished() == []


def test_a_cache_that_is_being_built_is_not_cleared(tmp_path):
    partial = _folder(tmp_path / "abc.partial")
    with locked(tmp_path / "abc.lock"):
        assert clear_caches(tmp_path) == 0
        assert [place for place, *_ in list_caches(tmp_path)] == [partial]
    assert clear_caches(tmp_path) > 0
    assert not partial.exists()


def test_the_command_tells_of_litter(monkeypatch, tmp_path, capsys):
    from fastleuk.cli import main

    folder = _folder(tmp_path / ".pk.partial")
    subprocess.run([sys.executable, "-c", KILLED, folder], check=False)
    for command, says in (("list", "left by a killed process"), ("clear", "killed processes had")):
        monkeypatch.setattr(sys, "argv", ["fastleuk", "cache", command])
        with pytest.raises(SystemExit):
            main()
        assert says in capsys.readouterr().out
    assert not folder.exists()


# Pictures of many classes


def _size(tmp_path, classes):
    from PIL import Image

    path = tmp_path / f"{classes}.png"
    plot_confusion_matrix(
        np.eye(classes, dtype=int).tolist(), [f"class {i}" * 9 for i in range(classes)], path,
        title="t", synthetic=False,
    )  # fmt: skip
    with Image.open(path) as image:
        return image.size


@pytest.mark.filterwarnings("error")
def test_a_picture_of_many_classes_does_not_grow(tmp_path):
    assert max(_size(tmp_path, 300)) < 2000


def test_a_picture_of_many_classes_has_no_numbers():
    from fastleuk.evaluation.plots import draw_confusion, new_figure

    for classes, texts in ((NUMBERED, NUMBERED**2), (NUMBERED + 1, 0)):
        axis = new_figure(4, 4).subplots()
        draw_confusion(axis, np.eye(classes), [str(i) for i in range(classes)])
        assert len(axis.texts) == texts
