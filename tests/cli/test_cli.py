"""The command line as a user meets it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from fastleuk.cli import main
from fastleuk.loading import has_dali
from tests.makers.cells import SUBJECT_REGEX
from tests.makers.training_runs import small_options

QUICK = small_options()


def test_train_then_evaluate(fastleuk, cells, tmp_path):
    out = tmp_path / "run"
    code, said, _ = fastleuk("train", "--data", cells, "--out", out, "--epochs", 1, *QUICK)
    assert code == 0
    assert "confusion_matrix.png" in said
    saved = (out / "test_metrics.json").read_bytes()
    code, said, _ = fastleuk("evaluate", out)
    assert code == 0
    assert "macro" in said
    assert (out / "test_metrics.json").read_bytes() == saved


def test_data_describes_and_writes_manifest_and_sheet(fastleuk, cells, tmp_path):
    manifest, sheet = cells / "manifest.csv", tmp_path / "sheet.png"
    code, said, _ = fastleuk(
        "data", cells, "--subject-regex", SUBJECT_REGEX,
        "--manifest", manifest, "--contact-sheet", sheet,
    )  # fmt: skip
    assert code == 0
    assert "64 images found" in said
    assert sheet.stat().st_size > 1000
    try:
        code, again, _ = fastleuk("data", manifest)
    finally:
        manifest.unlink()
    assert code == 0
    assert "64 images found" in again


@pytest.mark.skipif(not has_dali(), reason="NVIDIA DALI is not installed")
def test_gallery_writes_two_pictures(fastleuk, cells, tmp_path):
    out = tmp_path / "gallery.png"
    code, said, _ = fastleuk("gallery", "--data", cells, "--out", out, "--size", 48)
    assert code == 0
    for picture in (out, tmp_path / "gallery-sheet.png"):
        assert str(picture) in said
        assert picture.stat().st_size > 10_000
    code, _, error = fastleuk("gallery", "--data", cells, "--out", tmp_path / "gallery.jpg")
    assert code == 2
    assert ".png" in error


def test_demo_data_can_be_read_back(fastleuk, tmp_path):
    code, said, _ = fastleuk("demo-data", tmp_path / "demo", "--cells", 140, "--seed", 5)
    assert code == 0
    assert "ynthetic" in said
    code, said, _ = fastleuk("data", tmp_path / "demo")
    assert code == 0
    assert "SYNTHETIC" in said
    assert "prelim" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "--data", "/no/such/folder", *QUICK], "/no/such/folder"),
        (["train", "--lr", "-1"], "--lr"),
        (["train", "--split", "thirds", "--data", "x", *QUICK], "thirds"),
        (["train", "--resume", "x", "--lr", "0.1"], "lr"),
        (["train", "--resume", "/no/run"], "/no/run"),
        (["evaluate", "/no/run"], "/no/run"),
        (["data", "/no/such/folder"], "/no/such/folder"),
        (["demo-data", "/tmp", "--cells", "200"], "/tmp"),
        (["demo-data", "x", "--cells", "-4"], "cells"),
        (["train", "--loader", "numpy"], "numpy"),
        (["trian"], "train"),
        (["train", "--epochs", "many"], "--epochs"),
    ],
)
def test_bad_input_exits_with_2_one_message_and_no_traceback(fastleuk, arguments, says):
    code, _, error = fastleuk(*arguments)
    assert code == 2
    assert says in error
    assert "Traceback" not in error


def test_debug_shows_the_traceback(monkeypatch):
    from fastleuk.errors import FastleukError

    monkeypatch.setenv("FASTLEUK_DEBUG", "")
    monkeypatch.setattr(sys, "argv", ["fastleuk", "--debug", "evaluate", "/no/run"])
    with pytest.raises(FastleukError):
        main()


def test_version(fastleuk):
    import fastleuk as package

    assert fastleuk("--version")[1] == f"fastleuk {package.__version__}\n"


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(cells, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "fastleuk", "train", "--data", cells, "--out", out]
    process = subprocess.Popen(
        [*map(str, command), "--epochs", "5000", "--patience", "5000", *QUICK],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )
    try:
        for line in process.stdout:
            if line.startswith("epoch"):
                break
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert time.monotonic() - started < 60
    assert process.returncode == 130
    assert f"--resume {out}" in error
    assert "Traceback" not in error
    assert (out / "last.ckpt").is_file()
    assert (out / "best.safetensors").is_file()
