"""An ONNX file in int8, and what that costs on the validation part."""

from __future__ import annotations

import dataclasses
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import f1_score

from fastleuk.data.dataset import DataSet
from fastleuk.data.from_config import open_dataset
from fastleuk.data.split.file import read_split
from fastleuk.errors import DataError, FastleukError
from fastleuk.export.about import KEY
from fastleuk.export.check import Runs
from fastleuk.export.formats import INPUT, run_onnx
from fastleuk.files import write_atomically
from fastleuk.loading.decode import decode
from fastleuk.loading.images.encoded import encode_array
from fastleuk.predict.ensemble import Ensemble
from fastleuk.run_folder.names import SPLIT
from fastleuk.run_log import result

Report = Callable[[str], None]

CALIBRATION = 128
"""Training images whose activations set the ranges."""

QUANTISED = ["Conv", "Gemm", "MatMul"]
"""Operators that compute in int8; all others stay in float32."""


def export_int8(
    ensemble: Ensemble,
    path: Path,
    *,
    preprocessing: bool,
    data: str | None,
    report: Report,
) -> Path:
    """Write ``<name>-int8.onnx`` beside an ONNX file.

    Weights are rounded by channel, to 7 bits, since processors without VNNI overflow with 8; the
    activations' ranges are those of :data:`CALIBRATION` training images. Of the validation part
    both files' macro-F1 is printed and kept in the metadata: nothing is chosen by it, nor by test.

    Args:
        ensemble: The run, alone.
        path: Its ONNX file.
        preprocessing: The file resizes and normalises by itself.
        data: Where the data lie now, if they have moved.
        report: Takes what is printed.

    Raises:
        DataError: the run's data or its split aren't there.
        FastleukError: onnxruntime can't quantise the network.
    """
    member = ensemble.members[0]
    dataset, train, val = _parts(member.run_dir, data, report)
    chosen = np.random.default_rng(0).permutation(train)[:CALIBRATION]

    def inputs(rows: np.ndarray) -> Iterator[np.ndarray]:
        return _inputs(ensemble, dataset, rows, raw=preprocessing)

    report(f"Ranges for int8 from {len(chosen)} training images")
    small = _quantise(path, inputs(chosen))
    labels = dataset.manifest.labels[val]
    scores, chances = {}, {}
    for name, content in (("float32", path.read_bytes()), ("int8", small)):
        chances[name] = _run_all(run_onnx(content), inputs(val))
        found = member.decision.labels(chances[name].astype(np.float64))
        scores[name] = float(f1_score(labels, found, average="macro", zero_division=0))
    largest = float(np.abs(chances["int8"] - chances["float32"]).max())
    cost = {
        "part": "val",
        "images": len(val),
        "f1_macro": scores,
        "largest_difference": largest,
        "calibration_images": len(chosen),
    }
    target = path.with_name(f"{path.stem}-int8.onnx")
    content = _with_cost(small, cost)
    write_atomically(target, lambda file: file.write(content))
    result(
        report,
        f"int8: macro-F1 {scores['int8']:.4f} on the {len(val)} validation images, float32 "
        f"{scores['float32']:.4f}: {scores['int8'] - scores['float32']:+.4f}; probabilities differ "
        f"by {largest:.3f} at most",
    )
    sizes = f"{target.stat().st_size / 1e6:.1f} MB, float32 {path.stat().st_size / 1e6:.1f} MB"
    result(report, f"{target} ({sizes})")
    return target


def _parts(
    run_dir: Path, data: str | None, report: Report
) -> tuple[DataSet, np.ndarray, np.ndarray]:
    """Return the run's data and the rows of its training and validation parts."""
    from fastleuk.config import read_config
    from fastleuk.run_folder.names import CONFIG

    if not (run_dir / SPLIT).is_file():
        raise DataError(
            f"--int8 needs the run's training and validation images, and {run_dir / SPLIT}, which "
            "names them, is missing. Leave --int8 out."
        )
    config = read_config(run_dir / CONFIG).data
    dataset = open_dataset(dataclasses.replace(config, data=data or config.data), report=report)
    split = read_split(run_dir / SPLIT, dataset.manifest, dataset.groups, dataset.sha256)
    train, val = split.indices("train"), split.indices("val")
    if not len(val):
        raise DataError(f"{run_dir} has no validation part, on which --int8 says what it costs.")
    return dataset, train, val


def _inputs(
    ensemble: Ensemble, dataset: DataSet, rows: np.ndarray, *, raw: bool
) -> Iterator[np.ndarray]:
    """Yield what the file takes, in the order of ``rows``: images one by one, or a batch."""
    manifest = dataset.manifest
    step = 1 if raw else ensemble.batch_size
    for start in range(0, len(rows), step):
        cells = [
            decode(manifest.file(row), int(manifest.crops[row])) for row in rows[start:][:step]
        ]
        if raw:
            yield cells[0][None]
        else:
            yield ensemble.prepare([encode_array(cell) for cell in cells]).pixels[0].numpy()


def _run_all(runs: Runs, batches: Iterator[np.ndarray]) -> np.ndarray:
    return np.concatenate([runs(np.ascontiguousarray(batch)) for batch in batches])


def _quantise(path: Path, batches: Iterator[np.ndarray]) -> bytes:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(batches, None)
            return None if batch is None else {INPUT: np.ascontiguousarray(batch)}

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ready, small = Path(folder) / "ready.onnx", Path(folder) / "int8.onnx"
        try:
            quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
            quantize_static(
                str(ready),
                str(small),
                Reader(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=QUANTISED,
                nodes_to_exclude=_without_weights(ready),
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        except Exception as error:  # onnxruntime's, of many kinds
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise FastleukError(
                f"onnxruntime can't quantise this network: {reason.rstrip('.')}. {path} is sound; "
                "leave --int8 out."
            ) from error
        return small.read_bytes()


def _without_weights(path: Path) -> list[str]:
    """Return the products of two computed matrices, which stay: the resize, and attention."""
    import onnx

    graph = onnx.load(path).graph
    weights = {each.name for each in graph.initializer}
    return [
        node.name
        for node in graph.node
        if node.op_type == "MatMul" and not weights & set(node.input)
    ]


def _with_cost(data: bytes, cost: dict[str, Any]) -> bytes:
    """Return the file with its cost in the document of the metadata."""
    import onnx

    model = onnx.load_from_string(data)
    for entry in model.metadata_props:
        if entry.key == KEY:
            entry.value = json.dumps({**json.loads(entry.value), "int8": cost})
    return bytes(model.SerializeToString())
