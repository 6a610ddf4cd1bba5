"""Train and evaluate leukemia cell classifiers with NVIDIA DALI and PyTorch.

``import fastleuk`` is cheap: it imports neither torch nor DALI. The rooms are
``fastleuk.data``, ``fastleuk.augment``, ``fastleuk.loading``, ``fastleuk.training``,
``fastleuk.evaluation`` and ``fastleuk.predict``.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastleuk.predict.predictor import Predictor

__version__ = "0.1.0"


def load(
    runs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    device: str | None = None,
    tta: str = "none",
    batch_size: int = 0,
    workers: int = 0,
    report: Callable[[str], None] | None = None,
) -> Predictor:
    """Load a run, or several as an ensemble, to predict images.

    ``fastleuk.load("runs/RUN").predict(images).probabilities``

    Args:
        runs: A run folder, or several of the same classes.
        device: ``auto``, ``cpu`` or ``cuda[:N]`` (also ``gpu[:N]``), or a torch.device; each run's
            own by default.
        tta: Views whose probabilities are averaged: ``none``, ``flips``, ``d4`` or ``8rot``.
        batch_size: Images at once; 0: the first run's.
        workers: Threads that read and decode; 0: the first run's.
        report: Takes notes on the way, such as on a run that has not ended; None: nobody.

    Raises:
        CheckpointError: no run, no weights, damaged ones, or runs of different classes.
        ConfigError: an unknown ``device`` or ``tta``.
    """
    load_runs = importlib.import_module("fastleuk.predict.predictor").load
    return load_runs(
        runs, device=device, tta=tta, batch_size=batch_size, workers=workers, report=report
    )
