"""The demo set: synthetic cells in the layout of C-NMC 2019, for trying, testing and showing.

It is what ``fastleuk train`` uses when it is given no data. No patient's image is in it and no
result on it says anything about leukemia; every folder of it carries ``MARKER`` and a README that
say so. It keeps what makes the real set hard: cells differ more between subjects (stain, focus,
size) than between classes, so a split that lets a subject stand on both sides flatters a model.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from PIL import Image

from fastleuk.csv_files import CsvWriter
from fastleuk.data.demo.plan import (
    DEFAULT_CELLS,
    FINAL_DIR,
    PRELIM_CSV,
    PRELIM_DIR,
    TRAINING_DIR,
    DemoCell,
    check_size,
    draw_demo_cell,
    plan_demo,
)
from fastleuk.data.manifest import MARKER
from fastleuk.data.user_cache.folder import cache_root
from fastleuk.data.user_cache.unfinished import note_unfinished
from fastleuk.errors import ConfigError, DataError
from fastleuk.progress import Progress

GENERATOR_VERSION = 2
"""Raised whenever the same (cells, seed) would give other bytes."""

_README = """\
fastleuk demo set: SYNTHETIC cells
==================================

These images were drawn by a program (`fastleuk demo-data`, generator version {version}, cells
{cells}, seed {seed}). No patient's cell is among them, and no figure measured on them says anything
about leukemia or about how well a model does on real cells.

They are laid out and named like C-NMC 2019, so that fastleuk can be tried and tested without a
download:

  {training}/fold_*/{{all,hem}}/UID_<subject>_<image>_<cell>_<all|hem>.bmp
  {prelim}/<n>.bmp       labels in {csv}
  {final}/<n>.bmp        no labels

The real data set: Gupta, A., & Gupta, R. (2019). ALL Challenge dataset of ISBI 2019 (C-NMC 2019).
The Cancer Imaging Archive. https://doi.org/10.7937/tcia.2019.dc64i46r
"""


def write_demo(
    out: Path,
    *,
    cells: int = DEFAULT_CELLS,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write a synthetic set in the layout of C-NMC 2019.

    The bytes are a pure function of ``cells`` and ``seed``. A cell takes 0.6 MB of disk.

    Args:
        out: Folder to make; it may exist if it is empty.
        cells: Number of labelled cells, folds and preliminary set together, a third of them hem.
            The unlabelled final set has a tenth as many on top.
        seed: Any number from 0 on.
        workers: Number of threads; by default the CPUs that this process may use, 8 at most.
        progress: Called with (cells written, cells in all) after each cell.

    Returns:
        ``out``.

    Raises:
        ConfigError: ``cells``, ``seed`` or ``workers`` is out of range.
        DataError: ``out`` can't be written to, is a file, or has something in it.
    """
    check_size(cells, seed)
    if workers is not None and workers < 1:
        raise ConfigError(f"The number of workers is {workers}; it must be 1 or more.")
    out = Path(out)
    plan = plan_demo(cells=cells, seed=seed)
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise DataError(
                f"{out} is there already and is not an empty folder; "
                "name a new folder for the demo set, or remove this one."
            )
        for folder in sorted({(out / cell.path).parent for cell in plan}):
            folder.mkdir(parents=True, exist_ok=True)
        _write_labels(out / PRELIM_CSV, plan)
        facts = {"version": GENERATOR_VERSION, "cells": cells, "seed": seed}
        (out / "README.txt").write_text(
            _README.format(
                training=TRAINING_DIR, prelim=PRELIM_DIR, csv=PRELIM_CSV, final=FINAL_DIR, **facts
            ),
            encoding="utf-8",
        )
        _write_images(out, plan, seed, workers or _default_workers(), progress)
        # Last, so that a set with its marker is a whole set.
        marker = json.dumps({"synthetic": True, **facts}, indent=2) + "\n"
        (out / MARKER).write_text(marker, encoding="utf-8")
    except OSError as error:
        raise DataError(f"Could not write the demo set to {out}: {error}") from error
    return out


def demo_root(
    *, cells: int = DEFAULT_CELLS, seed: int = 0, progress: Progress | None = None
) -> Path:
    """Return the folder of the cached demo set; make it if it is not there yet.

    The set is written beside its place and then renamed, so that an interrupted run leaves no half
    set behind, and two runs at once do each other no harm.

    Args:
        cells: As for `write_demo`.
        seed: As for `write_demo`.
        progress: As for `write_demo`; not called when the set is there already.

    Raises:
        ConfigError: ``cells`` or ``seed`` is out of range.
        DataError: The cache folder can't be written to.
    """
    check_size(cells, seed)
    home = cache_root() / "demo"
    root = home / f"v{GENERATOR_VERSION}-cells{cells}-seed{seed}"
    if (root / MARKER).is_file():
        return root
    try:
        if root.exists():
            raise DataError(f"{root} is in the way of the demo set and is none; remove it.")
        home.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=home))
        note_unfinished(temporary, "demo set")
    except OSError as error:
        raise DataError(
            f"The demo set can't be kept in {home} ({error}); set FASTLEUK_CACHE_DIR to a folder "
            "that can be written to."
        ) from error
    try:
        made = write_demo(temporary / "set", cells=cells, seed=seed, progress=progress)
        try:
            made.replace(root)
        except OSError as error:
            if not (root / MARKER).is_file():  # otherwise another run was first
                raise DataError(f"Could not move the demo set to {root}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return root


def _write_labels(path: Path, plan: Sequence[DemoCell]) -> None:
    """Write the preliminary set's labels in the order of its numbers, 1 for ALL."""
    prelim = [(Path(cell.path).name, cell) for cell in plan if cell.phase == "prelim"]
    prelim.sort(key=lambda entry: int(entry[0].removesuffix(".bmp")))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = CsvWriter(file)
        writer.writerow(["Patient_ID", "new_names", "labels"])
        for name, cell in prelim:
            writer.writerow([cell.uid, name, cell.label])


def _default_workers() -> int:
    """CPUs that this process may use, 8 at most: more threads wait for each other."""
    affinity = getattr(os, "sched_getaffinity", None)
    return min(8, len(affinity(0)) if affinity else os.cpu_count() or 1)


def _write_images(
    out: Path, plan: Sequence[DemoCell], seed: int, workers: int, progress: Progress | None
) -> None:
    """Draw and write all cells.

    In threads, since NumPy releases the interpreter's lock: processes would have to be spawned
    (torch and DALI don't survive a fork), which costs a second and fails in unguarded scripts.
    """

    def write(cell: DemoCell) -> None:
        Image.fromarray(draw_demo_cell(cell, seed=seed)).save(out / cell.path, format="BMP")

    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(write, cell) for cell in plan]
        try:
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                if progress is not None:
                    progress(done, len(plan))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
