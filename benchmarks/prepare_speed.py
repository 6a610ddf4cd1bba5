"""How fast ``fastleuk prepare`` fills the decoded cache from C-NMC's kind of file, and how.

    python benchmarks/prepare_speed.py [--images 3000] [--json benchmarks/results/prepare.json]

Writes 450×450 24-bit BMPs of noise into a temporary folder (1.8 GB for 3,000; they stay in the page
cache, so computing is measured and not the disk), and prepares them by each way in turns, every
time in a fresh process without any earlier result. Medians of the whole command's own figures.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SIDE = 450
WAYS = {
    "compiled": "",
    "dali": """
from fastleuk.loading.decode import bmp as bmp_decode
bmp_decode.uncompressed_cuts = lambda dataset, cuts, workers: [False] * len(cuts)
""",
    "torchvision": "import sys; sys.argv += ['--loader', 'torchvision']\n",
}
"""What a process does before the command: nothing, or leave the compiled kernel out."""

COMMAND = """
import atexit, resource, sys
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
atexit.register(lambda: print("peak", peak(), file=sys.stderr))
from fastleuk.cli import main
main()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    from fastleuk.bench.measure.machine import machine

    document = {"machine": machine("cpu"), "images": options.images, "side": SIDE, "size": 224}
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder) / "images", options.images)
        prepare(Path(folder), "compiled")  # compiles the kernel, where that was not done before
        for _ in range(options.rounds):
            for way in WAYS:
                found[way].append(prepare(Path(folder), way))
    document["results"] = [
        {"name": way, **{k: float(np.median([run[k] for run in runs])) for k in runs[0]}}
        for way, runs in found.items()
    ]
    print("              images/s  decoding  CPU s / 1,000  peak MB")
    for row in document["results"]:
        print(
            f"{row['name']:<12}  {row['images_per_s']:8.0f}  {row['decoding_per_s']:8.0f}  "
            f"{row['cpu_s_per_1000_images']:13.2f}  {row['peak_memory_mb']:7.0f}"
        )
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n")


def write_images(root: Path, count: int) -> None:
    """Two classes of noise; no two images are the same."""
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    for name in ("all", "hem"):
        (root / name).mkdir(parents=True)
    for i in range(count):
        image = np.roll(noise, i, axis=0)
        image[0, 0] = i % 256, i // 256 % 256, i // 65536
        Image.fromarray(image).save(root / ("all", "hem")[i % 2] / f"{i}.bmp")


def prepare(folder: Path, way: str) -> dict[str, float]:
    """Run the command once, from nothing."""
    code = f"{WAYS[way]}\n{COMMAND}"
    for name in ("cache", "scan"):
        shutil.rmtree(folder / name, ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run(
        [sys.executable, "-c", code, "prepare", "--data", folder / "images",
         "--cache", folder / "cache"],
        env=os.environ | {"FASTLEUK_CACHE_DIR": str(folder / "scan")},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = re.search(r"(\d+) images: .*; (\d+) images/s in all, (\d+) decoding", run.stdout)
    assert told, run.stdout
    count, rate, decoding = (int(number) for number in told.groups())
    seconds = sum(getattr(after, n) - getattr(before, n) for n in ("ru_utime", "ru_stime"))
    return {
        "images_per_s": rate,
        "decoding_per_s": decoding,
        "cpu_s_per_1000_images": 1000 * seconds / count,
        "peak_memory_mb": int(run.stderr.split("peak")[-1]) / 1024,
    }


if __name__ == "__main__":
    main()
