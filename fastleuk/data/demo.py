"""The demo set: synthetic cells in the layout of C-NMC 2019, for trying, testing and showing.

It is what ``fastleuk train`` uses when it is given no data. No patient's image is in it and no
result on it says anything about leukemia; every folder of it carries ``MARKER`` and a README that
say so. It keeps what makes the real set hard: cells differ more between subjects (stain, focus,
size) than between classes, so a split that lets a subject stand on both sides flatters a model.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from fastleuk.data.cachedir import cache_root
from fastleuk.data.demo_cell import CANVAS, SubjectLook, draw_cell, sample_cell, sample_subject
from fastleuk.errors import ConfigError, DataError

MARKER = "fastleuk-demo.json"
"""Name of the file in the root of a demo set: ``{"synthetic": true, "cells": …, "seed": …, …}``."""

GENERATOR_VERSION = 1
"""Raised whenever the same (cells, seed) would give other bytes."""

DEFAULT_CELLS = 840
MIN_CELLS = 90
"""So few that each of the 60 labelled subjects still gets a cell."""

TRAINING_DIR = "C-NMC_training_data"
PRELIM_DIR = "C-NMC_test_prelim_phase_data"
PRELIM_CSV = "C-NMC_test_prelim_phase_data_labels.csv"
FINAL_DIR = "C-NMC_test_final_phase_data"
FINAL_CANVAS = 600

Phase = Literal["fold_0", "fold_1", "fold_2", "prelim", "final"]
Progress = Callable[[int, int], None]

# Subjects (hem, ALL) and the share of the labelled cells; the final phase is counted apart.
_FOLDS: tuple[Phase, ...] = ("fold_0", "fold_1", "fold_2")
_SUBJECTS: dict[Phase, tuple[int, int]] = {
    **dict.fromkeys(_FOLDS, (6, 9)),
    "prelim": (6, 9),
    "final": (3, 4),
}
_CLASS_NAMES = ("hem", "all")
_STREAMS = {"plan": 0, "subject": 1, "image": 2, "cell": 3, "numbers": 4}

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


@dataclass(frozen=True, slots=True)
class DemoCell:
    """One cell of the plan: whose it is and where it goes.

    ``subject`` counts all subjects of the set from 0; ``name`` is its name in the files, such as
    ``"H3"``. ``image`` and ``cell`` count from 1 as in the names of C-NMC.
    """

    phase: Phase
    label: int
    subject: int
    name: str
    image: int
    cell: int
    path: str = ""
    """Path below the set's root, with slashes."""

    @property
    def uid(self) -> str:
        """File name as in the training folds: ``UID_<subject>_<image>_<cell>_<class>.bmp``."""
        return f"UID_{self.name}_{self.image}_{self.cell}_{_CLASS_NAMES[self.label]}.bmp"


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
    _check(cells, seed, workers)
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
    _check(cells, seed, None)
    home = cache_root() / "demo"
    root = home / f"v{GENERATOR_VERSION}-cells{cells}-seed{seed}"
    if (root / MARKER).is_file():
        return root
    try:
        home.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=home))
    except OSError as error:
        raise DataError(
            f"The demo set can't be kept in {home} ({error}); set FASTLEUK_CACHE_DIR to a folder "
            "that can be written to."
        ) from error
    try:
        write_demo(temporary / "set", cells=cells, seed=seed, progress=progress)
        try:
            (temporary / "set").replace(root)
        except OSError as error:
            if not (root / MARKER).is_file():  # otherwise another run was first
                raise DataError(
                    f"{root} is in the way of the demo set ({error}); remove it."
                ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return root


def plan_demo(*, cells: int = DEFAULT_CELLS, seed: int = 0) -> list[DemoCell]:
    """List the cells of a demo set without drawing them.

    Raises:
        ConfigError: ``cells`` or ``seed`` is out of range.
    """
    _check(cells, seed, None)
    rng = _stream(seed, "plan")
    names = _subject_names(rng)
    hem = round(cells / 3)
    labelled = [phase for phase in _SUBJECTS if phase != "final"]
    planned: list[DemoCell] = []
    for phases, counts in (
        (labelled, (hem, cells - hem)),
        (["final"], (max(3, round(cells / 30)), max(4, round(cells / 15)))),
    ):
        for label in (0, 1):
            owners = [owner for owner in names if owner[0] in phases and owner[1] == label]
            # A preliminary subject has fewer cells, so that the set is 15 % of all as in C-NMC.
            share = np.array([0.53 if owner[0] == "prelim" else 1.0 for owner in owners])
            weights = share * np.exp(0.35 * rng.standard_normal(len(owners)))
            for owner, number in zip(owners, _apportion(counts[label], weights), strict=True):
                planned += _cells_of(rng, owner, number)
    return _with_paths(planned, _stream(seed, "numbers"))


def draw_demo_cell(cell: DemoCell, *, seed: int) -> npt.NDArray[np.uint8]:
    """Draw one cell of a plan.

    Args:
        cell: An entry of ``plan_demo(cells=…, seed=seed)``.
        seed: The seed of that plan.

    Returns:
        RGB image of shape (450, 450, 3), or (600, 600, 3) in the final phase, dtype uint8.
    """
    rng = _stream(seed, "cell", cell.subject, cell.image, cell.cell)
    params = sample_cell(rng, _look(seed, cell), cell.label)
    return draw_cell(params, rng, canvas=FINAL_CANVAS if cell.phase == "final" else CANVAS)


def _look(seed: int, cell: DemoCell) -> SubjectLook:
    """Look of the cell's subject, as the stain and the focus were in the cell's image."""
    look = sample_subject(_stream(seed, "subject", cell.subject))
    jitter = _stream(seed, "image", cell.subject, cell.image).standard_normal(3)
    return replace(
        look,
        azure=look.azure * float(np.exp(0.03 * jitter[0])),
        eosin=look.eosin * float(np.exp(0.06 * jitter[1])),
        focus=look.focus * float(np.exp(0.15 * jitter[2])),
    )


def _stream(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """Independent random stream for each purpose, subject, image and cell."""
    key = np.random.SeedSequence([seed, _STREAMS[purpose], *counters])
    return np.random.Generator(np.random.Philox(key))


def _check(cells: int, seed: int, workers: int | None) -> None:
    """Refuse numbers out of range."""
    if cells < MIN_CELLS:
        raise ConfigError(
            f"A demo set of {cells} cells is too small: each of its 60 subjects needs a cell; "
            f"ask for {MIN_CELLS} cells or more."
        )
    if seed < 0:
        raise ConfigError(f"The seed of the demo set is {seed}; it must be 0 or more.")
    if workers is not None and workers < 1:
        raise ConfigError(f"The number of workers is {workers}; it must be 1 or more.")


def _subject_names(rng: np.random.Generator) -> list[tuple[Phase, int, int, str]]:
    """(phase, label, number, name) of each subject; numbers are shuffled over the phases."""
    owners = [
        (phase, label)
        for phase, counts in _SUBJECTS.items()
        for label in (0, 1)
        for _ in range(counts[label])
    ]
    rank = [rng.permutation(sum(label == c for _, label in owners)) + 1 for c in (0, 1)]
    taken = [iter(rank[0]), iter(rank[1])]
    return [
        (phase, label, number, f"{'H' if label == 0 else ''}{next(taken[label])}")
        for number, (phase, label) in enumerate(owners)
    ]


def _apportion(total: int, weights: npt.NDArray[np.float64]) -> list[int]:
    """Share ``total`` out in proportion to ``weights``, at least 1 to each (largest remainder)."""
    spare = (total - len(weights)) * weights / weights.sum()
    counts = 1 + np.floor(spare).astype(int)
    order = np.argsort(np.floor(spare) - spare, kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    return [int(count) for count in counts]


def _cells_of(
    rng: np.random.Generator, owner: tuple[Phase, int, int, str], number: int
) -> list[DemoCell]:
    """Spread a subject's cells over images of 1 to 5 cells."""
    phase, label, subject, name = owner
    cells: list[DemoCell] = []
    image = 0
    while len(cells) < number:
        image += 1
        for cell in range(1, 1 + min(int(rng.integers(1, 6)), number - len(cells))):
            cells.append(DemoCell(phase, label, subject, name, image, cell))
    return cells


def _with_paths(planned: Sequence[DemoCell], rng: np.random.Generator) -> list[DemoCell]:
    """Say where each cell goes; numbered files are shuffled, so that their order tells nothing."""
    numbered = {
        phase: iter(rng.permutation(sum(cell.phase == phase for cell in planned)) + 1)
        for phase in ("prelim", "final")
    }
    placed = []
    for cell in planned:
        if cell.phase == "prelim":
            path = f"{PRELIM_DIR}/{next(numbered['prelim'])}.bmp"
        elif cell.phase == "final":
            path = f"{FINAL_DIR}/{next(numbered['final'])}.bmp"
        else:
            path = f"{TRAINING_DIR}/{cell.phase}/{_CLASS_NAMES[cell.label]}/{cell.uid}"
        placed.append(replace(cell, path=path))
    return placed


def _write_labels(path: Path, plan: Sequence[DemoCell]) -> None:
    """Write the preliminary set's labels in the order of its numbers, 1 for ALL."""
    prelim = [(Path(cell.path).name, cell) for cell in plan if cell.phase == "prelim"]
    prelim.sort(key=lambda entry: int(entry[0].removesuffix(".bmp")))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["Patient_ID", "new_names", "labels"])
        writer.writerows([cell.uid, name, cell.label] for name, cell in prelim)


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
