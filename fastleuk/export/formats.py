"""A classifier as ONNX or as a program of torch.export, as bytes, and what runs it."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from fastleuk.errors import FastleukError, MissingDependencyError
from fastleuk.export.about import KEY
from fastleuk.export.check import Runs
from fastleuk.export.graph import OUTPUTS, Classifier

INPUT = "images"
OPSET = 18
"""Runs in onnxruntime 1.14 and newer."""

LARGEST_ONNX = 2 * 10**9
"""Bytes of a file: what Protocol Buffers can hold."""

_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def require_onnx() -> None:
    """Refuse early what can't be written or checked.

    Raises:
        MissingDependencyError: a package of the extra ``export`` is not installed.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"ONNX needs {', '.join(missing)}: pip install 'fastleuk[export]', or choose --format "
            "torch-export or safetensors."
        )


def to_program(classifier: Classifier, size: int) -> torch.export.ExportedProgram:
    """Trace a classifier with a dynamic batch and, where it prepares images, dynamic sides.

    Raises:
        FastleukError: the network can't be traced.
    """
    batch: Any = torch.export.Dim("batch", min=1, max=65536)
    if classifier.prepare is None:
        example = torch.zeros(2, 3, size, size)
        shapes = {0: batch}
    else:
        example = torch.zeros(2, size + 3, size + 5, 3, dtype=torch.uint8)
        sides = [torch.export.Dim(name, min=8, max=30_000) for name in ("height", "width")]
        shapes = {0: batch, 1: sides[0], 2: sides[1]}
    with _quiet():
        try:
            return torch.export.export(classifier, (example,), dynamic_shapes=(shapes,))
        except Exception as error:  # of many kinds, from inside torch
            raise FastleukError(
                f"torch.export can't trace this network: {_first_line(error)}. --format "
                "safetensors exports its weights for timm."
            ) from error


def to_onnx(program: torch.export.ExportedProgram, about: dict[str, Any]) -> bytes:
    """Translate a program, with ``about`` in the metadata.

    Raises:
        FastleukError: the network has an operation that ONNX lacks, or is too large.
    """
    import onnx

    with _quiet():
        try:
            translated = torch.onnx.export(
                program,
                (),
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except Exception as error:  # of many kinds, from inside torch and onnxscript
            raise FastleukError(
                f"This network can't be written as ONNX: {_first_line(error)}. --format "
                "torch-export may do."
            ) from error
    assert translated is not None
    model = translated.model_proto
    if model.ByteSize() > LARGEST_ONNX:
        raise FastleukError(
            f"The network has {model.ByteSize() / 1e9:.1f} GB, and an ONNX file holds 2 GB at "
            "most: choose --format torch-export."
        )
    onnx.helper.set_model_props(model, onnx_metadata(about))
    model.producer_name = "fastleuk"
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def onnx_metadata(about: dict[str, Any]) -> dict[str, str]:
    """Return the document under one key, and beside it what is asked for most."""
    return {
        KEY: json.dumps(about),
        "classes": json.dumps(about["classes"]),
        "use": about["use"],
        "temperature": repr(about["temperature"]),
        "threshold": "" if about["threshold"] is None else repr(about["threshold"]),
        "starting_weights_licence": about["starting_weights"]["licence"],
    }


def run_onnx(data: bytes, *, threads: int = 0) -> Runs:
    """Return what runs an ONNX file by onnxruntime on the CPU.

    Raises:
        FastleukError: onnxruntime refuses the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own, of several kinds
        raise FastleukError(
            f"onnxruntime does not take the exported network: {_first_line(error)}."
        ) from error

    def run(images: np.ndarray) -> np.ndarray:
        return np.asarray(session.run([OUTPUTS[0]], {INPUT: images})[0])

    return run


def to_torch_file(program: torch.export.ExportedProgram, about: dict[str, Any]) -> bytes:
    """Serialise a program, with ``about`` beside it as ``fastleuk.json``."""
    file = io.BytesIO()
    with _quiet():
        torch.export.save(program, file, extra_files={f"{KEY}.json": json.dumps(about)})
    return file.getvalue()


def run_torch_file(data: bytes) -> Runs:
    """Return what runs a file of :func:`to_torch_file`."""
    with _quiet():
        module = torch.export.load(io.BytesIO(data)).module()

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(images))[0].numpy()

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what torch's exporters have to say to their developers."""
    names = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "torch")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
