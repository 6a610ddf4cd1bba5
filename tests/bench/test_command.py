"""The whole command, and what it refuses."""

import json
from types import SimpleNamespace

import pytest

from fastleuk.bench.command import BenchOptions, _choose, bench_pipeline
from fastleuk.bench.measure import usage
from fastleuk.bench.spec import METHODS, PEERS, BenchSpec, available
from fastleuk.errors import ConfigError, FastleukError
from tests.makers.cells import PROJECT, SUBJECT_REGEX
from tests.makers.skips import needs_dali


def test_methods_for_a_gpu_and_for_a_cpu_and_peers():
    on_cpu, _ = available("cpu")
    on_gpu, reasons = available("cuda:0")
    assert not [name for name in on_cpu if "compiled-host" in name]
    assert "dali-compiled-cache" not in on_gpu
    assert "CPU" in reasons["dali-compiled-cache"]
    assert BenchSpec.applier.fget(SimpleNamespace(method="dali-compiled-host-files")) == (
        "compiled-host"
    )
    skipped = {}
    assert not set(_choose("", list(METHODS), skipped)) & set(PEERS)
    assert set(skipped) == set(PEERS)
    assert set(_choose("", list(METHODS), {}, peers=True)) == set(METHODS)


@needs_dali
def test_the_whole_command_writes_what_the_schema_says(spec, tmp_path):
    import jsonschema

    lines = []
    options = BenchOptions(
        data=spec.data,
        subject_regex=SUBJECT_REGEX,
        methods="torchvision-pil,dali-fused-cache",
        size=48,
        batch_size=16,
        workers=1,
        device="cpu",
        cache=spec.cache,
        rounds=2,
        seconds=0.05,
        allocator="system",
        backbone="test_resnet",
        train_seconds=0.05,
        json=str(tmp_path / "bench.json"),
        plot=str(tmp_path / "bench.png"),
    )
    bench_pipeline(options, report=lines.append)
    document = json.loads((tmp_path / "bench.json").read_text())
    schema = json.loads((PROJECT / "benchmarks" / "schema.json").read_text())
    jsonschema.validate(document, schema)
    results = {row["name"]: row for row in document["results"]}
    assert set(results) == {"torchvision-pil", "dali-fused-cache"}
    assert results["torchvision-pil"]["ratio_to_torchvision"] == 1
    rates = [row["images_per_s"]["median"] for row in document["results"]]
    assert rates == sorted(rates, reverse=True)
    assert document["training"][0]["name"].startswith("ideal")
    assert {row["name"] for row in document["training"][1:]} == set(results)
    assert {"read", "decode", "resize"} <= {row["name"] for row in document["operators"]}
    assert all(row["ms_per_image"] >= 0 for row in document["operators"])
    if usage.PROC.is_dir():
        assert all(row["peak_memory_mb"] > 50 for row in document["results"])
    from PIL import Image

    with Image.open(tmp_path / "bench.png") as picture:
        assert min(picture.size) > 300
    assert any("× torchvision" in line for line in lines)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"methods": "dali"}, "there are dali-compiled-cache"),
        ({"rounds": 0}, "--rounds is 0"),
        ({"seconds": float("nan")}, "--seconds is nan"),
        ({"json": "/nowhere/x.json"}, "/nowhere"),
        ({"backbone": "efficentnet_b0"}, "efficientnet_b0"),
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"device": "cuda:99"}, "cuda:99"),
    ],
)
def test_options_that_make_no_sense(change, words):
    with pytest.raises(FastleukError, match=words):
        bench_pipeline(BenchOptions(**change), report=lambda _: None)


def test_a_method_that_is_not_installed_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    there, missing = available()
    assert "albumentations" not in there
    assert "fastleuk[bench]" in missing["kornia"]
    with pytest.raises(ConfigError, match=r"fastleuk\[bench\]"):
        _choose("kornia", there, missing)
