"""Many requests at once: batches, the queue's bound, and what becomes of a failure."""

import itertools
import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastleuk.loading.images.encoded import encode_bytes
from fastleuk.predict.ensemble import Scored
from fastleuk.serve.batcher import Batcher
from fastleuk.serve.limits import Budget, Refused
from tests.makers.servers import picture, serving


def told(images):
    """Scores that say how wide each image is."""
    width = np.array([image.width for image in images], dtype=float)
    chances = np.stack([1 / width, 1 - 1 / width], axis=1)
    count = len(images)
    return Scored(chances, np.ones(count, np.int64), None, [""] * count, [""] * count)


def image(width):
    return encode_bytes(picture(0, width))


def test_two_hundred_requests_at_once_are_all_answered_rightly(server):
    cells = [picture(seed, 30 + seed) for seed in range(40)]
    _, alone = server.post("/predict", [(str(i), cell) for i, cell in enumerate(cells)])
    wanted = [row["probabilities"]["ALL"] for row in alone["predictions"]]
    before = server.service.metrics._batches

    def ask(number):
        return server.post("/predict", [("x", cells[number % 40])])

    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(ask, range(200)))
    assert Counter(status for status, _ in answers) == {200: 200}
    found = [each["predictions"][0]["probabilities"]["ALL"] for _, each in answers]
    assert found == pytest.approx([wanted[i % 40] for i in range(200)], abs=1e-4)
    # Batches of 8: were they not put together, there would be one for each request.
    assert server.service.metrics._batches - before < 150
    assert server.service.batcher.waiting == 0
    assert server.service.budget.held == 0


def test_beyond_the_queues_bound_requests_are_refused_and_told_when_to_come_back(run):
    with serving([run], queue=6) as client:
        slow = threading.Event()
        score = client.service.batcher._score

        def wait(images):
            slow.wait(30)
            return score(images)

        client.service.batcher._score = wait
        cell = picture()
        with ThreadPoolExecutor(40) as pool:
            pending = [pool.submit(client.post, "/predict", [("x", cell)]) for _ in range(40)]
            until = time.monotonic() + 30
            while sum(each.done() for each in pending) < 25:
                assert time.monotonic() < until
                time.sleep(0.01)
            status, headers, body = client.ask(
                "POST", "/predict", cell, **{"Content-Type": "image/png"}
            )
            assert (status, headers["retry-after"]) == (503, "1")
            assert "wait already" in json.loads(body)["detail"]
            assert client.get("/health")[0] == 200
            slow.set()
            counts = Counter(each.result()[0] for each in pending)
        assert counts.keys() == {200, 503}
        assert 6 <= counts[200] <= 6 + 8
        assert client.post("/predict", [("x", cell)])[0] == 200
        text = client.ask("GET", "/metrics")[2].decode()
        refused = counts[503] + 1
        assert f'fastleuk_requests_total{{path="/predict",status="503"}} {refused}\n' in text
        assert f'outcome="predicted"}} {counts[200] + 1}\n' in text


def test_a_failure_is_that_requests_only(run):
    with serving([run]) as client:
        score = client.service.batcher._score
        client.service.batcher._score = lambda _: 1 / 0
        status, _, body = client.ask("POST", "/predict", picture(), **{"Content-Type": "image/png"})
        assert (status, body) == (500, b"Internal Server Error")
        client.service.batcher._score = score
        assert client.post("/predict", [("x", picture())])[0] == 200
        assert client.service.batcher.waiting == 0


def test_results_come_in_order_whatever_batches_they_were_in():
    sizes, lock = [], threading.Lock()

    def score(images):
        with lock:
            sizes.append(len(images))
        return told(images)

    batcher = Batcher(score, batch_size=4, bound=1000)
    counter = itertools.count(8)
    jobs = []
    for count in (1, 9, 3, 30, 2):
        widths = [next(counter) for _ in range(count)]
        batcher.reserve(count)
        jobs.append((widths, batcher.submit([image(width) for width in widths])))
    for widths, future in jobs:
        found = [round(1 / one.probabilities[0]) for one in future.result(30)]
        assert found == widths
    assert max(sizes) <= 4
    assert sum(sizes) == 45
    batcher.close()
    assert not batcher.alive
    with pytest.raises(Refused, match="closing"):
        batcher.reserve(1)


def test_a_large_request_meets_an_empty_queue_or_waits_its_turn():
    batcher = Batcher(told, batch_size=4, bound=4)
    batcher.reserve(50)  # nobody waits: taken, however large
    with pytest.raises(Refused, match="50 images wait already"):
        batcher.reserve(1)
    assert batcher.is_full
    batcher.release(47)
    batcher.reserve(1)
    with pytest.raises(Refused):
        batcher.reserve(1)
    batcher.close()


def gated():
    """Return a gate, and what scores images once it is open."""
    gate = threading.Event()

    def score(images):
        gate.wait(30)
        return told(images)

    return gate, score


def test_the_bound_counts_the_batch_that_is_running():
    gate, score = gated()
    batcher = Batcher(score, batch_size=4, bound=4)
    batcher.reserve(3)
    first = batcher.submit([image(9)] * 3)
    while batcher.waiting:
        time.sleep(0.005)
    batcher.reserve(1)  # with it, one batch is on its way
    assert batcher.is_full
    with pytest.raises(Refused) as refused:
        batcher.reserve(1)
    assert refused.value.status == 503
    second = batcher.submit([image(9)])
    gate.set()
    assert len(first.result(30) + second.result(30)) == 4
    batcher.reserve(4)  # nothing is running any more
    batcher.release(4)
    batcher.close()


def test_who_is_refused_comes_back_in_turn():
    def score(images):
        time.sleep(0.05 * len(images))  # 20 images a second
        return told(images)

    batcher = Batcher(score, batch_size=4, bound=1)
    batcher.reserve(1)
    assert batcher.full().retry_after == 1  # nothing is known of the speed
    batcher.submit([image(9)]).result(30)
    batcher.reserve(1)
    waits = [batcher.full().retry_after for _ in range(60)]
    assert waits == sorted(waits)
    assert 2 <= waits[-1] <= 6  # 60 images, 20 a second: 3 s and what the machine adds
    waits = [batcher.full().retry_after for _ in range(5000)]
    assert max(waits) == 30
    batcher.close()


def test_closing_refuses_what_waits():
    gate, score = gated()
    batcher = Batcher(score, batch_size=2, bound=100)
    batcher.reserve(6)
    first, second = batcher.submit([image(9)] * 2), batcher.submit([image(9)] * 4)
    while batcher.waiting > 4:
        time.sleep(0.005)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    while batcher.alive:
        time.sleep(0.005)
    gate.set()
    closing.join(30)
    assert len(first.result(5)) == 2
    with pytest.raises(Refused, match="closing"):
        second.result(5)


def test_a_budget_is_never_overdrawn():
    budget = Budget(100)
    budget.take(60)
    with pytest.raises(Refused) as refused:
        budget.take(41)
    assert refused.value.status == 503
    assert budget.held == 60
    budget.give_back(60)
    budget.take(100)
