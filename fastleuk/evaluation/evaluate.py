"""Score the weights of a run on its test split."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastleuk.augment import NONE
from fastleuk.config import Config, read_config
from fastleuk.data.load import DataSet
from fastleuk.data.open import open_dataset
from fastleuk.data.split import PARTS, Split, read_split
from fastleuk.errors import CheckpointError, ConfigError
from fastleuk.evaluation.average import (
    BEST,
    Soup,
    average_best,
    read_metadata,
    refresh_statistics,
    statistics_rows,
)
from fastleuk.evaluation.metrics import classification_metrics, format_metrics
from fastleuk.evaluation.plots import plot_confusion_matrix
from fastleuk.evaluation.predict import Predictions, predict
from fastleuk.evaluation.tta import Views, check_tta
from fastleuk.files import write_json, write_rows
from fastleuk.loading import make_loader, resolve_loader
from fastleuk.loading.batch import Loader
from fastleuk.loading.prepare import Pixels, open_pixels
from fastleuk.loading.stream import EvalStream
from fastleuk.memory import keep_freed_memory
from fastleuk.models.backbone import create_model
from fastleuk.models.device import Precision, choose_device, choose_precision
from fastleuk.models.weights import load_into
from fastleuk.run_log import logged, open_log, result

Report = Callable[[str], None]


@logged
def evaluate_run(
    run_dir: Path,
    *,
    part: str = "test",
    data: str | None = None,
    device: str | None = None,
    dataset: DataSet | None = None,
    tta: str = "none",
    average: int = 0,
    report: Report = print,
) -> dict[str, Any]:
    """Evaluate the best weights on a part of the run's own split.

    Writes ``<part>_metrics.json``, ``<part>_predictions.csv`` and a confusion matrix into the
    run folder. On the same machine the figures repeat exactly. With test-time augmentation or
    averaged weights the files have names of their own, such as ``test_metrics.tta-d4.json``, and
    the figures say what was used.

    Args:
        run_dir: A folder that ``fastleuk train`` made.
        part: ``test``, ``val`` or ``train``.
        data: Where the data lie now, if they have moved.
        device: ``auto``, ``cpu`` or ``cuda[:N]``; the run's own by default.
        dataset: The data set, if it is open already.
        tta: Views whose probabilities are averaged: ``none``, ``flips``, ``d4`` or ``8rot``.
        average: Average the weights of that many best checkpoints, see
            :mod:`fastleuk.evaluation.average`; 0 for ``best.safetensors``.
        report: Takes what is printed.

    Raises:
        ConfigError: an unknown part or ``tta``, or a negative ``average``.
        CheckpointError: no run, or not the weights in it that were asked for.
        DataError: the data are not those of the run's split.
    """
    if part not in PARTS[1:]:
        raise ConfigError(f"--part is {part!r}, but must be one of {', '.join(PARTS[1:])}.")
    check_tta(tta)
    if not (run_dir / "config.toml").is_file():
        raise CheckpointError(f"{run_dir} is no run folder: it has no config.toml.")
    open_log(report, run_dir)
    config = read_config(run_dir / "config.toml")
    soup = average_best(run_dir, average) if average else None
    metadata = soup.metadata if soup else read_metadata(run_dir / BEST)
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, data=data or config.data.data),
        loader=resolve_loader(config.loader),
    )
    if dataset is None:
        dataset = open_dataset(config.data, report=report)
    split = read_split(run_dir / "split.csv", dataset.manifest, dataset.groups, dataset.sha256)
    views = Views(tta, metadata["mean"], metadata["std"])
    scoring = _Scoring(run_dir, config, dataset, split, metadata, soup, views, report)
    predictions = scoring.predict(part, device)
    names = dataset.manifest.class_names
    figures = {
        "part": part,
        "split": split.mode,
        "backbone": metadata["backbone"],
        "data": dataset.content_hash,
        "synthetic": dataset.manifest.synthetic,
        **scoring.method,
        "subjects": len({dataset.manifest.subjects[row] for row in predictions.indices}),
        "loss": predictions.loss,
        **classification_metrics(predictions.labels, predictions.probabilities, names),
    }
    _write(run_dir, part, figures, predictions, dataset)
    what = f"{part}: {figures['samples']} images of {figures['subjects']} subjects"
    result(report, f"\n{what}{', SYNTHETIC demo cells' if figures['synthetic'] else ''}")
    result(report, format_metrics(figures))
    return figures


@dataclass(frozen=True)
class _Scoring:
    """A run's weights, and what they are applied to."""

    run_dir: Path
    config: Config
    dataset: DataSet
    split: Split
    metadata: dict[str, Any]
    soup: Soup | None
    views: Views
    report: Report

    @property
    def method(self) -> dict[str, Any]:
        """What departs from one view of the best weights, for the figures."""
        used: dict[str, Any] = {}
        if len(self.views) > 1:
            used["tta"] = self.views.name
            used["tta_views"] = len(self.views)
        if self.soup:
            used["average"] = len(self.soup.files)
            used["averaged_files"] = [file.name for file in self.soup.files]
            used["averaged_epochs"] = list(self.soup.epochs)
        return used

    def predict(self, part: str, device: str | None) -> Predictions:
        names = tuple(self.metadata["classes"])
        if names != self.dataset.manifest.class_names:
            raise CheckpointError(
                f"The weights in {self.run_dir} know the classes {', '.join(names)}, the data "
                f"have {', '.join(self.dataset.manifest.class_names)}."
            )
        target = choose_device(device or self.config.run.device)
        keep_freed_memory()
        optim = self.config.optim
        dtype = optim.amp_dtype if target.type == "cuda" else "auto"  # trained elsewhere, maybe
        precision = choose_precision(target, optim.amp, dtype)
        pixels = open_pixels(self.dataset, self.config.loader, precision.device, report=self.report)
        model = self._model(precision, pixels)
        loader = self._loader(self.split.indices(part), precision, pixels)
        try:
            # One view takes the short way, whose figures are those of training to the last digit.
            views = self.views if len(self.views) > 1 else None
            return predict(model, loader, precision, views=views)
        finally:
            loader.close()

    def _model(self, precision: Precision, pixels: Pixels | None) -> torch.nn.Module:
        soup, backbone, size = self.soup, self.metadata["backbone"], self.metadata["size"]
        weights = "none" if soup else str(self.run_dir / BEST)
        classes = len(self.metadata["classes"])
        model = create_model(backbone, num_classes=classes, weights=weights, size=size)
        if soup:
            load_into(model, soup.state, head=(), where=str(soup.files[0]))
        model = model.to(precision.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if soup and soup.stale:
            rows = statistics_rows(
                self.split.indices("train"), batch_size=self.config.loader.batch_size
            )
            self.report(
                f"Averaged {len(soup.files)} checkpoints; batch normalisation's statistics are "
                f"computed anew from {len(rows)} training images"
            )
            loader = self._loader(rows, precision, pixels)
            try:
                refresh_statistics(model, soup.stale, loader, precision)
            finally:
                loader.close()
        return model

    def _loader(self, rows: np.ndarray, precision: Precision, pixels: Pixels | None) -> Loader:
        return make_loader(
            manifest=self.dataset.manifest,
            stream=EvalStream(rows, batch_size=self.config.loader.batch_size),
            config=self.config.loader,
            policy=NONE,
            mean=tuple(self.metadata["mean"]),
            std=tuple(self.metadata["std"]),
            device=precision.device,
            pixels=pixels,
        )


def variant(figures: dict[str, Any]) -> str:
    """Return what the names of a method's files have before their ending: empty for the plain one.

    >>> variant({"tta": "d4", "average": 3})
    '.tta-d4.average-3'
    """
    return "".join(f".{key}-{figures[key]}" for key in ("tta", "average") if key in figures)


def _write(
    run_dir: Path, part: str, figures: dict[str, Any], predictions: Predictions, dataset: DataSet
) -> None:
    manifest = dataset.manifest
    names = manifest.class_names
    rows = [
        {
            "path": manifest.paths[index],
            "subject": manifest.subjects[index],
            "label": names[label],
            "predicted": names[chances.argmax()],
            **{f"p_{name}": float(chance) for name, chance in zip(names, chances, strict=True)},
        }
        for index, label, chances in zip(
            predictions.indices, predictions.labels, predictions.probabilities, strict=True
        )
    ]
    method = variant(figures)
    write_rows(run_dir / f"{part}_predictions{method}.csv", rows)
    write_json(run_dir / f"{part}_metrics{method}.json", figures)
    picture = f"{'' if part == 'test' else f'{part}_'}confusion_matrix{method}.png"
    title = f"{figures['backbone']}, {part} part of the {figures['split']} split"
    title += f"\n{method[1:].replace('.', ', ')}{', ' if method else ''}"
    title += f"macro-F1 {figures['f1_macro']:.3f}"
    plot_confusion_matrix(
        figures["confusion_matrix"],
        names,
        run_dir / picture,
        title=title,
        synthetic=manifest.synthetic,
    )
