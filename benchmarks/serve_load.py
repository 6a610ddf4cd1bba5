"""What a server of one run answers in while many ask at once: p50 and p95 against one full batch.

    python benchmarks/serve_load.py [--backbone efficientnet_b0] [--clients 200] [--json FILE]

Alone: one request that holds exactly one batch, over and over, nobody else asking. Under load:
``--clients`` threads, each sending one cell after the other over a socket of its own, and coming
back when it is told to (503) after the seconds that the answer names. The time of a request that is
let in counts from its first byte to the last of its answer; refusals are counted beside it. The
server runs in a process of its own; the weights are random, since the time doesn't depend on them.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.makers.servers import Client, picture, serving
from tests.makers.untrained_runs import untrained_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="efficientnet_b0")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--queue", type=int, default=0, help="as of fastleuk serve")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0, help="under load")
    parser.add_argument("--alone", type=int, default=10, help="full batches, one by one")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        run = untrained_run(
            Path(folder) / "run",
            backbone=options.backbone,
            size=options.size,
            batch_size=options.batch_size,
        )
        ours, theirs = context.Pipe()
        server = context.Process(target=serve, args=(run, options.queue, theirs), daemon=True)
        server.start()
        found = measure(Client(ours.recv()), options)
        ours.send(None)
        server.join()
    print(
        f"{options.backbone}, {options.size} px, batches of {options.batch_size}: one full batch "
        f"{found['batch_ms']:.0f} ms (median of {options.alone})\n"
        f"{options.clients} clients for {options.seconds:g} s: {found['answered']} answered "
        f"({found['images_per_second']:.1f} images/s), {found['refused']} told to come back; "
        f"p50 {found['p50_ms']:.0f} ms, p95 {found['p95_ms']:.0f} ms: "
        f"{found['p95_of_batch']:.2f} of a full batch"
    )
    if options.json:
        from fastleuk.bench.measure.machine import machine

        options.json.write_text(json.dumps({"machine": machine("cpu"), **found}, indent=2) + "\n")


def serve(run: Path, queue: int, pipe) -> None:
    with serving([run], queue=queue) as client:
        pipe.send(client.port)
        pipe.recv()


def measure(client: Client, options: argparse.Namespace) -> dict:
    cells = [picture(seed, options.size) for seed in range(options.batch_size)]
    full = [(f"{place}.png", cell) for place, cell in enumerate(cells)]
    alone = []
    for number in range(options.alone + 2):  # the first two warm up
        begun = time.perf_counter()
        status, _ = client.post("/predict", full)
        assert status == 200
        if number >= 2:
            alone.append(time.perf_counter() - begun)
    times: list[float] = []
    refused, lock, end = [0], threading.Lock(), time.perf_counter() + options.seconds

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=120)
        body, headers = cells[number % len(cells)], {"Content-Type": "image/png"}
        while time.perf_counter() < end:
            begun = time.perf_counter()
            connection.request("POST", "/predict", body, headers)
            answer = connection.getresponse()
            answer.read()
            with lock:
                if answer.status == 200:
                    times.append(time.perf_counter() - begun)
                else:
                    assert answer.status == 503, answer.status
                    refused[0] += 1
            if answer.status == 503:
                connection.close()  # the server keeps none as long; it opens again by itself
                time.sleep(float(answer.headers["Retry-After"]))
        connection.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(options.clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - begun
    batch = float(np.median(alone))
    p50, p95 = (float(np.percentile(times, share)) for share in (50, 95))
    return {
        "backbone": options.backbone,
        "batch_size": options.batch_size,
        "clients": options.clients,
        "batch_ms": 1000 * batch,
        "answered": len(times),
        "refused": refused[0],
        "images_per_second": len(times) / took,
        "p50_ms": 1000 * p50,
        "p95_ms": 1000 * p95,
        "p95_of_batch": p95 / batch,
    }


if __name__ == "__main__":
    main()
