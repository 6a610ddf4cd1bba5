"""The doctor's look at GPUs, none of which is here."""

import pytest

from fastleuk.doctor import gpu, working
from fastleuk.doctor.finding import FAILED, OK, WARNING
from fastleuk.doctor.probe import Answer

NONE = {"available": False, "count": 0, "cuda": "13.0", "kernels": []}
SOME = {"available": True, "count": 1, "cuda": "13.0", "kernels": ["sm_90"]}
H100 = {"index": 0, "name": "H100", "memory": 80e9, "capability": "9.0", "bf16": True,
        "float32": "", "float16": "", "bfloat16": ""}  # fmt: skip


def test_driver_version(tmp_path):
    folder = tmp_path / "driver" / "nvidia"
    folder.mkdir(parents=True)
    (folder / "version").write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n"
    )
    assert gpu.driver_version(tmp_path) == "535.104.05"
    assert gpu.driver_version(tmp_path / "none") == ""


def test_an_open_kernel_module(tmp_path):
    folder = tmp_path / "driver" / "nvidia"
    folder.mkdir(parents=True)
    (folder / "version").write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n"
    )
    assert gpu.driver_version(tmp_path) == "570.86.15"


def test_gpus_of_the_system(tmp_path):
    (tmp_path / "nvidiactl").touch()
    assert not gpu.has_gpu(tmp_path)
    (tmp_path / "nvidia0").touch()
    assert gpu.has_gpu(tmp_path)


@pytest.mark.parametrize(
    ("version", "toolkits", "lacking"),
    [
        ("535.104.05", {"torch": 13, "nvidia-dali-cuda120": 12}, ["torch"]),
        ("580.65.06", {"torch": 13}, []),
        ("470.82", {"torch": 13, "nvidia-dali-cuda120": 12}, ["torch", "nvidia-dali-cuda120"]),
        ("525.60.13", {"torch": 12}, []),
    ],
)
def test_a_driver_that_is_too_old(version, toolkits, lacking):
    found = gpu.driver(version, toolkits)
    assert found.state == (WARNING if lacking else OK)
    assert [name for name in toolkits if f"{name} (CUDA" in found.found] == lacking


def test_no_gpu_is_no_fault():
    (found,) = gpu.gpus(Answer([NONE]), there=False, environ={})
    assert (found.state, found.remedy) == (OK, "")


@pytest.mark.parametrize(
    ("answer", "environ", "says"),
    [
        (Answer([NONE]), {"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES"),
        (Answer([{**NONE, "cuda": None}]), {}, "built for the CPU"),
        (Answer([NONE]), {}, "torch can't use it"),
        (Answer([], "crashed with signal 11"), {}, "signal 11"),
    ],
)
def test_a_gpu_that_torch_cannot_use(answer, environ, says):
    (found,) = gpu.gpus(answer, there=True, environ=environ)
    assert found.state == WARNING
    assert says in found.found
    assert found.remedy


def test_a_sound_gpu():
    (found,) = gpu.gpus(Answer([SOME, H100]), there=True, environ={})
    assert found.state == OK
    assert "bf16" in found.found


def test_a_gpu_without_kernels():
    error = "CUDA error: no kernel image is available"
    rows = [SOME, {**H100, "float32": error}]
    (found,) = gpu.gpus(Answer(rows), there=True, environ={})
    assert found.state == WARNING
    assert error in found.found
    assert "sm_90" in found.remedy


def test_a_small_gpu_and_one_that_crashes():
    rows = [SOME, {**H100, "memory": 4e9, "bf16": False}]
    small, crashed = gpu.gpus(Answer(rows, "crashed with signal 6"), there=True, environ={})
    assert "no bf16" in small.found
    assert "--accumulate" in small.remedy
    assert "signal 6" in crashed.found


@pytest.mark.parametrize(("device", "state"), [("cpu", FAILED), ("cuda:0", WARNING)])
def test_decoding_that_fails(device, state):
    rows = [{"format": "BMP", "found": ""}, {"format": "JPEG", "found": "nvJPEG: no device"}]
    found = working.decoding(Answer(rows), device)
    assert found.state == state
    assert "nvJPEG" in found.found
    assert "--loader torchvision" in found.remedy
    assert working.decoding(Answer(rows[:1], "crashed with signal 11"), device).state == state
    assert working.decoding(Answer(rows[:1]), device).state == OK


def test_appliers_that_fail():
    rows = [
        {"applier": "compiled", "passed": False, "missing": True, "found": "no numba"},
        {"applier": "fused", "passed": False, "missing": False, "found": "mean difference 9"},
    ]
    compiled, fused, exact = working.appliers(Answer(rows, "crashed with signal 11"), "cuda:0")
    assert {compiled.state, fused.state, exact.state} == {WARNING}
    assert "--applier fused or exact" in compiled.remedy
    assert "--applier compiled" in fused.remedy
    assert "signal 11" in exact.found
