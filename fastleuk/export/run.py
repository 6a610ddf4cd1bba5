"""``fastleuk export``: a run as a file that runs without fastleuk."""

from __future__ import annotations

import copy
import importlib.metadata
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fastleuk.errors import ConfigError, FastleukError, did_you_mean
from fastleuk.evaluation.decision import Decision
from fastleuk.export.about import about
from fastleuk.files import write_atomically
from fastleuk.predict.ensemble import Ensemble
from fastleuk.predict.member import Member
from fastleuk.run_folder.place import writing_place
from fastleuk.run_log import result, say

Report = Callable[[str], None]

FILES = {"onnx": "model.onnx", "torch-export": "model.pt2", "safetensors": "model.safetensors"}
"""Names of the files by format."""

FOLDER = "export"
"""In the run folder."""


def export_run(
    run_dir: Path,
    *,
    format: str = "onnx",
    preprocessing: bool = False,
    int8: bool = False,
    data: str | None = None,
    out: Path | None = None,
    report: Report = say,
) -> Path:
    """Write a run's best weights in a format that other programs read, and check the file.

    What the file needs to be used (classes, preprocessing, temperature, threshold) and where it
    comes from (hashes, licence of the starting weights) stands in its metadata.

    Args:
        run_dir: A folder that ``fastleuk train`` made.
        format: ``onnx``, ``torch-export`` or ``safetensors``; the last is a folder for timm.
        preprocessing: Resize and normalise inside: uint8 images of any size in.
        int8: Beside the ONNX file, write one with int8 weights and activations, and say what it
            costs on the validation part.
        data: Where the data lie now, if they have moved; for ``int8`` only.
        out: The folder to write into; ``RUN/export`` by default.
        report: Takes what is printed.

    Returns:
        The file.

    Raises:
        ConfigError: options that make no sense.
        CheckpointError: a run that can't be used.
        DataError: ``out`` can't be written, or ``int8`` does not find the run's data.
        MissingDependencyError: a package that the format needs is not installed.
        FastleukError: the network can't be exported, or what came of it differs from PyTorch.
    """
    _check(format, preprocessing, int8)
    if out is None and not (run_dir / FOLDER).is_dir() and run_dir.is_dir():
        writing_place(run_dir, None)
    if format == "onnx":
        from fastleuk.export.formats import require_onnx

        require_onnx()
    ensemble = Ensemble([run_dir], device="cpu", report=report)
    try:
        member = ensemble.members[0]
        place = writing_place(run_dir, out or run_dir / FOLDER)
        path = place / FILES[format]
        if format == "safetensors":
            _export_weights(member, path, report)
        else:
            _export_graph(ensemble, path, format, preprocessing, report)
        _tell(member, path, report)
        if int8:
            from fastleuk.export.int8 import export_int8

            export_int8(ensemble, path, preprocessing=preprocessing, data=data, report=report)
    finally:
        ensemble.close()
    return path


def _check(format: str, preprocessing: bool, int8: bool) -> None:
    if format not in FILES:
        hint = did_you_mean(format, FILES)
        raise ConfigError(f"--format is {format!r}, but must be one of {', '.join(FILES)}.{hint}")
    if int8 and format != "onnx":
        raise ConfigError(f"--int8 is for --format onnx, not {format}.")
    if preprocessing and format == "safetensors":
        raise ConfigError(
            "--preprocessing is for --format onnx and torch-export: safetensors holds weights only."
        )


def _export_graph(
    ensemble: Ensemble, path: Path, format: str, preprocessing: bool, report: Report
) -> None:
    from fastleuk.export import formats
    from fastleuk.export.check import compare
    from fastleuk.export.graph import Classifier, Prepare

    member = ensemble.members[0]
    prepare = None
    if preprocessing:
        prepare = Prepare(
            member.loader.size,
            member.metadata["mean"],
            member.metadata["std"],
            repeat_edges=member.loader.loader == "dali",
        )
    network = copy.deepcopy(member.model).requires_grad_(False)
    classifier = Classifier(network, member.decision.temperature, prepare).eval()
    program = formats.to_program(classifier, member.loader.size)
    document = about(member, prepared=preprocessing)
    if format == "onnx":
        data = formats.to_onnx(program, document)
        runs, by = formats.run_onnx(data), f"onnxruntime {_version('onnxruntime')}"
    else:
        data = formats.to_torch_file(program, document)
        runs, by = formats.run_torch_file(data), f"torch {_version('torch')}"
    checked = compare(runs, classifier, ensemble)
    write_atomically(path, lambda file: file.write(data))
    result(
        report,
        f"Checked with {by} on {checked.images} drawn cells, in batches and one by one: "
        f"probabilities differ from PyTorch's by {checked.file:.1e} at most",
    )
    if checked.run > 10 * checked.file or preprocessing:
        dtype = member.identity["precision"]
        why = f"resized by {member.loader.loader}" if preprocessing else "given the same pixels"
        report(f"From `fastleuk predict` ({why}, {dtype}) they differ by {checked.run:.1e} at most")


def _export_weights(member: Member, path: Path, report: Report) -> None:
    import torch

    from fastleuk.export.timm_folder import timm_config, timm_weights, write_timm_folder
    from fastleuk.models.backbone import create_model
    from fastleuk.models.kept import kept_backbone

    weights = timm_weights(member, about(member, prepared=False))
    with tempfile.TemporaryDirectory(prefix="fastleuk-export-") as folder:
        write_timm_folder(Path(folder), weights, timm_config(member))
        again = create_model(
            kept_backbone(member.run_dir, member.metadata["backbone"]),
            num_classes=len(member.class_names),
            weights=str(Path(folder) / path.name),
            size=member.loader.size,
        ).eval()
    size = member.loader.size
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 3, size, size))).float()
    with torch.inference_mode():
        found, wanted = again(images), member.model(images)
    difference = float((found - wanted).abs().max())
    if not difference <= 1e-4:
        raise FastleukError(
            f"{path} was not written: read back, its logits differ from the run's by "
            f"{difference:.2g}."
        )
    write_timm_folder(path.parent, weights, timm_config(member))
    result(report, f"Read back into timm's network: logits differ by {difference:.1e} at most")
    report(f'timm.create_model("local-dir:{path.parent}", pretrained=True) builds it')


def _tell(member: Member, path: Path, report: Report) -> None:
    decision: Decision = member.decision
    report(f"{', '.join(member.class_names)}; {decision.sentence}")
    result(report, f"{path} ({path.stat().st_size / 1e6:.1f} MB). Research use, not for diagnosis")


def _version(package: str) -> str:
    return importlib.metadata.version(package)
