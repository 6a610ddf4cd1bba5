"""Contenders in turns: what one measures alone, what training sees of it, who fails."""

from dataclasses import replace

import pytest
import torch

from fastleuk.bench.run import Bench
from fastleuk.bench.worker import Worker


def test_gpu_memory_is_that_of_a_method_alone(spec, monkeypatch):
    alive, log = [], []

    class Fake:
        def __init__(self, method):
            self.method, self.first_batch_s = method, 1.0
            self.first = {"shape": [16, 3, 48, 48], "dtype": "float32"}
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


def test_a_method_that_fails_is_told_of_and_the_others_go_on(spec):
    bench = Bench(replace(spec, data="/nowhere"), report=lambda _: None)
    results, training = bench.run(["torchvision-pil"])
    assert results == training == []
    assert "/nowhere" in bench.failed["torchvision-pil"]
