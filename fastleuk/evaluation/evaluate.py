"""Score the best weights of a run on its test split."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from fastleuk.augment import NONE
from fastleuk.config import Config, read_config
from fastleuk.data.load import DataSet
from fastleuk.data.open import open_dataset
from fastleuk.data.split import PARTS, read_split
from fastleuk.errors import CheckpointError, ConfigError
from fastleuk.evaluation.metrics import classification_metrics, format_metrics
from fastleuk.evaluation.plots import plot_confusion_matrix
from fastleuk.evaluation.predict import Predictions, predict
from fastleuk.files import write_json, write_rows
from fastleuk.loading import make_loader, resolve_loader
from fastleuk.loading.prepare import open_pixels
from fastleuk.loading.stream import EvalStream
from fastleuk.memory import keep_freed_memory
from fastleuk.models.backbone import create_model
from fastleuk.models.device import choose_device, choose_precision
from fastleuk.models.weights import METADATA_KEY


def evaluate_run(
    run_dir: Path,
    *,
    part: str = "test",
    data: str | None = None,
    device: str | None = None,
    dataset: DataSet | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Evaluate ``best.safetensors`` on a part of the run's own split.

    Writes ``<part>_metrics.json``, ``<part>_predictions.csv`` and a confusion matrix into the
    run folder. On the same machine the figures repeat exactly.

    Args:
        run_dir: A folder that ``fastleuk train`` made.
        part: ``test``, ``val`` or ``train``.
        data: Where the data lie now, if they have moved.
        device: ``auto``, ``cpu`` or ``cuda[:N]``; the run's own by default.
        dataset: The data set, if it is open already.
        report: Takes what is printed.

    Raises:
        CheckpointError: no run, or no best weights in it.
        DataError: the data are not those of the run's split.
    """
    if part not in PARTS[1:]:
        raise ConfigError(f"--part is {part!r}, but must be one of {', '.join(PARTS[1:])}.")
    if not (run_dir / "config.toml").is_file():
        raise CheckpointError(f"{run_dir} is no run folder: it has no config.toml.")
    config = read_config(run_dir / "config.toml")
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, data=data or config.data.data),
        loader=resolve_loader(config.loader),
    )
    if dataset is None:
        dataset = open_dataset(config.data, report=report)
    split = read_split(run_dir / "split.csv", dataset.manifest, dataset.groups, dataset.sha256)
    metadata = _metadata(run_dir)
    predictions = _predict(run_dir, config, dataset, split.indices(part), metadata, device, report)
    names = dataset.manifest.class_names
    figures = {
        "part": part,
        "split": split.mode,
        "backbone": metadata["backbone"],
        "data": dataset.content_hash,
        "synthetic": dataset.manifest.synthetic,
        "subjects": len({dataset.manifest.subjects[row] for row in predictions.indices}),
        "loss": predictions.loss,
        **classification_metrics(predictions.labels, predictions.probabilities, names),
    }
    _write(run_dir, part, figures, predictions, dataset)
    what = f"{part}: {figures['samples']} images of {figures['subjects']} subjects"
    report(f"\n{what}{', SYNTHETIC demo cells' if figures['synthetic'] else ''}")
    report(format_metrics(figures))
    return figures


def _metadata(run_dir: Path) -> dict[str, Any]:
    best = run_dir / "best.safetensors"
    if not best.is_file():
        raise CheckpointError(f"{best} is missing: no epoch of this run has ended yet.")
    try:
        with safe_open(best, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{best} is damaged: {error}.") from error
    missing = {"backbone", "classes", "size", "mean", "std"} - metadata.keys()
    if missing:
        raise CheckpointError(f"{best} lacks {', '.join(sorted(missing))}: not made by fastleuk.")
    return metadata


def _predict(
    run_dir: Path,
    config: Config,
    dataset: DataSet,
    rows: Any,
    metadata: dict[str, Any],
    device: str | None,
    report: Callable[[str], None],
) -> Predictions:
    names = tuple(metadata["classes"])
    if names != dataset.manifest.class_names:
        raise CheckpointError(
            f"The weights in {run_dir} know the classes {', '.join(names)}, the data have "
            f"{', '.join(dataset.manifest.class_names)}."
        )
    target = choose_device(device or config.run.device)
    keep_freed_memory()
    precision = choose_precision(target, config.optim.amp)
    best = str(run_dir / "best.safetensors")
    model = create_model(metadata["backbone"], num_classes=len(names), weights=best)
    model = model.to(precision.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    loader = make_loader(
        manifest=dataset.manifest,
        stream=EvalStream(rows, batch_size=config.loader.batch_size),
        config=config.loader,
        policy=NONE,
        mean=tuple(metadata["mean"]),
        std=tuple(metadata["std"]),
        device=precision.device,
        pixels=open_pixels(dataset, config.loader, precision.device, report=report),
    )
    try:
        return predict(model, loader, precision)
    finally:
        loader.close()


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
    write_rows(run_dir / f"{part}_predictions.csv", rows)
    write_json(run_dir / f"{part}_metrics.json", figures)
    picture = "confusion_matrix.png" if part == "test" else f"{part}_confusion_matrix.png"
    title = f"{figures['backbone']}, {part} part of the {figures['split']} split"
    title += f"\nmacro-F1 {figures['f1_macro']:.3f}"
    plot_confusion_matrix(
        figures["confusion_matrix"],
        names,
        run_dir / picture,
        title=title,
        synthetic=manifest.synthetic,
    )
