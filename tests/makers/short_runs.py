"""A run of the disc cells that takes a second."""

from pathlib import Path

from fastleuk import config as cfg
from fastleuk.training.run import train
from tests.makers.cells import SUBJECT_REGEX
from tests.makers.protocol_runs import quiet


def short_run(cells: Path, out: Path, **optim) -> Path:
    """Train one epoch on :func:`tests.makers.cells.write_cells`; ``large`` is positive."""
    config = cfg.Config(
        data=cfg.DataConfig(
            data=str(cells),
            subject_regex=SUBJECT_REGEX,
            val_fraction=0.25,
            test_fraction=0.25,
            positive="large",
        ),
        loader=cfg.LoaderConfig(size=48, batch_size=8, workers=1),
        model=cfg.ModelConfig(backbone="test_efficientnet", weights="none"),
        optim=cfg.OptimConfig(**{"epochs": 1, "lr": 1e-3, **optim}),
        run=cfg.RunConfig(out=str(out), device="cpu"),
    )
    return train(config, report=quiet)
