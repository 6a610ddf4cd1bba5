"""One or several runs that predict together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastleuk.errors import CheckpointError, ConfigError
from fastleuk.evaluation.decision import ARGMAX, Decision
from fastleuk.loading.images.encoded import Encoded
from fastleuk.loading.images.make import Images, make_images
from fastleuk.predict.member import Member

if TYPE_CHECKING:
    import torch

Report = Callable[[str], None]

NOT_FINITE = "the network's scores are no finite numbers"


@dataclass(frozen=True, eq=False, slots=True)
class Prepared:
    """A batch that the networks can be shown.

    Attributes:
        pixels: One tensor ``(M, 3, size, size)`` for each preprocessing, of the M good images.
        errors: N texts; empty for the good images.
        notes: N texts: what of an image is not used as it stands.
    """

    pixels: tuple[torch.Tensor, ...]
    errors: list[str]
    notes: list[str]

    @property
    def good(self) -> np.ndarray:
        """Bool ``(N,)``."""
        return np.array([not error for error in self.errors], dtype=bool)


@dataclass(frozen=True, eq=False, slots=True)
class Scored:
    """What the runs say of N images.

    Attributes:
        probabilities: float64 ``(N, C)``, calibrated, of several runs their mean; NaN where there
            is an error.
        labels: int64 ``(N,)``; -1 where there is an error.
        spread: float64 ``(N,)``: the standard deviation (n - 1) between the runs of the
            probability of the label; None with a single run.
        errors: N texts, empty for what could be predicted.
        notes: N texts: what of an image is not used as it stands.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    spread: np.ndarray | None
    errors: list[str]
    notes: list[str]

    def __len__(self) -> int:
        return len(self.errors)


class Ensemble:
    """Runs of the same classes, whose probabilities are averaged. Calls may come from any thread.

    Args:
        runs: Run folders, at least one.
        device: ``auto``, ``cpu`` or ``cuda[:N]``; each run's own by default.
        tta: Views whose probabilities are averaged.
        batch_size: Images at once; the first run's by default.
        workers: Threads that read and decode; the first run's by default.
        report: Takes what is printed.

    Attributes:
        members: The runs.
        decision: How mean probabilities become a label. Of several runs that all have a threshold
            of the same class, it is the mean of theirs; of others, the most probable class counts.

    Raises:
        CheckpointError: see :class:`Member`; or runs of different classes.
        ConfigError: see :class:`Member`.
    """

    def __init__(
        self,
        runs: Sequence[Path],
        *,
        device: str | None = None,
        tta: str = "none",
        batch_size: int = 0,
        workers: int = 0,
        report: Report = print,
    ) -> None:
        if not runs:
            raise ConfigError("No run was given: name at least one run folder.")
        if batch_size < 0 or workers < 0:
            raise ConfigError("--batch-size and --workers must be 0 (the run's own) or more.")
        first = Member(
            runs[0],
            device=device,
            tta=tta,
            batch_size=batch_size,
            workers=workers,
            report=report,
        )
        self.members = [first]
        same = {"batch_size": first.loader.batch_size, "workers": first.loader.workers}
        for run in runs[1:]:
            self.members.append(Member(run, device=device, tta=tta, report=report, **same))
            _same_classes(first, self.members[-1])
        self.decision = _joint(self.members)
        self._images: dict[tuple[Any, ...], Images] = {}
        for member in self.members:
            if member.preprocessing not in self._images:
                self._images[member.preprocessing] = _images_of(member)
        self._lock = threading.Lock()

    @property
    def class_names(self) -> tuple[str, ...]:
        """C names, in the order of the probabilities."""
        return self.members[0].class_names

    @property
    def batch_size(self) -> int:
        """Images that are shown at once."""
        return self.members[0].loader.batch_size

    @property
    def workers(self) -> int:
        """Threads that read and decode."""
        return self.members[0].loader.workers

    @property
    def identity(self) -> dict[str, Any]:
        """What predictions depend on, fit for JSON."""
        return {
            "classes": list(self.class_names),
            "batch_size": self.batch_size,
            "runs": [member.identity for member in self.members],
        }

    def prepare(self, images: Sequence[Encoded | str]) -> Prepared:
        """Decode, resize and normalise a batch for every run.

        Args:
            images: N of them, or the reason why there is none.
        """
        errors = [image if isinstance(image, str) else "" for image in images]
        notes = ["" if isinstance(image, str) else image.note for image in images]
        good = [image for image in images if not isinstance(image, str)]
        made = [each.prepare(good) for each in self._images.values()]
        failed = [
            "; ".join(dict.fromkeys(filter(None, reasons)))
            for reasons in zip(*(reasons for _, reasons in made), strict=True)
        ]
        pixels = [_kept(tensor, own, failed) for tensor, own in made]
        there = [place for place, error in enumerate(errors) if not error]
        for place, reason in zip(there, failed, strict=True):
            errors[place] = reason
        return Prepared(tuple(pixels), errors, notes)

    def score(self, prepared: Prepared) -> Scored:
        """Show a batch to every run."""
        good, count = prepared.good, len(self.class_names)
        probabilities = np.full((len(good), count), np.nan)
        labels = np.full(len(good), -1, np.int64)
        spread = np.full(len(good), np.nan) if len(self.members) > 1 else None
        if good.any():
            pixels = dict(zip(self._images, prepared.pixels, strict=True))
            with self._lock, np.errstate(invalid="ignore"):
                each = np.stack([m.probabilities(pixels[m.preprocessing]) for m in self.members])
            # The mean of one is itself, to the last digit.
            mean = each[0] if len(each) == 1 else each.mean(axis=0)
            finite = np.isfinite(mean).all(axis=1)
            good[np.flatnonzero(good)[~finite]] = False
            mean, each = mean[finite], each[:, finite]
            chosen = self.decision.labels(mean)
            probabilities[good], labels[good] = mean, chosen
            if spread is not None:
                of_label = each[:, np.arange(len(chosen)), chosen]
                spread[good] = of_label.std(axis=0, ddof=1)
        errors = [
            error if fine or error else NOT_FINITE
            for error, fine in zip(prepared.errors, good, strict=True)
        ]
        return Scored(probabilities, labels, spread, errors, prepared.notes)

    def close(self) -> None:
        """Free threads and memory."""
        for images in self._images.values():
            images.close()


def _kept(tensor: torch.Tensor, own: list[str], failed: list[str]) -> torch.Tensor:
    """Drop images that another preprocessing could not take."""
    keep = [not reason for reason, mine in zip(failed, own, strict=True) if not mine]
    return tensor if all(keep) else tensor[np.flatnonzero(keep)]


def _images_of(member: Member) -> Images:
    return make_images(
        member.loader,
        mean=tuple(member.metadata["mean"]),
        std=tuple(member.metadata["std"]),
        device=member.device,
    )


def _same_classes(first: Member, other: Member) -> None:
    if first.class_names != other.class_names:
        raise CheckpointError(
            f"{other.run_dir} knows the classes {', '.join(other.class_names)}, {first.run_dir} "
            f"{', '.join(first.class_names)}: only runs of the same classes can predict together."
        )


def _joint(members: Sequence[Member]) -> Decision:
    decisions = [member.decision for member in members]
    if len(decisions) == 1:
        return decisions[0]
    names = members[0].class_names
    positive = {decision.positive for decision in decisions}
    thresholds = [d.threshold for d in decisions if d.threshold is not None]
    if len(thresholds) < len(decisions) or len(positive) > 1:
        return Decision(class_names=names)
    rules = {decision.rule for decision in decisions}
    return Decision(
        threshold=float(np.mean(thresholds)),
        rule=rules.pop() if len(rules) == 1 else "several",
        positive=positive.pop(),
        class_names=names,
    )


def describe(ensemble: Ensemble) -> list[str]:
    """Say by which rule the label comes about, a line each."""
    lines = []
    for member in ensemble.members:
        lines.append(f"{member.run_dir}: {member.decision.sentence}")
    if len(lines) > 1:
        joint = ensemble.decision
        if joint.rule == ARGMAX:
            thresholds = any(m.decision.threshold is not None for m in ensemble.members)
            why = " (not all runs have a threshold of the same class)" if thresholds else ""
            what = f"the most probable class of the mean probabilities{why}"
        else:
            what = (
                f"{joint.positive} from a mean probability of {joint.threshold:.4g} on, the mean "
                "of their thresholds"
            )
        lines.append(f"{len(ensemble.members)} runs together: label: {what}")
    return lines
