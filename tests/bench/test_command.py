"""The whole command, and what it refuses."""

import json
from types import SimpleNamespace

import pytest
import torch

from fastleuk.bench.command import BenchOptions, _choose, _print_left_out, bench_pipeline
from fastleuk.bench.measure import usage
from fastleuk.bench.measure.machine import machine
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


def test_what_needs_a_gpu_is_left_out_in_one_line_on_a_cpu():
    lines = []
    _, skipped = available("cpu")
    rows = [{"name": name, "reason": reason} for name, reason in skipped.items()]
    _print_left_out(rows, lines.append)
    (line,) = [line for line in lines if "this is a CPU" in line]
    waiting = {name for name in METHODS if name.startswith("triton-") or "-cache-gpu" in name}
    assert waiting <= set(line.replace(",", " ").replace(":", " ").split())
    assert len(waiting) == 5


@pytest.fixture
def pretended_gpu(monkeypatch):
    """A command that believes in a GPU and measures nothing; what was asked of the bench."""
    asked = []

    def run(_self, methods):
        asked.extend(methods)
        common = {"batch_size": 16, "workers": 1, "allocator": "kept", "what": ""}
        rows = [
            common
            | {
                "name": name,
                "images_per_s": {"median": 1e5, "iqr": 0.0, "rounds": [1e5]},
                "ratio_to_torchvision": None,
                "cpu_s_per_1000_images": None,
                "peak_memory_mb": None,
                "gpu_memory_mb": None,
                "latency_ms": {"p50": 1.0, "p95": 1.0},
                "first_batch_s": 1.0,
                "shape": [16, 3, 48, 48],
                "dtype": "float16",
            }
            for name in methods
        ]
        return rows, []

    device = torch.device("cuda", 0)
    about = machine("cpu") | {"gpu": "NVIDIA H100", "device": "cuda:0"}
    bandwidth = {"copy_gb_per_s": 2400.0, "upload_gb_per_s": 25.0}
    monkeypatch.setattr("fastleuk.models.device.choose_device", lambda _: device)
    monkeypatch.setattr("fastleuk.bench.command.machine", lambda _: about)
    monkeypatch.setattr("fastleuk.bench.command.Bench.run", run)
    monkeypatch.setattr("fastleuk.bench.traffic.measure_bandwidth", lambda _: bandwidth)
    return asked


def test_on_a_gpu_the_table_shows_bytes_and_shares(spec, tmp_path, pretended_gpu):
    import jsonschema

    pytest.importorskip("triton")
    lines = []
    methods = "triton-cache-gpu,triton-cache,triton-files,torchvision-pil"
    options = BenchOptions(
        data=spec.data, subject_regex=SUBJECT_REGEX, methods=methods, size=48, batch_size=16,
        workers=1, cache=spec.cache, train_seconds=0, json=str(tmp_path / "bench.json"),
    )  # fmt: skip
    bench_pipeline(options, report=lines.append)
    assert pretended_gpu == methods.split(",")
    document = json.loads((tmp_path / "bench.json").read_text())
    schema = json.loads((PROJECT / "benchmarks" / "schema.json").read_text())
    jsonschema.validate(document, schema)
    rows = {row["name"]: row for row in document["results"]}
    assert rows["torchvision-pil"]["bytes_moved"] is None
    pixels = 3 * 48 * 48
    for name, up in (("triton-cache-gpu", 0), ("triton-cache", pixels)):
        row = rows[name]
        assert row["bytes_uploaded"] - up == pytest.approx(250, abs=250)
        moved = row["bytes_uploaded"] + pixels + 6 * pixels
        assert row["bytes_moved"] == pytest.approx(moved)
        assert row["share_of_copy"] == pytest.approx(1e5 * moved / 2400e9)
        assert row["share_of_upload"] == pytest.approx(1e5 * row["bytes_uploaded"] / 25e9)
    table = "\n".join(lines)
    assert "of the copy bandwidth" in table
    assert "2,400 GB/s" in table


@needs_dali
@pytest.mark.slow
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
    assert document["bandwidth"] is None
    assert all(row["bytes_moved"] is None for row in document["results"])


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
