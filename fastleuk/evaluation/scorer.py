"""A run's weights, applied to images: the one way in which figures, folds and ensembles predict."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fastleuk
from fastleuk.augment import NONE
from fastleuk.config import Config, LoaderConfig, read_config
from fastleuk.data.dataset import DataSet
from fastleuk.errors import CheckpointError, ConfigError
from fastleuk.evaluation.average import (
    BEST,
    average_best,
    read_metadata,
    refresh_statistics,
    statistics_rows,
)
from fastleuk.evaluation.partial import PIECE, joined, read_partial, write_partial
from fastleuk.evaluation.predict import Predictions, predict
from fastleuk.evaluation.tta import Views, check_tta
from fastleuk.loading import make_loader, resolve_loader
from fastleuk.loading.batch import Loader
from fastleuk.loading.prepare import Pixels, open_pixels
from fastleuk.loading.stream import EvalStream
from fastleuk.memory import keep_freed_memory
from fastleuk.models.backbone import create_model
from fastleuk.models.device import Precision, choose_device, choose_precision
from fastleuk.models.kept import kept_backbone
from fastleuk.models.weights import load_into

Report = Callable[[str], None]


class Scorer:
    """The best weights of a run, ready to be applied to images of any data set of its classes.

    It computes in the precision of the run's validation, so that its figures and those by which
    the weights were chosen are of one kind.

    Args:
        run_dir: A folder that ``fastleuk train`` made.
        device: ``auto``, ``cpu`` or ``cuda[:N]``; the run's own by default.
        tta: Views whose probabilities are averaged: ``none``, ``flips``, ``d4`` or ``8rot``.
        average: Average the weights of that many best checkpoints, see
            :mod:`fastleuk.evaluation.average`; 0 for ``best.safetensors``.
        report: Takes what is printed.

    Attributes:
        config: The run's configuration, its loader resolved for this machine.
        metadata: What the weights say about themselves, such as ``backbone`` and ``classes``.
        precision: Device and autocast dtype.

    Raises:
        ConfigError: an unknown ``tta`` or ``device``, or a negative ``average``.
        CheckpointError: no run, or not the weights in it that were asked for.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        device: str | None = None,
        tta: str = "none",
        average: int = 0,
        report: Report = print,
    ) -> None:
        check_tta(tta)
        if not (run_dir / "config.toml").is_file():
            raise CheckpointError(f"{run_dir} is no run folder: it has no config.toml.")
        config = _config(run_dir / "config.toml")
        self._run_dir, self._report = run_dir, report
        self._soup = average_best(run_dir, average) if average else None
        self.metadata: dict[str, Any] = (
            self._soup.metadata if self._soup else read_metadata(run_dir / BEST)
        )
        self.config = dataclasses.replace(config, loader=resolve_loader(config.loader))
        self._views = Views(tta, self.metadata["mean"], self.metadata["std"])
        self.precision = _precision(config, choose_device(device or config.run.device), report)

    @property
    def method(self) -> dict[str, Any]:
        """What departs from one view of the best weights, for the figures."""
        used: dict[str, Any] = {}
        if len(self._views) > 1:
            used["tta"] = self._views.name
            used["tta_views"] = len(self._views)
        if self._soup:
            used["average"] = len(self._soup.files)
            used["averaged_files"] = [file.name for file in self._soup.files]
            used["averaged_epochs"] = list(self._soup.epochs)
        return used

    @property
    def views(self) -> Views | None:
        """The views of a batch; None for the batch alone.

        One view takes the short way, whose figures are those of training to the last digit.
        """
        return self._views if len(self._views) > 1 else None

    @property
    def needs_training_images(self) -> bool:
        """Whether averaged weights take batch normalisation's statistics from training images."""
        return self._soup is not None and bool(self._soup.stale)

    def network(self) -> torch.nn.Module:
        """Return the network with the best weights, in evaluation mode, on its device.

        Raises:
            CheckpointError: the weights don't fit the network that they name.
        """
        assert self._soup is None, "averaged weights may need training images"
        return self._model(None, None, None).eval()

    def predict(
        self,
        dataset: DataSet,
        rows: np.ndarray,
        *,
        train_rows: np.ndarray | None = None,
        train_set: DataSet | None = None,
        partial: Path | None = None,
    ) -> Predictions:
        """Apply the weights to images, un-augmented, each exactly once and in the order given.

        Args:
            dataset: Images of the run's classes.
            rows: int64 ``(K,)``, rows of its manifest.
            train_rows: int64, the rows that the run trained on: averaged weights take batch
                normalisation's statistics from them.
            train_set: The data of ``train_rows``, if not ``dataset``.
            partial: Where predictions are saved every :data:`PIECE` images; those that are there
                already, of the same images and weights, are not made again.

        Raises:
            CheckpointError: the data have other classes than the weights, or scores that are no
                finite numbers.
            DataError: an image can't be read.
        """
        names = tuple(self.metadata["classes"])
        if names != dataset.manifest.class_names:
            raise CheckpointError(
                f"The weights in {self._run_dir} know the classes {', '.join(names)}, the data "
                f"have {', '.join(dataset.manifest.class_names)}."
            )
        keep_freed_memory()
        options, device = self.config.loader, self.precision.device
        pixels = open_pixels(dataset, options, device, report=self._report)
        known = pixels
        if train_set is not None and self.needs_training_images:
            known = open_pixels(train_set, options, device, report=self._report)
        model = self._model(train_set or dataset, train_rows, known)
        found = self._in_pieces(model, dataset, rows, pixels, partial)
        bad = np.flatnonzero(~np.isfinite(found.logits).all(axis=1))
        if len(bad):
            first = dataset.manifest.paths[found.indices[bad[0]]]
            raise CheckpointError(
                f"The network of {self._run_dir} gives scores that are no finite numbers for "
                f"{len(bad)} of {len(found.logits)} images; the first is {first}. No figure can be "
                "made of them. If the run computes in float16, evaluate it in float32 (amp = false "
                f"in {self._run_dir / 'config.toml'})."
            )
        return found

    def _in_pieces(
        self,
        model: torch.nn.Module,
        dataset: DataSet,
        rows: np.ndarray,
        pixels: Pixels | None,
        partial: Path | None,
    ) -> Predictions:
        """Predict, saving every piece where asked to; a piece that was saved is not made again."""
        key = self._key(dataset, rows) if partial else ""
        done = read_partial(partial, key) if partial else None
        made = [done] if done else []
        start = len(done.indices) if done else 0
        if done:
            self._report(
                f"Resuming: {start} of {len(rows)} images were predicted before this was stopped"
            )
        size = PIECE if partial else max(1, len(rows))
        for first in range(start, len(rows), size):
            loader = self._loader(dataset, rows[first : first + size], self.config.loader, pixels)
            try:
                made.append(predict(model, loader, self.precision, views=self.views))
            finally:
                loader.close()
            if partial and first + size < len(rows):
                write_partial(partial, key, joined(made), self._report)
        return joined(made)

    def _key(self, dataset: DataSet, rows: np.ndarray) -> str:
        """Identify predictions: weights, method, precision, loader, images and their order."""
        files = self._soup.files if self._soup else (self._run_dir / BEST,)
        loader = self.config.loader
        parts = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
        parts += [repr(self.method), str(self.precision.dtype), self.precision.device.type]
        parts += [loader.loader, str(loader.size), str(loader.batch_size), loader.cache]
        parts += [dataset.content_hash, hashlib.sha256(rows.tobytes()).hexdigest()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _model(
        self, dataset: DataSet | None, train_rows: np.ndarray | None, pixels: Pixels | None
    ) -> torch.nn.Module:
        soup, metadata = self._soup, self.metadata
        weights = "none" if soup else str(self._run_dir / BEST)
        model = create_model(
            kept_backbone(self._run_dir, metadata["backbone"]),
            num_classes=len(metadata["classes"]),
            weights=weights,
            size=metadata["size"],
        )
        if soup:
            load_into(model, soup.state, head=(), where=str(soup.files[0]))
        check_finite(model, soup.files[0] if soup else self._run_dir / BEST)
        device, options = self.precision.device, self.config.loader
        model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if soup and soup.stale:
            assert dataset is not None, "averaged weights need the training images"
            assert train_rows is not None, "averaged weights need the training images"
            rows = statistics_rows(train_rows, batch_size=options.batch_size)
            self._report(
                f"Averaged {len(soup.files)} checkpoints; batch normalisation's statistics are "
                f"computed anew from {len(rows)} training images"
            )
            loader = self._loader(dataset, rows, options, pixels)
            try:
                refresh_statistics(model, soup.stale, loader, self.precision)
            finally:
                loader.close()
        return model

    def _loader(
        self, dataset: DataSet, rows: np.ndarray, options: LoaderConfig, pixels: Pixels | None
    ) -> Loader:
        return make_loader(
            manifest=dataset.manifest,
            stream=EvalStream(rows, batch_size=options.batch_size),
            config=options,
            policy=NONE,
            mean=tuple(self.metadata["mean"]),
            std=tuple(self.metadata["std"]),
            device=self.precision.device,
            pixels=pixels,
        )


def _config(path: Path) -> Config:
    try:
        return read_config(path)
    except ConfigError as error:
        raise CheckpointError(
            f"{error} Is the run of another version of fastleuk? This one is "
            f"{fastleuk.__version__}: use that which made it."
        ) from error


def check_finite(model: torch.nn.Module, file: Path) -> None:
    """Refuse weights of which nothing can be computed.

    Args:
        model: That has them.
        file: Where they come from.

    Raises:
        CheckpointError: a value that is no finite number.
    """
    state = model.state_dict()
    bad = [
        name
        for name, value in state.items()
        if value.is_floating_point() and not bool(torch.isfinite(value).all())
    ]
    if bad:
        raise CheckpointError(
            f"{file} holds values that are no finite numbers, in {len(bad)} of {len(state)} "
            f"tensors; the first is {bad[0]}. Nothing can be computed with it: the training has "
            "diverged, or the file is damaged. Train again, with a lower --lr."
        )


def _precision(config: Config, device: torch.device, report: Report) -> Precision:
    """Return the run's own precision, or the nearest that ``device`` has, which is said."""
    optim = config.optim
    try:
        return choose_precision(device, optim.amp, optim.amp_dtype)
    except ConfigError:  # trained elsewhere: its dtype is none of this device's
        nearest = choose_precision(device, optim.amp)
        if optim.amp:
            dtype = str(nearest.dtype).removeprefix("torch.")
            report(
                f"note: the run was validated in {optim.amp_dtype}, which the {device.type} here "
                f"doesn't have; {dtype} is used, so figures may differ a little."
            )
        return nearest
