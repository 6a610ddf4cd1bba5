"""What is in a demo set: subjects, their cells, the files' places, and each cell's randomness.

Nothing is drawn or written here. A plan is a pure function of (cells, seed), and so is each
cell's picture, whichever order or thread draws it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from fastleuk.data.demo.cell import (
    CANVAS,
    CellParams,
    SubjectLook,
    draw_cell,
    sample_cell,
    sample_subject,
)
from fastleuk.errors import ConfigError

DEFAULT_CELLS = 840
MIN_CELLS = 90
"""So few that each of the 60 labelled subjects still gets a cell."""

TRAINING_DIR = "C-NMC_training_data"
PRELIM_DIR = "C-NMC_test_prelim_phase_data"
PRELIM_CSV = "C-NMC_test_prelim_phase_data_labels.csv"
FINAL_DIR = "C-NMC_test_final_phase_data"
FINAL_CANVAS = 600

Phase = Literal["fold_0", "fold_1", "fold_2", "prelim", "final"]
# Subjects (hem, ALL) and the share of the labelled cells; the final phase is counted apart.
_FOLDS: tuple[Phase, ...] = ("fold_0", "fold_1", "fold_2")
_SUBJECTS: dict[Phase, tuple[int, int]] = {
    **dict.fromkeys(_FOLDS, (6, 9)),
    "prelim": (6, 9),
    "final": (3, 4),
}
_CLASS_NAMES = ("hem", "all")
_STREAMS = {"plan": 0, "subject": 1, "image": 2, "cell": 3, "noise": 4, "numbers": 5}


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


def plan_demo(*, cells: int = DEFAULT_CELLS, seed: int = 0) -> list[DemoCell]:
    """List the cells of a demo set without drawing them.

    Raises:
        ConfigError: ``cells`` or ``seed`` is out of range.
    """
    check_size(cells, seed)
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
    rng = _stream(seed, "noise", cell.subject, cell.image, cell.cell)
    canvas = FINAL_CANVAS if cell.phase == "final" else CANVAS
    return draw_cell(demo_cell_params(cell, seed=seed), rng, canvas=canvas)


def demo_cell_params(cell: DemoCell, *, seed: int) -> CellParams:
    """Return the parameters that one cell of a plan is drawn with."""
    rng = _stream(seed, "cell", cell.subject, cell.image, cell.cell)
    return sample_cell(rng, _look(seed, cell), cell.label)


def check_size(cells: int, seed: int) -> None:
    """Refuse numbers out of range.

    Raises:
        ConfigError: ``cells`` is below `MIN_CELLS`, or ``seed`` is negative.
    """
    if cells < MIN_CELLS:
        raise ConfigError(
            f"A demo set of {cells} cells is too small: each of its 60 subjects needs a cell; "
            f"ask for {MIN_CELLS} cells or more."
        )
    if seed < 0:
        raise ConfigError(f"The seed of the demo set is {seed}; it must be 0 or more.")


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
    shares = (total - len(weights)) * weights / weights.sum()
    counts = 1 + np.floor(shares).astype(int)
    order = np.argsort(np.floor(shares) - shares, kind="stable")
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
