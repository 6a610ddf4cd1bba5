"""An applier that computes something else on a GPU is not used, and that is said."""

import contextlib
import json
import re
import sys

import numpy as np
import pytest
import torch

from fastleuk.augment import PAPER, gpu_check
from fastleuk.augment.gpu import verdicts
from fastleuk.augment.gpu.selftest import Verdict, on_cpu, self_test
from fastleuk.augment.gpu.verdicts import first_sound, isolated, remembered, require
from fastleuk.augment.gpu_check import check, table
from fastleuk.errors import FastleukError, MissingDependencyError
from fastleuk.loading import resolve_applier
from tests.makers.augment_images import needs_numba
from tests.makers.host_kernels import HostKernels

pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed")
GPU = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def pretended(monkeypatch, tmp_path):
    """A GPU of which nothing is known yet."""
    monkeypatch.setattr(verdicts, "versions", lambda device: {"gpu": f"pretended {device}"})
    monkeypatch.setattr(verdicts, "_sound", set())
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path))


def bent(images, params, applier):
    """The right pixels, one image of them a little too bright."""
    levels = on_cpu(images, params, applier)
    levels[3] += 12
    return levels


def broken(_images, _params, _applier):
    raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")


def nan(images, params, applier):
    return np.where(np.arange(64)[:, None] == 7, np.nan, on_cpu(images, params, applier))


@needs_numba
@pytest.mark.parametrize("applier", ["compiled", "fused", "exact"])
def test_right_pixels_pass_and_wrong_ones_do_not(applier):
    assert self_test(applier, on_cpu).passed
    for apply, says in ((bent, "mean difference"), (broken, "illegal memory"), (nan, "NaN")):
        verdict = self_test(applier, apply)
        assert not verdict.passed
        assert says in verdict.found
        assert "\n" not in verdict.found


@needs_numba
def test_without_numba_torchvision_is_the_truth():
    def truth(images, params, applier):
        if applier == "compiled":
            raise MissingDependencyError("no numba")
        return on_cpu(images, params, applier)

    assert self_test("compiled", on_cpu, truth).passed

    def swapped(images, params, applier):
        return on_cpu(images, params, applier)[..., ::-1]

    assert not self_test("compiled", swapped, truth).passed


@pytest.fixture
def device(monkeypatch):
    """A device by what it computes for each applier; the self-test is the real one."""

    def put(**applied):
        def test(applier, device):
            assert device == GPU
            return self_test(applier, applied.get(applier, on_cpu))

        monkeypatch.setattr(verdicts, "isolated", test)

    return put


@needs_numba
@pytest.mark.parametrize("wrong", [bent, broken, nan])
def test_a_device_with_wrong_pixels_is_given_the_next_applier(device, wrong):
    """By the loader's choice, too; it is said in one line, again from what is remembered."""
    device(compiled=wrong)
    for _ in range(2):
        lines = []
        assert resolve_applier("auto", PAPER, GPU, report=lines.append) == "fused"
        assert len(lines) == 1
        assert lines[0].startswith("The applier compiled is not used on cuda:0: it ")
        assert "fastleuk gpu-check" in lines[0]
    device(compiled=wrong, fused=wrong)
    assert first_sound(torch.device("cuda", 0), report=lines.append) == "fused"  # remembered


@needs_numba
def test_a_sound_device_takes_the_fastest_without_a_word(device):
    device()
    lines = []
    assert resolve_applier("auto", PAPER, GPU, report=lines.append) == "compiled"
    assert lines == []


@needs_numba
def test_an_applier_by_name_fails_instead(device):
    device(compiled=bent, exact=broken)
    for applier, found in (("compiled", "mean difference"), ("exact", "illegal memory")):
        with pytest.raises(FastleukError, match=f"{applier} was asked for.*{found}.*gpu-check"):
            resolve_applier(applier, PAPER, GPU)
    assert resolve_applier("fused", PAPER, GPU) == "fused"


def test_without_triton_auto_stays_fused_and_says_so(monkeypatch):
    monkeypatch.setattr(verdicts, "_is_installed", lambda package: package != "triton")
    monkeypatch.setattr(verdicts.subprocess, "run", lambda *_, **__: SILENT_AND_RIGHT)
    lines = []
    assert resolve_applier("auto", PAPER, GPU, report=lines.append) == "fused"
    (line,) = lines
    assert "Triton is not installed" in line
    assert "report" not in line
    with pytest.raises(MissingDependencyError, match="Triton is not installed"):
        resolve_applier("compiled", PAPER, GPU)


class SILENT_AND_RIGHT:
    """A self-test's process that has passed."""

    returncode, stderr = 0, ""
    stdout = "ready\n" + json.dumps({"applier": "fused", "passed": True, "found": "ok"})


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("print('ready', flush=True); import ctypes; ctypes.string_at(0)", r"ends its process \(-"),
        ("print('ready'); raise SystemExit('CUDA error: unspecified')", "CUDA error: unspecified"),
        ("print('ready', flush=True); import time; time.sleep(60)", "come to an end within 2 sec"),
        ("print('ready'); print('so?')", "ends its process"),
    ],
)
def test_a_test_that_kills_or_hangs_its_process_is_a_verdict(monkeypatch, program, found):
    run = verdicts.subprocess.run
    monkeypatch.setattr(
        verdicts.subprocess,
        "run",
        lambda _, **options: run([sys.executable, "-c", program], **options),
    )
    verdict = isolated("compiled", GPU, seconds=2)
    assert not verdict.passed
    assert re.search(found, verdict.found)


@pytest.mark.parametrize("program", ["raise SystemExit('all devices are busy')", None])
def test_a_device_for_one_process_only_is_tested_in_this_one(monkeypatch, program):
    run = verdicts.subprocess.run

    def start(_, **options):
        if program is None:
            raise OSError("no processes")
        return run([sys.executable, "-c", program], **options)

    monkeypatch.setattr(verdicts.subprocess, "run", start)
    monkeypatch.setattr(verdicts, "on_gpu", lambda _: broken)
    assert "illegal memory" in isolated("fused", GPU).found


@needs_numba
def test_the_kernels_pass_the_self_test_in_its_own_process(monkeypatch):
    """The real ones, interpreted."""
    pytest.importorskip("triton", reason="Triton comes with torch for Linux")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    verdict = isolated("compiled", torch.device("cpu"))
    assert verdict.passed, verdict.found
    assert verdict.mean < 0.001


def test_memory_that_was_lacking_is_not_remembered():
    def test(applier):
        return self_test(applier, lambda *_: 1 / 0 if ready else out_of_memory())

    def out_of_memory():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    ready = False
    assert "out of memory" in remembered("fused", GPU, test).found
    ready = True
    assert "ZeroDivisionError" in remembered("fused", GPU, test).found
    ready = False
    assert "ZeroDivisionError" in remembered("fused", GPU, test).found


def test_nothing_is_tested_where_there_is_no_gpu():
    require("compiled", torch.device("cpu"), test=lambda _: 1 / 0)
    require("compiled-host", GPU, test=lambda _: 1 / 0)


def test_the_next_applier_takes_over_and_one_line_says_why():
    lines = []
    asked = []

    def test(applier):
        asked.append(applier)
        return Verdict(applier, applier == "exact", "gives wrong pixels")

    assert first_sound(GPU, report=lines.append, test=test) == "exact"
    assert asked == ["compiled", "fused", "exact"]
    assert len(lines) == 2
    assert all("gives wrong pixels" in line and "gpu-check" in line for line in lines)
    asked.clear()  # it is remembered
    assert first_sound(GPU, report=lines.append, test=test) == "exact"
    assert asked == []


def test_no_sound_applier_is_an_error():
    with pytest.raises(FastleukError, match="compiled no"):
        first_sound(torch.device("cuda", 1), report=print, test=lambda a: Verdict(a, False, "no"))


def test_a_verdict_holds_for_its_versions(monkeypatch, tmp_path):
    asked = []

    def test(applier):
        asked.append(applier)
        return Verdict(applier, True, "ok")

    for _ in range(2):
        assert remembered("fused", GPU, test).passed
    assert asked == ["fused"]
    monkeypatch.setattr(verdicts, "versions", lambda _: {"driver": "a newer one"})
    assert remembered("fused", GPU, test).passed
    assert asked == ["fused", "fused"]
    for file in tmp_path.rglob("*.json"):
        file.write_text(json.dumps({"verdict": {"passed": True}}))  # damaged
    assert remembered("fused", GPU, test).passed
    assert len(asked) == 3


def test_gpu_check_tells_what_it_found():
    found = check(
        GPU,
        test=lambda applier: Verdict(applier, applier != "exact", f"{applier}'s finding"),
        rate=lambda _: 123456.0,
    )
    text = table(found, GPU, 98765.0)
    lines = [line.split() for line in text.splitlines()]
    assert ["compiled", "ok", "123,456", "images/s", "compiled's", "finding"] in lines
    assert ["exact", "FAILS", "not", "measured", "exact's", "finding"] in lines
    assert lines[-1][:3] == ["parameters", "98,765", "images/s"]


@needs_numba
def test_the_rate_is_that_of_upload_and_kernels_by_events(monkeypatch):
    """A pretended GPU that needs a second; the parameters are packed before it begins."""
    marks = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            marks.append(self)

        def synchronize(self):
            assert marks[-1] is self

        def elapsed_time(self, _end):
            return 1000.0

    class Counting(HostKernels):
        def packed(self, *arguments):
            assert not marks
            return super().packed(*arguments)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "device", contextlib.nullcontext)
    monkeypatch.setattr("fastleuk.augment.gpu.kernels.Kernels", Counting)
    for name, value in (("RATE_SIZE", 32), ("RATE_BATCH", 4), ("RATE_ROUNDS", 5)):
        monkeypatch.setattr(gpu_check, name, value)
    assert gpu_check.measure("compiled", torch.device("cpu")) == 3 * 4
    assert len(marks) == 2
    assert gpu_check.host_rate(images=8, rounds=2) > 0
