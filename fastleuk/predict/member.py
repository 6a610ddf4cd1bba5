"""One run, loaded to predict: its network, its preprocessing, its decision."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastleuk.config import LoaderConfig
from fastleuk.errors import CheckpointError
from fastleuk.evaluation.decision import Decision, file_hash, read_decision
from fastleuk.evaluation.outcome import variant
from fastleuk.evaluation.predict import predict_batch
from fastleuk.evaluation.scorer import Scorer
from fastleuk.run_folder.names import BEST
from fastleuk.run_folder.state import not_ended
from fastleuk.shell import quoted

if TYPE_CHECKING:
    import torch

Report = Callable[[str], None]


class Member:
    """The best weights of a run, with the temperature and the threshold that were chosen for them.

    Args:
        run_dir: A folder that ``fastleuk train`` made; it may have been moved or renamed.
        device: ``auto``, ``cpu`` or ``cuda[:N]``; the run's own by default.
        tta: Views whose probabilities are averaged: ``none``, ``flips``, ``d4`` or ``8rot``.
        batch_size: Images at once; the run's own by default.
        workers: Threads that read and decode; as the run's by default.
        report: Takes what is printed.

    Attributes:
        decision: How scores become a label.
        loader: Loader, size, batch size and workers in use.
        metadata: What the weights say about themselves, such as ``backbone`` and ``classes``.
        model: In evaluation mode, on its device.
        weights: SHA-256 of the weights file.

    Raises:
        CheckpointError: no run, no weights in it, or damaged ones, or those of another version.
        ConfigError: an unknown ``tta`` or ``device``.
        WeightsError: weights that the network they name doesn't take.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        device: str | None = None,
        tta: str = "none",
        batch_size: int = 0,
        workers: int = 0,
        report: Report = print,
    ) -> None:
        self.run_dir = run_dir
        self._scorer = _scorer(run_dir, device=device, tta=tta, report=report)
        unfinished = not_ended(run_dir)
        if unfinished:
            report(f"note: {unfinished}. Its weights may still become better.")
        self.metadata: dict[str, Any] = self._scorer.metadata
        own = self._scorer.config.loader
        self.loader: LoaderConfig = dataclasses.replace(
            own,
            size=self.metadata["size"],
            batch_size=batch_size or own.batch_size,
            workers=workers or own.workers,
        )
        self.weights = file_hash(run_dir / BEST)
        self.decision = self._decision(report)
        self.model = self._scorer.network()

    @property
    def class_names(self) -> tuple[str, ...]:
        """C names, in the order of the probabilities."""
        return tuple(self.metadata["classes"])

    @property
    def positive(self) -> str:
        """The positive class that the run was configured with, or an empty text."""
        return self.decision.positive or self._scorer.config.data.positive

    @property
    def tta(self) -> str:
        """The views whose probabilities are averaged."""
        return self._scorer.views.name if self._scorer.views else "none"

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self._scorer.precision.device

    @property
    def preprocessing(self) -> tuple[Any, ...]:
        """What two members must agree in to be shown the same pixels."""
        data = self.metadata
        return (self.loader.loader, self.loader.size, *data["mean"], *data["std"], self.device)

    @property
    def identity(self) -> dict[str, Any]:
        """What predictions depend on, fit for JSON."""
        return {
            "weights_sha256": self.weights,
            "backbone": self.metadata["backbone"],
            "size": self.loader.size,
            "loader": self.loader.loader,
            "precision": str(self._scorer.precision.dtype).removeprefix("torch."),
            "tta": self.tta,
            "decision": self.decision.as_json(),
        }

    def logits(self, pixels: torch.Tensor) -> np.ndarray:
        """Return the logits ``(N, C)`` of normalised images ``(N, 3, size, size)``."""
        scorer = self._scorer
        return predict_batch(self.model, pixels, scorer.precision, views=scorer.views)

    def probabilities(self, pixels: torch.Tensor) -> np.ndarray:
        """Return calibrated probabilities, float64 ``(N, C)``, of normalised images."""
        return self.decision.probabilities(self.logits(pixels), logits=True)

    def _decision(self, report: Report) -> Decision:
        """Read the decision that belongs to the views in use."""
        names, method = self.class_names, variant(self._scorer.method)
        found = read_decision(self.run_dir, method=method, class_names=names, weights=self.weights)
        if method and found.is_default:
            plain = read_decision(self.run_dir, class_names=names, weights=self.weights)
            if not plain.is_default:
                report(
                    f"note: {self.run_dir} has a temperature and a threshold for its plain "
                    f"weights only; `fastleuk evaluate {quoted(self.run_dir)} --tta {self.tta}` "
                    f"chooses them for --tta {self.tta}. Until then the most probable class is the "
                    "label."
                )
        return found


def _scorer(run_dir: Path, **options: Any) -> Scorer:
    if not run_dir.is_dir():
        raise CheckpointError(
            f"{run_dir}: no such run folder. Give the folder that fastleuk train made; it may "
            "have been moved or renamed (fastleuk runs lists what is there)."
        )
    return Scorer(run_dir, **options)
