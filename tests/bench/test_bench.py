"""``fastleuk bench-pipeline``: every way of loading feeds equal batches and is told of."""

import json
import mmap
import os
import time
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastleuk.bench.command import BenchOptions, _choose, bench_pipeline
from fastleuk.bench.contenders.feeds import open_feed
from fastleuk.bench.contenders.stream import EndlessStream
from fastleuk.bench.measure import usage
from fastleuk.bench.measure.allocator import ALLOCATORS, choose_allocator
from fastleuk.bench.measure.marks import Clock, HostMark, Waits
from fastleuk.bench.measure.process import Process
from fastleuk.bench.report import format_table, interval, operators_table, results_table
from fastleuk.bench.run import Bench
from fastleuk.bench.spec import METHODS, PEERS, BenchSpec, available
from fastleuk.bench.worker import Worker
from fastleuk.errors import ConfigError, FastleukError
from fastleuk.loading import has_dali
from tests.makers.cells import PROJECT, SUBJECT_REGEX

needs_dali = pytest.mark.skipif(not has_dali(), reason="NVIDIA DALI is not installed")


@pytest.fixture(scope="module")
def spec(cells, tmp_path_factory):
    return BenchSpec(
        method="torchvision-pil",
        data=str(cells),
        subject_regex=SUBJECT_REGEX,
        size=48,
        batch_size=16,
        workers=0,
        device="cpu",
        cache=str(tmp_path_factory.mktemp("bench-cache")),
        backbone="test_resnet",
        amp=False,
    )


QUICK = [name for name in METHODS if name != "kornia-compiled"]
"""The one left out compiles for a minute."""


@pytest.mark.parametrize(
    "method", [*QUICK, pytest.param("kornia-compiled", marks=pytest.mark.slow)]
)
def test_every_way_feeds_normalised_augmented_batches(method, spec):
    there, missing = available()
    if method not in there:
        pytest.skip(missing[method])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the other libraries' own deprecations
        feed, close = open_feed(replace(spec, method=method, workers=method.startswith("dali")))
        batches = [next(feed) for _ in range(8)]
        close()
    images = torch.cat([batch[0] for batch in batches])
    labels = torch.cat([batch[1] for batch in batches])
    assert images.shape == (128, 3, 48, 48)
    assert images.dtype == torch.float32
    assert sorted(labels[:64].tolist()) == [0] * 32 + [1] * 32
    # The same data under the same chain: the discs' share of the picture and their brightness
    # agree whoever augments, within what the libraries understand differently.
    means = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    levels = images * torch.tensor([0.229, 0.224, 0.225])[:, None, None] + means
    assert -0.01 < float(levels.min()) < 0.02
    assert float(levels.max()) < 1.05
    assert 0.06 < float(levels.mean()) < 0.15
    assert not torch.equal(images[:16], images[64:80])


class Simulated:
    """A mark on a device whose work ends when the test says so."""

    now = 0.0

    def __init__(self):
        self.waited_for = False

    def record(self):
        self.at = Simulated.now

    def synchronize(self):
        self.waited_for = True

    def elapsed_time(self, end):
        return end.at - self.at


def test_data_wait_is_the_devices_idle_time_not_the_hosts():
    waits = Waits(Simulated)
    for gap, step in ((5, 100), (0, 100), (20, 100)):  # milliseconds on the device
        Simulated.now += gap
        waits.fed()
        Simulated.now += step
        waits.stepped()
    assert waits.seconds() == pytest.approx(0.025)


def test_the_host_stays_a_few_steps_ahead_and_waits_for_no_later_one():
    made = []

    def make():
        made.append(Simulated())
        return made[-1]

    waits = Waits(make)
    for _ in range(12):
        waits.fed()
        waits.stepped()
    ends = [made[0], *made[2::2]]
    assert [mark.waited_for for mark in ends] == [True] * 5 + [False] * 8


CHATTY = """
import sys
from fastleuk.bench.measure.process import serve
def talk(value):
    sys.stderr.write("e" * 300_000); print("o" * 300_000)
    if value: raise SystemExit("the last words")
    return {"said": True}
serve(lambda line: {"first": lambda _: talk(None), "say": talk})
"""


def test_a_contender_that_prints_much_hangs_nothing_and_its_last_words_are_kept():
    process = Process("chatty", ["-c", CHATTY], "{}")
    assert process.first == process.ask(say=0) == {"said": True}
    with pytest.raises(FastleukError, match=r"chatty ended: .*the last words"):
        process.ask(say=1)
    process.close()


MAPPED = """
import ctypes
from fastleuk.bench.measure.process import serve
from fastleuk.memory import keep_freed_memory
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "abcd"] + [("mapped", ctypes.c_size_t)] + [
        (name, ctypes.c_size_t) for name in "fghij"]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
libc.malloc.restype = ctypes.c_void_p
def first(_):
    libc.malloc(ctypes.c_size_t(64 << 20))
    return {"mapped": libc.mallinfo2().mapped, "set": keep_freed_memory()}
serve(lambda line: {"first": first})
"""


@pytest.mark.skipif(choose_allocator("kept") != "kept", reason="not glibc's allocator")
def test_every_process_gets_the_allocator_that_was_asked_for(monkeypatch):
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1")  # whatever this process has
    found = {}
    for name in ALLOCATORS:
        process = Process(name, ["-c", MAPPED], "{}", allocator=name)
        found[name] = process.first
        process.close()
    assert found["kept"] == {"mapped": 0, "set": True}  # before anything of fastleuk's has run
    assert found["system"]["mapped"] >= 64 << 20
    assert found["system"]["set"] is False  # nor do fastleuk's own loaders change it


def test_an_unknown_allocator_is_refused():
    with pytest.raises(ConfigError, match="kept, system"):
        choose_allocator("jemalloc")


@pytest.mark.parametrize(
    ("differences", "low", "noise"),
    [([1.0, 1.2, 0.8, 1.1, 0.9, 1.0, 1.05, 0.95, 1.0], 0.8, False), ([-0.5] * 9, 0, True)],
)
def test_an_operators_time_is_never_below_zero(differences, low, noise):
    found = interval(differences)
    assert found["below_noise"] is noise
    assert 0 <= low <= found["low"] <= found["ms_per_image"] <= found["high"]
    row = {"name": "x", "graph": "both", **found}
    assert ("<" in operators_table([row])) is noise


@given(st.lists(st.floats(-10, 10), min_size=5, max_size=40))
def test_an_operators_interval_holds_its_median(differences):
    found = interval(differences)
    assert 0 <= found["low"] <= found["ms_per_image"] <= found["high"]
    assert found["below_noise"] or found["low"] > 0


@needs_dali
def test_the_copies_of_a_timed_operator_are_all_computed():
    from fastleuk.bench.operators import COPIES, _Timer

    images = [np.full((8, 8, 3), value, np.uint8) for value in (10, 20)]
    timer = _Timer(batch_size=2, repeats=5)
    ran = []

    def work(batch):
        ran.append(int(np.asarray(batch).flat[0]))
        return batch

    def graph(node, _):
        from nvidia.dali import fn

        return fn.python_function(node, function=work)

    pipeline = timer._build(graph, images, [])
    pipeline.run()
    assert sorted(ran)[: 2 * COPIES] == [10] * COPIES + [20] * COPIES
    times, outputs = timer.time(lambda node, _: node + 1, images, [])
    assert times.keys() == {"ms_per_image", "low", "high", "below_noise"}
    assert [int(output[0, 0, 0]) for output in outputs] == [11, 21]


def test_gpu_memory_is_that_of_a_method_alone(spec, monkeypatch):
    alive, log = [], []

    class Fake:
        def __init__(self, method):
            self.method, self.first_batch_s = method, 1.0
            self.first = {"shape": [16, 3, 48, 48]}
            alive.append(method)

        def ask(self, **command):
            log.append((tuple(alive), command))
            return {"images": 1, "seconds": 1.0, "latencies_ms": [1.0], "cpu_s": 1.0,
                    "memory_bytes": 1, "device_bytes": in_use()}  # fmt: skip

        def close(self):
            if self.method in alive:
                alive.remove(self.method)

    def in_use(_device=None):
        return 10**9 + sum({"kornia": 3 * 10**8, "torchvision-pil": 10**8}[m] for m in alive)

    monkeypatch.setattr("fastleuk.bench.run.start", lambda spec: Fake(spec.method))
    monkeypatch.setattr("fastleuk.bench.measure.usage.device_bytes", in_use)
    bench = Bench(replace(spec, device="cuda"), 1, 0.1, train_seconds=0, report=lambda _: None)
    results, _ = bench.run(["kornia", "torchvision-pil"])
    assert {r["name"]: r["gpu_memory_mb"] for r in results} == {
        "kornia": 300, "torchvision-pil": 100
    }  # fmt: skip
    assert not alive


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


def test_the_endless_stream_goes_through_all_rows_again_and_again():
    stream = EndlessStream(np.arange(10, 17), batch_size=3)
    plans = stream.batches()
    rows = np.concatenate([next(plans).indices for _ in range(7)])
    for start in (0, 7, 14):
        assert sorted(rows[start : start + 7]) == list(range(10, 17))
    assert not np.array_equal(rows[:7], rows[7:14])


def test_a_worker_measures_and_trains(spec):
    worker = Worker(spec)
    assert worker.first_batch()["shape"] == [16, 3, 48, 48]
    found = worker.measure(0.05)
    assert found["images"] == 16 * len(found["latencies_ms"])
    assert found["seconds"] == pytest.approx(sum(found["latencies_ms"]) / 1e3)
    trained = worker.train(0.0)
    assert trained.keys() == {"fed", "ideal"}
    for turns in trained.values():
        assert len(turns) == 2
        for turn in turns:
            assert (turn["images"], turn["steps"]) == (16, 1)
            assert 0 <= turn["waited"] <= turn["seconds"]
    worker.close()


def test_training_takes_batches_of_the_feed_and_one_batch_in_turns(spec, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "fastleuk.bench.worker._make_step", lambda *_: lambda images, _: seen.append(images.sum())
    )
    worker = Worker(spec)
    worker.feed = ((torch.full((16, 3, 8, 8), float(i)), torch.zeros(16)) for i in range(99))
    worker.train(0.0)  # any network is slow against no time at all
    expected = [0, 0, 1, 0, 2, 0]
    assert [int(total) // (16 * 3 * 64) for total in seen] == expected
    seen.clear()
    monkeypatch.setattr(worker, "_turn", lambda step, feed, _: step(*next(feed)))
    worker.train(1e6)  # any is fast against an eternity: four batches are dropped before a turn
    worker.close()
    expected = [3, 3, 4, 5, 6, 7, 8, 3, 9, 10, 11, 12, 13, 3]
    assert [int(total) // (16 * 3 * 64) for total in seen] == expected


def test_what_a_feed_reaches_is_told_beside_its_own_ideal(spec):
    class Process:
        def __init__(self, fed, ideal):
            self._answer = {
                kind: [{"images": r, "seconds": 1.0, "steps": 1, "waited": 0.25} for r in rates]
                for kind, rates in (("fed", fed), ("ideal", ideal))
            }

        def ask(self, train):
            assert train == bench.train_seconds
            return self._answer

        def close(self):
            pass

    processes = {  # the second's process is slower in all it does, and loses less
        "dali-fused-cache": Process([80, 40, 160], [100, 50, 200]),
        "torchvision-pil": Process([18, 27, 9], [20, 30, 10]),
    }
    bench = Bench(spec, report=lambda _: None)
    rows = bench._train(processes, [{"name": name} for name in processes])
    assert [row["name"].split()[0] for row in rows] == [
        "ideal",
        "torchvision-pil",
        "dali-fused-cache",
    ]
    assert [row["share_of_ideal"] for row in rows] == pytest.approx([1, 0.9, 0.8])
    assert [row["images_per_s"] for row in rows] == [100, 18, 80]
    assert [row["ideal_images_per_s"] for row in rows] == [100, 20, 100]
    assert [row["data_wait_share"] for row in rows] == [0.25] * 3


def test_a_clock_counts_batches_from_mark_to_mark():
    clock = Clock(HostMark)
    for _ in range(3):
        clock.mark()
    assert len(clock) == len(clock.latencies()) == 3
    assert sum(clock.latencies()) <= clock.host_seconds


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


def test_a_method_that_fails_is_told_of_and_the_others_go_on(spec):
    bench = Bench(replace(spec, data="/nowhere"), report=lambda _: None)
    results, training = bench.run(["torchvision-pil"])
    assert results == training == []
    assert "/nowhere" in bench.failed["torchvision-pil"]


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


@pytest.mark.skipif(not usage.PROC.is_dir(), reason="no /proc")
def test_usage_counts_this_process_and_its_children():
    import subprocess
    import sys

    before = usage.cpu_seconds(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", "x = 0\nwhile x < 4e7: x += 1"])
    assert child.pid in usage.tree(os.getpid())
    while child.poll() is None:
        time.sleep(0.02)
    assert usage.cpu_seconds(os.getpid()) - before > 0.2
    held = usage.memory_bytes(os.getpid())
    # Mapped, not allocated: malloc may hand out memory that this process has kept.
    with mmap.mmap(-1, 64 << 20) as block:
        block.write(b"x" * (64 << 20))
        assert usage.memory_bytes(os.getpid()) - held > 60 << 20


def test_a_table_is_aligned():
    text = format_table([("name", "n"), ("a", "10"), ("bcdef", "2")])
    assert text.splitlines() == ["name    n", "---------", "a      10", "bcdef   2"]
    row = {
        "name": "kornia",
        "images_per_s": {"median": 10.4, "iqr": 0.2},
        "ratio_to_torchvision": None,
        "cpu_s_per_1000_images": None,
        "peak_memory_mb": None,
        "latency_ms": {"p50": 1.0, "p95": 2.0},
        "first_batch_s": 1.0,
    }
    assert results_table([row]).count("–") == 3
