"""Images per second of the whole chain, from 450x450 BMPs or decoded arrays to normalised tensors.

    python benchmarks/augment_speed.py [--workers 2] [--rounds 7] [--json FILE]

All contenders, each in a process of its own, run in turn, round after round, so that a busy
machine slows all alike; the median and the quartiles over the rounds are reported, and the ratio
to torchvision. Each gets ``--workers`` processes (PyTorch's DataLoader) or threads (DALI). The
albumentations contender runs if the package is installed.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from augment_machine import machine, table, write_results
from nvidia.dali import fn, pipeline_def
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T
from torchvision.transforms import v2

from fastleuk.augment import PAPER, apply_graph, draw, param_arrays, param_names
from fastleuk.augment.batch import IMAGENET_MEAN, IMAGENET_STD
from fastleuk.augment.dali_graph import apply_graph_to_files
from fastleuk.data.demo_plan import draw_demo_cell, plan_demo
from fastleuk.memory import keep_freed_memory

SIZE, BATCH = 224, 64


def torchvision_chain(transforms, after=()):
    """The paper's chain with torchvision, v1 (PIL) or v2 (tensors)."""
    bilinear = T.InterpolationMode.BILINEAR
    return transforms.Compose(
        [
            transforms.Resize((SIZE, SIZE), antialias=True),
            transforms.RandomHorizontalFlip(),
            transforms.RandomVerticalFlip(),
            transforms.RandomRotation(25, bilinear),
            transforms.ColorJitter(0.3, 0.3, 0.3, 0.05),
            transforms.RandomResizedCrop(SIZE, (0.7, 1), (0.75, 1.33), antialias=True),
            transforms.RandomAffine(0, (0.05, 0.05), (0.95, 1.05), 10, bilinear),
            transforms.GaussianBlur(3, (0.1, 2)),
            transforms.RandomAdjustSharpness(2, 0.3),
            transforms.RandomPerspective(0.2, 0.3),
            *after,
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )


class Files(Dataset):
    """Files decoded with PIL and put through a function of an array or a PIL image."""

    def __init__(self, files, transform, as_array=False):
        self.files, self.transform, self.as_array = files, transform, as_array

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        image = Image.open(self.files[index]).convert("RGB")
        return self.transform(np.asarray(image) if self.as_array else image)


def albumentations_chain():
    """The same steps with albumentations, as near as its operators come."""
    import albumentations as A
    import cv2

    cv2.setNumThreads(0)
    chain = A.Compose(
        [
            A.Resize(SIZE, SIZE),
            A.HorizontalFlip(p=0.5),
            A.VerticalFlip(p=0.5),
            A.Rotate(25, border_mode=cv2.BORDER_CONSTANT, p=1),
            A.ColorJitter((0.7, 1.3), (0.7, 1.3), (0.7, 1.3), (-0.05, 0.05), p=1),
            A.RandomResizedCrop((SIZE, SIZE), scale=(0.7, 1), ratio=(0.75, 1.33), p=1),
            A.Affine(
                translate_percent=(-0.05, 0.05),
                scale=(0.95, 1.05),
                shear={"x": (-10, 10), "y": (0, 0)},
                p=1,
            ),
            A.GaussianBlur((3, 3), (0.1, 2), p=1),
            A.Sharpen(p=0.3),
            A.Perspective((0.02, 0.1), p=0.3),
            A.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    return lambda image: torch.from_numpy(chain(image=image)["image"])


def loader_contender(dataset, workers):
    """Images per second of one pass, without the start of the workers."""

    def run():
        loader = DataLoader(dataset, BATCH, num_workers=workers, drop_last=True)
        batches = iter(loader)
        for _ in range(workers):
            next(batches)
        start, images = time.perf_counter(), 0
        for batch in batches:
            images += len(batch)
        return images / (time.perf_counter() - start)

    return run


def dali_contender(sources, applier, threads, decode, resized=False):
    """A pipeline that draws, lowers and applies for every batch anew."""
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
        if decode and applier == "compiled":  # as fastleuk's loader does it
            plain = images.shape()[0] > 0
            return apply_graph_to_files(
                fn.io.file.read(images), plain, nodes, decode=fn.decoders.image, size=SIZE
            )
        if decode:
            images = fn.decoders.image(fn.io.file.read(images))
        return apply_graph(images, nodes, size=SIZE, applier=applier, resized=resized)

    pipeline = define()
    pipeline.build()
    for _ in range(3):
        pipeline.run()

    def run(batches=8):
        start = time.perf_counter()
        for _ in range(batches):
            pipeline.run()
        return batches * BATCH / (time.perf_counter() - start)

    return run


def appliers():
    """Those of DALI that are there."""
    numba = importlib.util.find_spec("numba") is not None
    return ("exact", "fused", "compiled") if numba else ("exact", "fused")


def contenders():
    """Names of all that can run here."""
    names = ["torchvision PIL, from BMP", "torchvision v2 tensors, from BMP"]
    if importlib.util.find_spec("albumentations"):
        names.append("albumentations, from BMP")
    else:
        print("albumentations is not installed: left out")
    sources = ("from BMP", "from arrays 450x450", "from arrays 224x224")
    return names + [f"{applier}, {source}" for applier in appliers() for source in sources]


def contender(name, files, workers):
    """A function that gives images per second of one turn."""
    if name == "torchvision PIL, from BMP":
        return loader_contender(Files(files, torchvision_chain(T, [T.ToTensor()])), workers)
    if name == "torchvision v2 tensors, from BMP":
        chain = torchvision_chain(v2, [v2.ToDtype(torch.float32, scale=True)])
        return loader_contender(Files(files, v2.Compose([v2.PILToTensor(), chain])), workers)
    if name == "albumentations, from BMP":
        return loader_contender(Files(files, albumentations_chain(), as_array=True), workers)
    applier, source = name.split(", ")
    keep_freed_memory()  # as every DALI loader of fastleuk does
    if source == "from BMP":
        paths = [np.frombuffer(str(file).encode(), np.uint8) for file in files]
        return dali_contender(paths, applier, workers, decode=True)
    images = [Image.open(f).convert("RGB") for f in files[:128]]
    if source == "from arrays 450x450":
        return dali_contender([np.asarray(i) for i in images], applier, workers, False)
    small = [np.asarray(i.resize((SIZE, SIZE), Image.BILINEAR)) for i in images]
    return dali_contender(small, applier, workers, False, True)


def serve(name, files, workers):
    """Be the process of one contender: a turn for each line that comes in."""
    run = contender(name, files, workers)
    for _ in sys.stdin:
        print(run(), flush=True)


class Process:
    """A contender in a process of its own, so that none inherits another's memory or threads."""

    def __init__(self, name, folder, workers):
        command = [sys.executable, __file__, "--serve", name, "--folder", str(folder)]
        self.process = subprocess.Popen(
            [*command, "--workers", str(workers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"},
        )

    def turn(self):
        """Ask for one turn; images per second."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--files", type=int, default=512)
    parser.add_argument("--json", type=Path, help="write the results here as well")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--breakdown", action="store_true", help="time each operator, too")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.serve:
        serve(options.serve, sorted(options.folder.glob("*.bmp")), options.workers)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), options.files)
        runs = {name: Process(name, folder, options.workers) for name in contenders()}
        rates = {name: [] for name in runs}
        for number in range(1 + options.rounds):
            for name, run in runs.items():
                rate = run.turn()
                if number:  # the first turn warms up
                    rates[name].append(rate)
        for run in runs.values():
            run.close()
    base = statistics.median(rates["torchvision PIL, from BMP"])
    rows = []
    for name, values in rates.items():
        quartiles = statistics.quantiles(values, n=4)
        ratio = quartiles[1] / base
        rows.append(
            {
                "chain": name,
                "images/s median": quartiles[1],
                "IQR": quartiles[2] - quartiles[0],
                "x torchvision PIL": ratio,
            }
        )
    tables = {"Whole chain": rows, "Per batch, in NumPy": draw_rows()}
    if options.breakdown:
        from augment_operators import operator_rows

        tables["Operators (CPU milliseconds an image)"] = operator_rows()
    text = "\n\n".join(f"### {title}\n\n{table(r)}" for title, r in tables.items())
    print(text)
    data = {"machine": machine(), "workers": options.workers, "tables": tables, "rounds": rates}
    write_results(options.out, "augment_speed", text, data)
    if options.json:
        options.json.write_text(json.dumps(data, indent=1))


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
