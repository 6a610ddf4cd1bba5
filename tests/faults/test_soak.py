"""tools/soak.py: it ends without losses, and it would find some."""

import json
import subprocess
import sys

import pytest

from tests.makers.cells import PROJECT

TOOLS = PROJECT / "tools"


@pytest.fixture
def soak(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    import soak

    return soak


@pytest.mark.parametrize("what", ["resident_mb", "files", "threads"])
def test_a_server_that_grows_is_a_loss(what, soak):
    steady = [soak.Sample(i, 900.0 + i % 3, 8 + i % 2, 12) for i in range(40)]
    assert soak.growth(steady) == []
    rising = [
        soak.Sample(**{**vars(each), what: getattr(each, what) * (1 + i / 20)})
        for i, each in enumerate(steady)
    ]
    assert [line.split()[0] for line in soak.growth(rising)] == [what]


def test_another_result_and_another_exit_code_are_losses(soak, tmp_path):
    from soaking.jobs import Job
    from soaking.place import Ended, hashes

    (tmp_path / "weights").write_bytes(b"1")
    job = Job("train", ("train",), ("weights",), (), (), hashes(tmp_path, ["weights"]), 1)
    job.check(tmp_path)
    (tmp_path / "weights").write_bytes(b"2")
    with pytest.raises(soak.Loss, match="differ"):
        job.check(tmp_path)
    Ended(0, "", 1).must(0, 2)
    for ended in (Ended(1, "", 1), Ended(0, "Traceback (most recent call last)", 1)):
        with pytest.raises(soak.Loss):
            ended.must(0, 2)


@pytest.mark.slow
def test_half_a_minute_without_losses(tmp_path):
    done = subprocess.run(
        [sys.executable, "tools/soak.py", "--minutes", "0.5", "--json", tmp_path / "soak.json"],
        cwd=PROJECT, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "soak.json").read_text())
    assert report["losses"] == []
    assert report["rounds"] == sum(report["faults"].values()) > 0
    assert report["serve"]["last"]["files"] > 0
    assert "0 losses" in done.stdout
