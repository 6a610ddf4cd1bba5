"""Predicting from Python: what ``fastleuk.load`` returns."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np

from fastleuk.errors import ConfigError, DataError, as_arguments, listed, named_as_arguments
from fastleuk.evaluation.decision import Decision
from fastleuk.loading.images.encoded import BadImage, Encoded, encode_any, is_file
from fastleuk.predict.ensemble import Ensemble, Scored
from fastleuk.predict.table import concatenate

Report = Callable[[str], None]


@dataclass(frozen=True, eq=False, slots=True)
class Predicted:
    """What the runs say of N images.

    Attributes:
        class_names: C names.
        probabilities: float64 ``(N, C)``, calibrated; of several runs their mean. NaN where there
            is an error.
        labels: N names of classes, at the run's threshold; None where there is an error.
        spread: float64 ``(N,)``: the standard deviation between the runs of the label's
            probability; None with a single run.
        errors: N texts, empty for what could be predicted.
        notes: N texts: what of an image is not used as it stands.
    """

    class_names: tuple[str, ...]
    probabilities: np.ndarray
    labels: list[str | None]
    spread: np.ndarray | None
    errors: list[str]
    notes: list[str]

    def __len__(self) -> int:
        return len(self.labels)


class Predictor:
    """One or several runs, ready for images. Every method may be called from any thread.

    Images are shown in batches of :attr:`batch_size`, in the order given: the probabilities are
    those of ``fastleuk predict`` for the same images in the same order, to the last bit.

    Args:
        ensemble: The loaded runs.
    """

    def __init__(self, ensemble: Ensemble) -> None:
        self._ensemble = ensemble

    @property
    def class_names(self) -> tuple[str, ...]:
        """C names, in the order of the probabilities."""
        return self._ensemble.class_names

    @property
    def decision(self) -> Decision:
        """How probabilities become a label, and where that was chosen."""
        return self._ensemble.decision

    @property
    def batch_size(self) -> int:
        """Images that are shown at once."""
        return self._ensemble.batch_size

    def predict(self, images: Any, *, skip_bad: bool = False) -> Predicted:
        """Predict images.

        Args:
            images: One image or many (any iterable of them), of any sizes. An image is a path, a
                PIL image, an open file, the bytes of a file, or an array or tensor, uint8:
                ``(H, W, 3)`` in RGB order, ``(H, W, 4)`` with alpha, ``(H, W)`` in gray.
                Channels never come first. An array of three dimensions is one image, one of four,
                ``(N, H, W, 3)``, is N images.
            skip_bad: Give the reason in :attr:`Predicted.errors` where an image can't be used,
                instead of raising.

        Raises:
            ConfigError: neither an image nor an iterable of images.
            DataError: an image can't be used; all of the batch that can't are named.
        """
        with named_as_arguments():
            return self._predict(images, skip_bad)

    def _predict(self, images: Any, skip_bad: bool) -> Predicted:
        scored: list[Scored] = []
        done = 0
        for batch in _batches(_many(images), self.batch_size):
            with ThreadPoolExecutor(min(len(batch), self._ensemble.workers)) as pool:
                encoded = list(pool.map(_encode, batch))
            found = self._ensemble.score(self._ensemble.prepare(encoded))
            if not skip_bad and any(found.errors):
                raise DataError(_refusal(batch, found.errors, done))
            scored.append(found)
            done += len(batch)
        if not scored:
            empty = np.empty((0, len(self.class_names)))
            return Predicted(self.class_names, empty, [], None, [], [])
        joined = concatenate(scored)
        labels = [self.class_names[label] if label >= 0 else None for label in joined.labels]
        return Predicted(
            self.class_names,
            joined.probabilities,
            labels,
            joined.spread,
            joined.errors,
            joined.notes,
        )

    def close(self) -> None:
        """Free threads and memory."""
        self._ensemble.close()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load(
    runs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    device: Any = None,
    tta: str = "none",
    batch_size: int = 0,
    workers: int = 0,
    report: Report | None = None,
) -> Predictor:
    """Load a run, or several as an ensemble; see :func:`fastleuk.load`."""
    one = isinstance(runs, str | os.PathLike)
    if not one and (not isinstance(runs, Iterable) or isinstance(runs, bytes | Mapping)):
        raise ConfigError(f"runs: found {runs!r}. Give a run folder, or a list of them.")
    folders: list[Any] = [runs] if one else list(cast(Iterable[Any], runs))
    wrong = [folder for folder in folders if not isinstance(folder, str | os.PathLike)]
    if wrong:
        raise ConfigError(f"runs: found {wrong[0]!r} among them. Give the paths of run folders.")
    for name, count in (("batch_size", batch_size), ("workers", workers)):
        if not isinstance(count, int | np.integer) or count < 0:
            raise ConfigError(f"{name}: found {count!r}. Give 0 (the run's own) or more.")
    notes = report or _silent
    with named_as_arguments():
        ensemble = Ensemble(
            [Path(folder).expanduser() for folder in folders],
            device=None if device is None else str(device),
            tta=tta or "none",
            batch_size=int(batch_size),
            workers=int(workers),
            report=lambda text: notes(as_arguments(text)),
        )
    return Predictor(ensemble)


def _silent(_text: str) -> None:
    pass


def _encode(image: Any) -> Encoded | str:
    try:
        return encode_any(image)
    except BadImage as reason:
        return str(reason)


def _many(images: Any) -> Iterable[Any]:
    """Return an iterable of images, if that is one.

    Raises:
        ConfigError: neither an image nor an iterable of images.
    """
    if isinstance(images, str | os.PathLike | bytes | bytearray | memoryview | Encoded):
        return [images]
    if is_file(images) or (hasattr(images, "convert") and hasattr(images, "getbands")):
        return [images]
    if hasattr(images, "columns") or hasattr(images, "column_names"):
        raise ConfigError(
            f"images: found a table ({type(images).__name__}). Give its column of paths or images, "
            "such as table['path']."
        )
    shape = getattr(images, "shape", None)
    if shape is not None and 0 < len(shape) != 4:
        encoded = len(shape) == 1 and str(getattr(images, "dtype", "")).endswith("uint8")
        return [images] if len(shape) > 1 or encoded else images
    if isinstance(images, Mapping) or not isinstance(images, Iterable) or shape == ():
        shown = repr(images) if isinstance(images, int | float | None) else "an object"
        raise ConfigError(
            f"images: found {shown} ({type(images).__name__}). Give a path, a PIL image, an array "
            "or the bytes of a file, or an iterable of them."
        )
    return images


def _batches(images: Iterable[Any], size: int) -> Iterator[list[Any]]:
    source = iter(images)
    while batch := list(islice(source, size)):
        yield batch


def _refusal(batch: list[Any], errors: list[str], before: int) -> str:
    lines = []
    for place, (image, error) in enumerate(zip(batch, errors, strict=True)):
        name = f" ({os.fspath(image)})" if isinstance(image, str | os.PathLike) else ""
        lines += [f"image {before + place}{name}: {error}"] if error else []
    return (
        f"Images that can't be used; skip_bad=True gives the reasons in .errors instead:\n"
        f"{listed(lines)}"
    )
