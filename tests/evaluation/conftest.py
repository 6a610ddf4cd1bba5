"""A trained run, and copies of it that a test may change."""

import shutil

import pytest

from fastleuk import config as cfg
from fastleuk.training.train import train
from tests.makers.cells import SUBJECT_REGEX


@pytest.fixture(scope="session")
def run(cells, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    config = cfg.Config(
        data=cfg.DataConfig(
            data=str(cells), subject_regex=SUBJECT_REGEX, val_fraction=0.25, test_fraction=0.25
        ),
        loader=cfg.LoaderConfig(size=48, batch_size=8, workers=1),
        model=cfg.ModelConfig(backbone="test_efficientnet", weights="none"),
        optim=cfg.OptimConfig(epochs=1, lr=1e-3),
        run=cfg.RunConfig(out=str(out), device="cpu"),
    )
    return train(config, report=lambda _: None)


@pytest.fixture
def copy(run, tmp_path):
    """A copy of the run, with no best-K files."""
    shutil.copytree(run, tmp_path / "run")
    for file in (tmp_path / "run").glob("best-*.safetensors"):
        file.unlink()
    return tmp_path / "run"
