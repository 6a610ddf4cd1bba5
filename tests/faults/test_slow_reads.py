"""Reads that a network file system answers late, or refuses on the way."""

import shutil
import time

import pytest

from tests.faults.commands import TINY, give, mounted, of, temporaries
from tests.faults.slow_reads import slow
from tests.makers.untrained_runs import untrained_run


@pytest.mark.slow
def test_late_answers_change_no_weight(cells, tmp_path, monkeypatch):
    """All libraries' reads wait for 4 ms: the run ends, with the same bytes."""
    with mounted(tmp_path / "disk", "size=16m") as disk:
        data = shutil.copytree(cells, disk / "set")
        words = ("train", *of(data), *TINY, "--epochs", 1, "--cache", "off", "--out")
        assert give(*words, tmp_path / "fast").code == 0
        monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path / "cache"))
        began = time.monotonic()
        with slow(disk, 4) as count:
            outcome = give(*words, tmp_path / "late")
        seconds = time.monotonic() - began
    assert outcome.code == 0, outcome.text
    assert count[0] > 2 * 64, "the files were not read by way of the slow file system"
    assert seconds > 0.1
    for file in ("best.safetensors", "test_predictions.csv"):
        assert (tmp_path / "late" / file).read_bytes() == (tmp_path / "fast" / file).read_bytes()


def test_predict_answers_for_each_file_of_a_slow_file_system(cells, tmp_path):
    run = untrained_run(tmp_path / "run")
    assert give("predict", run, cells, "--out", tmp_path / "fast.csv").code == 0
    with mounted(tmp_path / "disk", "size=16m") as disk:
        data = shutil.copytree(cells, disk / "set")
        with slow(disk, 4) as count:
            assert give("predict", run, data, "--out", tmp_path / "late.csv").code == 0
    assert count[0] >= 64
    late = (tmp_path / "late.csv").read_text().replace(str(data), str(cells))
    assert late == (tmp_path / "fast.csv").read_text()


@pytest.mark.parametrize("after", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_reads_that_are_refused_from_some_moment_on(after, cells, tmp_path, monkeypatch):
    """A share that is no longer mine: a file is named, and the same command goes on later."""
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path / "cache"))
    with mounted(tmp_path / "disk", "size=16m") as disk:
        data = shutil.copytree(cells, disk / "set")
        words = ("train", *of(data), *TINY, "--epochs", 1, "--cache", "off", "--out")
        with slow(disk, 0, deny_after=after):
            outcome = give(*words, tmp_path / "run")
        assert outcome.code == 2, outcome.text
        assert str(data) in outcome.text or ".bmp" in outcome.text, outcome.text
        assert temporaries(tmp_path) == []
        again = give(*words, tmp_path / "run")
        assert again.code == 0, again.text
