"""The self-test: an applier that computes something else on a GPU is reported and not used."""

import contextlib
import json
import re
import sys

import numpy as np
import pytest
import torch

from fastleuk.augment import PAPER, gpu_check
from fastleuk.augment.gpu import selftest, verdicts
from fastleuk.augment.gpu.selftest import FORMS, Verdict, on_cpu, self_test
from fastleuk.augment.gpu.verdicts import first_sound, isolated, remembered, require
from fastleuk.augment.gpu_check import check, table
from fastleuk.errors import ConfigError, FastleukError, MissingDependencyError
from fastleuk.loading import resolve_applier
from tests.makers.augment_images import needs_numba
from tests.makers.host_kernels import HostKernels, resized

pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed")
GPU = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def pretended(monkeypatch, tmp_path):
    """A GPU of which nothing is known yet."""
    monkeypatch.setattr(verdicts, "versions", lambda device: {"gpu": f"pretended {device}"})
    monkeypatch.setattr(verdicts, "_sound", set())
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path))


def bent(images, params, applier, form):
    """The right pixels, one image of them a little too bright."""
    levels = on_cpu(images, params, applier, form)
    levels[3] += 12
    return levels


def broken(*_):
    raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")


def nan(images, params, applier, form):
    return np.where(np.arange(64)[:, None] == 7, np.nan, on_cpu(images, params, applier, form))


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
    def truth(images, params, applier, form):
        if applier == "compiled":
            raise MissingDependencyError("no numba")
        return on_cpu(images, params, applier, form)

    assert self_test("compiled", on_cpu, truth).passed

    def swapped(*given):
        return on_cpu(*given)[..., ::-1]

    assert not self_test("compiled", swapped, truth).passed


def black_originals(images, params, levels, _form):
    """Un-augmented images of the output's size, as where 0 is multiplied by NaN."""
    plain = ~np.any(list(params.active().values()), axis=0)
    levels[plain & np.array([image.shape[0] == 64 for image in images])] = 0


def aliased(images, params, levels, _form):
    """Larger images resized without antialiasing."""
    large = [i for i, image in enumerate(images) if image.shape[0] > 160]
    small = [np.ascontiguousarray(images[i][::3, ::3]) for i in large]
    levels[large] = on_cpu(small, params.take(large), "compiled", "float32")


def resized_originals(images, params, levels, _form):
    """As :func:`aliased`, un-augmented images only."""
    plain = ~np.any(list(params.active().values()), axis=0)
    before = levels.copy()
    aliased(images, params, levels, _form)
    levels[~plain] = before[~plain]


def in_form(form):
    def change(_images, _params, levels, given):
        if given == form:
            levels[..., 0] = levels[..., 1]

    return change


FAULTS = {
    "originals are black": black_originals,
    "large images are aliased": aliased,
    "large originals are aliased": resized_originals,
    **{f"{form} is wrong": in_form(form) for form in FORMS["compiled"]},
}


@needs_numba
@pytest.mark.parametrize("fault", FAULTS)
def test_every_form_that_users_ask_for_is_tested(fault):
    """An un-augmented image, large ones, half precision, BMPs: a fault in one is found."""

    def apply(images, params, applier, form):
        levels = on_cpu(images, params, applier, form)
        FAULTS[fault](images, params, levels, form)
        return levels

    verdict = self_test("compiled", apply)
    assert not verdict.passed
    if fault.endswith("is wrong"):
        assert fault.split()[0] in verdict.found


@needs_numba
def test_the_truth_is_resized_as_the_cpu_resizes():
    """In float64 by itself: a level may be rounded the other way."""
    for image in selftest.test_images():
        found, wanted = (f(image, 64).astype(int) for f in (selftest.resized, resized))
        assert np.abs(found - wanted).max() <= 1
        assert (found != wanted).mean() < 0.001


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
    """By the loader's choice, too; reported in one line each time."""
    device(compiled=wrong)
    for _ in range(2):
        lines = []
        assert resolve_applier("auto", PAPER, GPU, report=lines.append) == "fused"
        assert len(lines) == 1
        assert lines[0].startswith("The applier compiled is not used on cuda:0: it ")
        assert "fastleuk gpu-check" in lines[0]
    device(compiled=wrong, fused=wrong)
    assert first_sound(torch.device("cuda", 0), report=lines.append) == "fused"  # remembered
    device(compiled=on_cpu, fused=wrong)  # the cause is fixed
    assert first_sound(torch.device("cuda", 0), report=lines.append) == "compiled"


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


@pytest.mark.slow
@needs_numba
def test_the_kernels_pass_the_self_test_in_its_own_process(monkeypatch):
    """The real ones, interpreted."""
    pytest.importorskip("triton", reason="Triton comes with torch for Linux")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    verdict = isolated("compiled", torch.device("cpu"))
    assert verdict.passed, verdict.found
    assert verdict.mean < 0.001


FAILURES = {
    "no compiler": RuntimeError("Failed to find C compiler"),
    "no folder": PermissionError(13, "Permission denied", "/root/.triton"),
    "busy": RuntimeError("CUDA-capable device(s) is/are busy or unavailable"),
    "memory": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    "illegal": RuntimeError("CUDA error: an illegal memory access was encountered"),
    "time-out": Verdict("fused", False, "does not come to an end within 300 seconds"),
    "numbers": Verdict("fused", False, "mean difference 30 levels"),
    "missing": Verdict("fused", False, "can't be had", missing=True),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_is_not_remembered_once_its_cause_is_fixed(failure, tmp_path):
    cause = FAILURES[failure]

    def fails(applier):
        if isinstance(cause, Verdict):
            return cause
        return self_test(applier, lambda *_: (_ for _ in ()).throw(cause))

    assert not remembered("fused", GPU, fails).passed
    assert not list(tmp_path.rglob("*.json"))
    with pytest.raises(FastleukError):
        require("fused", GPU, test=fails)
    require("fused", GPU, test=lambda a: Verdict(a, True, "ok"))
    assert remembered("fused", GPU, fails).passed  # a pass is


def test_gpu_check_records_what_it_found():
    def verdict(passed):
        return lambda applier: Verdict(applier, passed, "found by gpu-check")

    def unasked(applier):
        raise AssertionError(f"{applier} is tested again")

    check(GPU, test=verdict(True), rate=lambda _: 1.0)
    assert first_sound(GPU, report=print, test=unasked) == "compiled"
    require("exact", GPU, test=unasked)
    check(GPU, test=verdict(False), rate=lambda _: 1.0)
    with pytest.raises(FastleukError, match="tested"):
        require("compiled", GPU, test=lambda a: Verdict(a, False, "tested"))


@pytest.mark.parametrize("place", ["file", "no home"])
def test_verdicts_need_no_cache_folder(monkeypatch, tmp_path, place):
    if place == "file":
        (tmp_path / "occupied").write_text("")
        monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path / "occupied"))
    else:
        monkeypatch.setattr(verdicts, "cache_root", no_home)
    assert remembered("fused", GPU, lambda a: Verdict(a, True, "ok")).passed


def no_home():
    raise ConfigError("no home folder")


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
    asked.clear()
    assert first_sound(GPU, report=lines.append, test=test) == "exact"
    assert asked == ["compiled", "fused"]  # the pass is remembered


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
