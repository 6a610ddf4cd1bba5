"""Images per second of the whole chain, from 450x450 BMPs or decoded arrays to normalised tensors.

    python benchmarks/augment_speed.py [--workers 2] [--rounds 7] [--allocator kept]

All contenders, each in a process of its own with the same allocator, run in turn, round after
round, so that a busy machine slows all alike; what was made ready before a turn is taken first,
and after it the next waits until nothing more is made. The median and the quartiles over the
rounds are reported, and the ratio to torchvision. Each gets ``--workers`` processes (PyTorch's
DataLoader) or threads (DALI). The libraries' chains are those of ``fastleuk bench-pipeline``.
"""

import argparse
import importlib.util
import json
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from nvidia.dali import fn, pipeline_def
from PIL import Image

from fastleuk.augment import PAPER, apply_graph, draw, param_arrays, param_names
from fastleuk.augment.appliers.compiled.in_dali import resize_bmps
from fastleuk.bench.contenders.chains import ON_IMAGES
from fastleuk.bench.contenders.dataloaders import PREFETCH, open_dataloader
from fastleuk.bench.measure.allocator import ALLOCATORS, choose_allocator
from fastleuk.bench.measure.machine import machine, write_results
from fastleuk.bench.measure.process import Process, serve
from fastleuk.bench.spec import BASELINE, BenchSpec, available
from fastleuk.bench.worker import Meter, settle
from fastleuk.data.demo.plan import draw_demo_cell, plan_demo
from fastleuk.tables import markdown_records

SIZE, BATCH = 224, 64
NUMBA = importlib.util.find_spec("numba") is not None
BEFORE = f"{BASELINE}, from BMP"


def dali_contender(sources, applier, threads, decode, resized=False):
    """Takes batches of a pipeline that draws, lowers and applies for every batch anew."""
    names, counter = param_names(applier), [0]

    def feed():
        indices = np.arange(BATCH) + BATCH * counter[0]
        counter[0] += 1
        params = draw(PAPER, seed=1, epoch=0, indices=indices, size=SIZE)
        chosen = [sources[i % len(sources)] for i in indices]
        return [chosen, *param_arrays(params, applier)]

    @pipeline_def(batch_size=BATCH, num_threads=threads, device_id=None, prefetch_queue_depth=2)
    def define():
        layouts = ["" if decode else "HWC"] + [""] * len(names)
        images, *nodes = fn.external_source(
            feed, num_outputs=1 + len(names), batch=True, layout=layouts
        )
        if decode:
            images = fn.io.file.read(images)
            # as fastleuk's loader does it
            images = resize_bmps(images, size=SIZE) if NUMBA else fn.decoders.image(images)
        return apply_graph(
            images, nodes, size=SIZE, applier=applier, resized=resized or (decode and NUMBA)
        )

    pipeline = define()
    pipeline.build()
    return lambda: BATCH * bool(pipeline.run())


def appliers():
    """Those of DALI that are there."""
    return ("exact", "fused", "compiled") if NUMBA else ("exact", "fused")


def contenders():
    """Names of all that can run here."""
    there, missing = available()
    for name in ON_IMAGES.keys() & missing:
        print(f"{name}: left out: {missing[name]}")
    sources = ("from BMP", "from arrays 450x450", "from arrays 224x224")
    return [f"{name}, from BMP" for name in ON_IMAGES if name in there] + [
        f"{applier}, {source}" for applier in appliers() for source in sources
    ]


def contender(name, files, workers):
    """What takes the next batch, and how many may wait ready-made."""
    method, source = name.split(", ")
    if method in ON_IMAGES:
        spec = BenchSpec(
            method=method, data="", subject_regex="", size=SIZE, batch_size=BATCH,
            workers=workers, device="cpu", cache="", backbone="", amp=False,
        )  # fmt: skip
        feed, _ = open_dataloader(spec, files, [0] * len(files))
        return lambda: len(next(feed)[0]), PREFETCH * workers
    if source == "from BMP":
        paths = [np.frombuffer(str(file).encode(), np.uint8) for file in files]
        return dali_contender(paths, method, workers, decode=True), 3
    images = [Image.open(f).convert("RGB") for f in files[:128]]
    if source == "from arrays 450x450":
        return dali_contender([np.asarray(i) for i in images], method, workers, False), 3
    small = [np.asarray(i.resize((SIZE, SIZE), Image.BILINEAR)) for i in images]
    return dali_contender(small, method, workers, False, True), 3


def commands(line):
    """Be the process of one contender, see fastleuk.bench.measure.process.serve."""
    name, folder, workers = json.loads(line)
    take, drain = contender(name, sorted(Path(folder).glob("*.bmp")), workers)
    meter = Meter(take, torch.device("cpu"), warm_up=8, drain=drain)
    return {
        "first": lambda _: {"images": take()},
        "measure": meter.measure,
        "settle": lambda _: settle(),
    }


def draw_rows():
    def drawn():
        return draw(PAPER, seed=1, epoch=0, indices=np.arange(64), size=SIZE)

    rows, params = [], drawn()
    tasks = {
        "draw, 64 samples": drawn,
        "lower for exact": lambda: param_arrays(params, "exact"),
        "lower for fused": lambda: param_arrays(params, "fused"),
        "lower for compiled": lambda: param_arrays(params, "compiled"),
    }
    for name, task in tasks.items():
        times = []
        for _ in range(100):
            start = time.perf_counter()
            task()
            times.append(1e3 * (time.perf_counter() - start))
        quartiles = statistics.quantiles(times, n=4)
        rows.append({"NumPy": name, "ms median": quartiles[1], "IQR": quartiles[2] - quartiles[0]})
    return rows


def measure(folder, options, allocator):
    """Images per second of each contender, one for each round."""
    runs = {}
    try:
        for name in contenders():
            line = json.dumps([name, str(folder), options.workers])
            runs[name] = Process(name, [__file__, "--serve"], line, allocator=allocator)
            runs[name].ask(settle=True)
        rates = {name: [] for name in runs}
        for _ in range(options.rounds):
            for name, run in runs.items():
                turn = run.ask(measure=options.seconds)
                rates[name].append(turn["images"] / turn["seconds"])
                run.ask(settle=True)
    finally:
        for run in runs.values():
            run.close()
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a turn")
    parser.add_argument("--files", type=int, default=512)
    parser.add_argument("--allocator", choices=ALLOCATORS, default="kept")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.serve:
        serve(commands)
        return
    allocator = choose_allocator(options.allocator)
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), options.files)
        rates = measure(folder, options, allocator)
    base = statistics.median(rates[BEFORE])
    rows = []
    for name, values in rates.items():
        low, middle, high = np.percentile(values, [25, 50, 75]).tolist()
        row = {"chain": name, "images/s median": middle, "IQR": high - low}
        rows.append(row | {"x torchvision PIL": middle / base})
    tables = {f"Whole chain, allocator {allocator}": rows, "Per batch, in NumPy": draw_rows()}
    text = "\n\n".join(f"### {title}\n\n{markdown_records(r)}" for title, r in tables.items())
    print(text)
    data = {"machine": machine(), "workers": options.workers, "allocator": allocator}
    name = "augment_speed" if allocator == "kept" else "augment_speed-system"
    write_results(options.out, name, text, data | {"tables": tables, "rounds": rates})


def write_files(folder, count):
    """Demo cells as 450x450 BMPs."""
    plan = plan_demo(cells=240, seed=3)
    cells = [draw_demo_cell(cell, seed=3) for cell in plan[:64]]
    files = []
    for i in range(count):
        path = folder / f"{i}.bmp"
        Image.fromarray(cells[i % len(cells)]).save(path)
        files.append(path)
    return files


if __name__ == "__main__":
    main()
