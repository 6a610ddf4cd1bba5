"""A run and what was exported from it, once for all tests: tracing a network takes seconds."""

import pytest

from fastleuk.evaluation.decision import Decision, file_hash, write_decision
from fastleuk.export.run import export_run
from tests.makers.untrained_runs import untrained_run

CHOSEN = {"part": "val", "images": 40}


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run with a temperature and a threshold."""
    run = untrained_run(tmp_path_factory.mktemp("run") / "cells-1", spread=100.0)
    chosen = {**CHOSEN, "weights": file_hash(run / "best.safetensors")}
    write_decision(run, Decision(1.7, 0.45, "youden", "ALL", chosen, ("hem", "ALL")))
    return run


@pytest.fixture(scope="session")
def onnx_file(run, tmp_path_factory):
    """With preprocessing inside; and what was said."""
    pytest.importorskip("onnxscript")
    said = []
    out = tmp_path_factory.mktemp("onnx")
    return export_run(run, preprocessing=True, out=out, report=said.append), said
