"""Whether an exported file says what PyTorch says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from fastleuk.data.demo.plan import draw_demo_cell, plan_demo
from fastleuk.errors import FastleukError
from fastleuk.export.graph import Classifier
from fastleuk.loading.images.encoded import encode_array
from fastleuk.predict.ensemble import Ensemble

LARGEST = 1e-4
"""By which a probability may differ from PyTorch's."""

SIDES = ((450, 450), (451, 430), (300, 360), (64, 80))
"""Height and width of the drawn cells."""

EACH = 3

Runs = Callable[[np.ndarray], np.ndarray]
"""From the file's input to probabilities ``(N, C)``."""


@dataclass(frozen=True, slots=True)
class Checked:
    """How far a file is from PyTorch.

    Attributes:
        images: Compared, several in a batch and one by one.
        file: The largest difference in probability to PyTorch in float32 on the same input.
        run: The largest difference in probability to ``fastleuk predict``, which reads images by
            the run's loader and computes in the run's precision.
    """

    images: int
    file: float
    run: float


def drawn_cells() -> list[np.ndarray]:
    """Draw batches of images, uint8 ``(N, H, W, 3)``: synthetic cells, of several sizes."""
    plan = [cell for cell in plan_demo(cells=90) if cell.phase != "final"][: EACH * len(SIDES)]
    cells = [draw_demo_cell(cell, seed=0) for cell in plan]
    batches = []
    for place, (height, width) in enumerate(SIDES):
        group = [_sized(cell, height, width) for cell in cells[EACH * place :][:EACH]]
        batches.append(np.stack(group))
    return batches


def _sized(cell: np.ndarray, height: int, width: int) -> np.ndarray:
    """Cut the middle out, or add a dark border."""
    rows, columns = (max(0, side - 450) for side in (height, width))
    wide = np.pad(cell, ((0, rows), (0, columns), (0, 0)))
    top, left = (wide.shape[0] - height) // 2, (wide.shape[1] - width) // 2
    return np.ascontiguousarray(wide[top : top + height, left : left + width])


def compare(runs: Runs, classifier: Classifier, ensemble: Ensemble) -> Checked:
    """Compare a file's probabilities with PyTorch's.

    Args:
        runs: What the file says.
        classifier: Of which the file was made, in evaluation mode, on the CPU.
        ensemble: The run as ``fastleuk predict`` uses it, on the CPU.

    Raises:
        FastleukError: they differ by more than :data:`LARGEST`.
    """
    images, file, run = 0, 0.0, 0.0
    for batch in drawn_cells():
        prepared = ensemble.prepare([encode_array(cell) for cell in batch])
        own = ensemble.score(prepared).probabilities
        given = batch if classifier.prepare is not None else prepared.pixels[0].numpy()
        with torch.inference_mode():
            wanted = classifier(torch.from_numpy(np.ascontiguousarray(given)))[0].numpy()
        for cut in _cuts(len(given)):
            found = runs(np.ascontiguousarray(given[cut]))
            file = max(file, _distance(found, wanted[cut]))
            run = max(run, _distance(found, own[cut]))
        images += len(given)
    if not file <= LARGEST:
        raise FastleukError(
            f"The exported network's probabilities differ from PyTorch's by up to {file:.2g}, and "
            f"{LARGEST:.0e} is allowed: nothing was written. Another --format may do."
        )
    return Checked(images, file, run)


def _cuts(count: int) -> Iterator[slice]:
    yield slice(0, count)
    for place in range(count):
        yield slice(place, place + 1)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference; infinite where there is a NaN."""
    largest = float(np.abs(one.astype(np.float64) - other).max())
    return largest if np.isfinite(largest) else float("inf")
