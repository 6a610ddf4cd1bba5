"""A server that the tests of this room share."""

import pytest

from tests.makers.servers import serving
from tests.makers.untrained_runs import untrained_run

pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")
pytest.importorskip("python_multipart", reason="python-multipart is not installed")


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run with random weights."""
    return untrained_run(tmp_path_factory.mktemp("served") / "cells-1")


@pytest.fixture(scope="session")
def server(run):
    """A server with a roomy queue."""
    with serving([run], queue=400) as client:
        yield client
