"""An applier that computes something else on a GPU is not used, and that is said."""

import json

import numpy as np
import pytest

from fastleuk.augment.gpu import selftest
from fastleuk.augment.gpu.check import check, table
from fastleuk.augment.gpu.selftest import Verdict, first_sound, on_cpu, remembered, self_test
from fastleuk.errors import FastleukError, MissingDependencyError
from tests.makers.augment_images import needs_numba

pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed")
GPU = "a pretended GPU"


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
        first_sound("another", report=print, test=lambda a: Verdict(a, False, "no"))


def test_a_verdict_holds_for_its_versions(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path))
    asked = []

    def test(applier):
        asked.append(applier)
        return Verdict(applier, True, "ok")

    for _ in range(2):
        assert remembered("fused", GPU, test).passed
    assert asked == ["fused"]
    monkeypatch.setattr(selftest, "versions", lambda _: {"driver": "a newer one"})
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
    text = table(found, GPU)
    lines = [line.split() for line in text.splitlines()]
    assert ["compiled", "ok", "123,456", "images/s", "compiled's", "finding"] in lines
    assert ["exact", "FAILS", "not", "measured", "exact's", "finding"] in lines
