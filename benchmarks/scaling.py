"""Does the way of the data stay linear? Manifest, groups, split, epoch plan, cached loader.

    python benchmarks/scaling.py [--rows 10000000] [--json benchmarks/results/scaling.json]

Every size runs in a process of its own, so that its memory is its own. Names and subjects are
C-NMC's in form, 150 images a subject. A manifest CSV is read up to ``--manifest-rows`` rows, for
every row's file is looked at and has to be there: empty ones, made before the clock starts. The
other parts need no file. The loader part reads 1,000 real rows
of a cache again and again through a manifest of the full length ("repeated index"), so that it
measures the code's cost for an image and not the disk's.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PER_SUBJECT = 150
LOADED = 1_000
"""Rows of pixels that are really there."""

BATCHES, BATCH, SIZE = 30, 64, 224


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000, help="the largest size")
    parser.add_argument("--manifest-rows", type=int, default=1_000_000, help="one file a row")
    parser.add_argument("--loader-rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--load", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--read", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    if options.read:
        print(json.dumps(measure_reading(options.read)))
        return
    if options.load:
        print(json.dumps(measure_loader(options.load)))
        return
    from fastleuk.bench.measure.machine import machine

    plan = [_child("--one", rows) for rows in _sizes(10_000, options.rows)]
    for row in plan:
        there = row["rows"] <= options.manifest_rows
        row["read_manifest_s"] = _child("--read", row["rows"])["read_manifest_s"] if there else None
    _print_plan(plan)
    sizes = _sizes(1_000, options.loader_rows)
    rates: dict[int, list[float]] = {rows: [] for rows in sizes}
    for _ in range(options.rounds):  # in turns, so that what else runs here hits all alike
        for rows in sizes:
            rates[rows].append(_child("--load", rows)["images_per_s"])
    loader = [
        {"rows": r, "images_per_s": float(np.median(v)), "rounds": v} for r, v in rates.items()
    ]
    print("\ncached loader, fused\n      rows  images/s")
    for row in loader:
        print(f"{row['rows']:>10,}  {row['images_per_s']:8.0f}")
    if options.json:
        document = {"machine": machine("cpu"), "plan": plan, "loader": loader}
        options.json.write_text(json.dumps(document, indent=2) + "\n")


def _sizes(first: int, last: int) -> list[int]:
    sizes = [first]
    while sizes[-1] * 10 <= last:
        sizes.append(sizes[-1] * 10)
    return sizes


def _child(option: str, rows: int) -> dict:
    command = [sys.executable, __file__, option, str(rows)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def fake_manifest(rows: int):
    """A manifest in C-NMC's form: 32 % hem, 150 images a subject, no file behind it."""
    from fastleuk.data.manifest import Manifest

    subjects = -(-rows // PER_SUBJECT)
    is_all = np.random.default_rng(0).random(subjects) < 0.68
    owner = np.arange(rows) // PER_SUBJECT
    names = [f"{'' if is_all[s] else 'H'}{s}" for s in range(subjects)]
    tags = ["all" if a else "hem" for a in is_all]
    paths = tuple(
        f"fold_{s % 3}/{tags[s]}/UID_{names[s]}_{i}_1_{tags[s]}.bmp"
        for i, s in enumerate(owner.tolist())
    )
    return Manifest(
        root=Path("/data"),
        paths=paths,
        labels=is_all[owner].astype(np.int64),
        class_names=("hem", "ALL"),
        subjects=tuple(names[s] for s in owner.tolist()),
        folds=owner % 3,
        sources=("train",) * rows,
        crops=np.zeros(rows, np.int64),
        layout="cnmc",
    )


def measure(rows: int) -> dict:
    """Seconds of each part, and the process's greatest memory."""
    from fastleuk.data.balance import plan_epoch
    from fastleuk.data.copies.identical import subject_groups
    from fastleuk.data.split.make import make_split

    found: dict = {"rows": rows}
    base = _peak()

    def timed(name: str, function):
        started = time.perf_counter()
        value = function()
        found[name] = time.perf_counter() - started
        return value

    manifest = fake_manifest(rows)
    groups = timed("groups_s", lambda: subject_groups(manifest, ()))
    split = timed("split_s", lambda: make_split(manifest, groups))
    train = split.indices("train")
    labels = manifest.labels[train]
    plan = timed("plan_s", lambda: plan_epoch(labels, train, per_class="auto", seed=0, epoch=3))
    found["epoch"] = len(plan)
    found["plan_bytes_per_row"] = sum(
        array.nbytes for array in (plan.indices, plan.augmented, plan.draws)
    ) / len(plan)
    found["peak_bytes_per_row"] = (_peak() - base) / rows
    return found


def measure_reading(rows: int) -> dict:
    """Seconds in which ``fastleuk`` reads a manifest CSV of so many rows."""
    from fastleuk.data.manifest_csv import read_manifest

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        written = fake_manifest(rows)
        for parent in {path.rpartition("/")[0] for path in written.paths}:
            (root / parent).mkdir(parents=True)
        with open(root / "manifest.csv", "w") as file:
            file.write("path,label,subject,fold\n")
            for path, label, subject, fold in zip(
                written.paths, written.labels, written.subjects, written.folds, strict=True
            ):
                file.write(f"{path},{written.class_names[label]},{subject},{fold}\n")
                (root / path).touch()
        started = time.perf_counter()
        manifest = read_manifest(root / "manifest.csv")
        seconds = time.perf_counter() - started
    assert len(manifest) == rows
    return {"read_manifest_s": seconds}


def measure_loader(rows: int) -> dict:
    """Images per second of the cached fused loader over a manifest of so many rows."""
    import torch

    from fastleuk.augment import PAPER
    from fastleuk.data.decoded.read import CacheInfo, DecodedCache
    from fastleuk.loading.dali.loader import DaliLoader
    from fastleuk.loading.prepare import Pixels
    from fastleuk.loading.stream import TrainStream

    with tempfile.TemporaryDirectory() as folder:
        pixels = np.random.default_rng(0).integers(0, 255, (LOADED, SIZE, SIZE, 3), np.uint8)
        np.save(Path(folder) / "pixels.npy", pixels)

        class Repeated(DecodedCache):
            def image(self, row: int) -> np.ndarray:
                return super().image(row % LOADED)

        fields = {"version": 1, "key": "", "root": "", "content_hash": "", "backend": "dali"}
        counts = {"size": SIZE, "images": rows, "bytes": 0, "chunk": 64, "index_checksum": 0}
        info = CacheInfo(**fields, **counts, checksums=(), created="")
        manifest = fake_manifest(rows)
        every = np.arange(rows)
        stream = TrainStream(
            manifest.labels, every, per_class="off", frozen=False, seed=0, batch_size=BATCH
        )
        loader = DaliLoader(
            manifest=manifest,
            stream=stream,
            policy=PAPER,
            applier="fused",
            size=SIZE,
            workers=2,
            seed=0,
            mean=(0.5, 0.5, 0.5),
            std=(0.2, 0.2, 0.2),
            device=torch.device("cpu"),
            pixels=Pixels(Repeated(Path(folder), info)),
        )
        images, started, epoch = 0, 0.0, 0
        batches = loader.epoch(epoch)
        for step in range(BATCHES + 5):
            batch = next(batches, None)
            if batch is None:  # 1,000 rows are 15 batches
                epoch += 1
                batches = loader.epoch(epoch)
                batch = next(batches)
            if step == 4:
                started = time.perf_counter()
            elif step > 4:
                images += len(batch.labels)
        seconds = time.perf_counter() - started
        loader.close()
    return {"rows": rows, "images_per_s": images / seconds}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _print_plan(plan: list[dict]) -> None:
    print("      rows  read CSV s  groups s  split s  epoch plan s  peak bytes/row  plan bytes/row")
    for row in plan:
        read = row["read_manifest_s"]
        print(
            f"{row['rows']:>10,}  {'-' if read is None else f'{read:.2f}':>10}  "
            f"{row['groups_s']:8.2f}  "
            f"{row['split_s']:7.2f}  {row['plan_s']:12.2f}  {row['peak_bytes_per_row']:14.0f}  "
            f"{row['plan_bytes_per_row']:14.0f}"
        )


if __name__ == "__main__":
    main()
