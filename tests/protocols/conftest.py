"""What the tests of the protocols train on, and a training that only pretends."""

import pytest

from fastleuk.data.demo.generate import write_demo
from fastleuk.protocols import jobs
from tests.makers.protocol_runs import PretendedTraining


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """90 synthetic cells of 60 subjects: three official folds and a preliminary set."""
    return write_demo(tmp_path_factory.mktemp("demo") / "set", cells=90)


@pytest.fixture
def pretended(monkeypatch):
    """Stands in for every training of a protocol."""
    training = PretendedTraining()
    monkeypatch.setattr(jobs, "train", training)
    return training
