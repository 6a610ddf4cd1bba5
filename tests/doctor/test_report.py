"""What the doctor says, to a person and in a bug report, and its exit code."""

import json
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from fastleuk.augment.gpu.selftest import on_cpu
from fastleuk.augment.gpu.selftest import test_images as drawn_cells
from fastleuk.cli import app
from fastleuk.doctor import examine as examination
from fastleuk.doctor import network, probe
from fastleuk.doctor.finding import FAILED, OK, WARNING, Finding
from fastleuk.doctor.report import as_json, known_places, line, summary, without_places

GOOD = Finding("torch", OK, "2.9.1, built for CUDA 13.0")
WARNED = Finding("memory", WARNING, "2.0 GB available", "Lower --batch-size.")
BROKEN = Finding("timm", FAILED, "not installed", "Install it: pip install timm.")


def test_lines():
    assert line(GOOD) == "ok       torch              2.9.1, built for CUDA 13.0"
    assert line(WARNED).splitlines()[1].strip() == "Lower --batch-size."


def test_summary():
    assert summary([GOOD]) == "fastleuk train can run here."
    assert "1 warning," in summary([GOOD, WARNED])
    assert summary([GOOD, WARNED, BROKEN]) == "fastleuk train can't run here: mend timm."


@pytest.fixture
def doctor(monkeypatch):
    def run(*options, found):
        seen = {}

        def examine(**asked):
            seen.update(asked)
            return iter(found)

        monkeypatch.setattr(examination, "examine", examine)
        return CliRunner().invoke(app, ["doctor", *options]), seen

    return run


def test_exit_code_is_one_if_training_cannot_run(doctor):
    assert doctor(found=[GOOD, WARNED])[0].exit_code == 0
    result, _ = doctor(found=[GOOD, BROKEN])
    assert result.exit_code == 1
    assert "pip install timm" in result.stdout


def test_options_reach_the_examination(doctor):
    assert doctor(found=[GOOD])[1] == {"network_too": False, "quick": False}
    _, asked = doctor("--network", "--quick", found=[GOOD])
    assert asked == {"network_too": True, "quick": True}


def test_json_is_all_that_is_printed(doctor):
    result, _ = doctor("--json", found=[GOOD, BROKEN])
    data = json.loads(result.stdout)
    assert data["ready"] is False
    assert [each["state"] for each in data["findings"]] == [OK, FAILED]
    assert result.exit_code == 1


def test_json_has_no_personal_paths():
    places = {
        "/home/anna": "~",
        "/home/anna/venv": "<environment>",
        "anna": "<user>",
        "rig7.lab": "<host>",
    }
    found = Finding(
        "DALI",
        WARNING,
        "/home/anna/venv/lib/x.so on rig7.lab: no /data/anna/cells.csv in /dev/shm",
        "See /home/anna/notes.txt.",
    )
    text = as_json([found], places)
    assert "anna" not in text
    assert "rig7" not in text
    data = json.loads(text)["findings"][0]
    assert data["found"] == "<environment>/lib/x.so on <host>: no <path>/cells.csv in /dev/shm", (
        data
    )
    assert data["remedy"] == "See ~/notes.txt."


def test_names_inside_of_words_and_addresses_stay():
    assert without_places("torch is not torchvision", {"vision": "<user>"}) == (
        "torch is not torchvision"
    )
    assert without_places("https://huggingface.co/timm/x", {}) == "https://huggingface.co/timm/x"


def test_this_machine_is_known():
    assert known_places()[sys.prefix] == "<environment>"


def test_a_probe_imports_and_says_what_fails():
    answer = probe.ask("imports", ["json", "no_such_module_here"], timeout=60)
    assert [row["module"] for row in answer.rows] == ["json", "no_such_module_here"]
    assert "ModuleNotFoundError" in answer.rows[1]["error"]
    assert answer.failure == ""


def test_a_probe_that_does_not_exist_says_so():
    assert "KeyError" in probe.ask("nothing", timeout=60).failure


def test_a_probe_that_is_killed(tmp_path, monkeypatch):
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\necho '{probe.MARK}{{\"a\": 1}}'\nkill -11 $$\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    answer = probe.ask("imports")
    assert answer.rows == [{"a": 1}]
    assert answer.failure == "crashed with signal 11"


def test_a_probe_that_hangs(tmp_path, monkeypatch):
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexec sleep 30\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    assert "0.2 seconds" in probe.ask("imports", timeout=0.2).failure


class Site:
    def __init__(self, error=None):
        self.error = error

    def __call__(self, request, timeout):
        assert timeout < 60
        self.url = request.full_url
        if self.error:
            raise self.error
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_the_hub():
    site = Site()
    assert network.hub({"HF_ENDPOINT": "https://mirror.example/"}, site).state == OK
    assert site.url.startswith("https://mirror.example/timm/")


@pytest.mark.parametrize(
    ("environ", "error"),
    [
        ({}, OSError("Name or service not known")),
        ({}, network.urllib.error.HTTPError("u", 503, "busy", None, None)),
        ({"HF_HUB_OFFLINE": "1"}, None),
        ({"HF_ENDPOINT": "no url"}, ValueError("unknown url type")),
    ],
)
def test_a_hub_that_cannot_be_reached(environ, error):
    found = network.hub(environ, Site(error))
    assert found.state == WARNING
    assert "--weights" in found.remedy


def test_appliers_are_right_here_and_a_wrong_one_is_seen(monkeypatch):
    pytest.importorskip("nvidia.dali")
    from fastleuk.doctor import pixels

    rows = list(pixels.self_tests("cpu", ["fused"]))
    assert [row["passed"] for row in rows] == [True], rows

    def brighter(images, params, applier):
        out = on_cpu(images, params, "reference")
        return out + 9 * (applier == "fused")

    monkeypatch.setattr(pixels, "on_cpu", brighter)
    assert [row["passed"] for row in pixels.self_tests("cpu", ["fused", "exact"])] == [False, True]


def test_decoding_is_right_here_and_a_wrong_one_is_seen(monkeypatch):
    pytest.importorskip("nvidia.dali")
    from fastleuk.doctor import decoding

    assert {row["found"] for row in decoding.differences("cpu")} == {""}
    monkeypatch.setattr(decoding, "_decode", lambda *_: np.float32(drawn_cells()[2])[::-1])
    assert all("levels from PIL" in row["found"] for row in decoding.differences("cpu"))
