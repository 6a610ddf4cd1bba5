"""Trainers of a network in miniature, on batches drawn from nothing: they need no images."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from fastleuk.config import OptimConfig, RunConfig
from fastleuk.loading.batch import Batch
from fastleuk.models.backbone import create_model
from fastleuk.models.device import choose_precision
from fastleuk.training.assemble import initial_state
from fastleuk.training.checkpoint.keeper import Keeper
from fastleuk.training.loop import Trainer, TrainingData
from fastleuk.training.objective import Objective
from fastleuk.training.reports.profile import StepProfile
from tests.makers.training_runs import quiet

CPU = torch.device("cpu")


class Killed(BaseException):
    """What SIGKILL is to a process: nothing below may catch it."""


class RandomBatches:
    """A loader of random batches, a pure function of (epoch, step)."""

    def __init__(self, count: int, *, fixed: bool = False) -> None:
        self._count, self._fixed = count, fixed

    def __len__(self) -> int:
        return self._count

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        for step in range(start, self._count):
            torch_seed = step if self._fixed else 1000 * epoch + step
            generator = torch.Generator().manual_seed(torch_seed)
            labels = torch.arange(4) % 2
            images = torch.randn(4, 3, 32, 32, generator=generator) + labels[:, None, None, None]
            yield Batch(images, labels, torch.arange(4) + 4 * step)

    def close(self) -> None:
        """Nothing to free."""


def tiny_trainer(run_dir: Path, *, report=quiet, **changes) -> Trainer:
    """Return a trainer of five batches an epoch; ``changes`` are options of training and run."""
    names = {f.name for f in dataclasses.fields(RunConfig)}
    run = RunConfig(seed=3, **{k: v for k, v in changes.items() if k in names})
    mine = {k: v for k, v in changes.items() if k not in names}
    optim = OptimConfig(**{"epochs": 3, "lr": 1e-2, **mine})
    torch.manual_seed(5)
    model = create_model("test_efficientnet", num_classes=2, weights="none")
    model.drop_rate = 0.3  # dropout draws from torch's own state
    run_dir.mkdir(exist_ok=True)
    precision = choose_precision(CPU, amp=False)
    return Trainer(
        state=initial_state(model, optim, precision, batches=5),
        objective=Objective(optim, counts=np.array([14, 6]), seed=run.seed, device=CPU),
        data=TrainingData(
            train=RandomBatches(5),
            val=RandomBatches(3, fixed=True),
            class_names=("a", "b"),
            files=[f"{row}.bmp" for row in range(20)],
        ),
        precision=precision,
        config=optim,
        run=run,
        keeper=Keeper(
            run_dir,
            CPU,
            seed=run.seed,
            metadata={"backbone": "test_efficientnet"},
            keep_best=optim.keep_best,
            every=60 * run.checkpoint_every,
        ),
        profile=StepProfile(run.profile, run_dir=run_dir, report=report),
        report=report,
    )


def die_at(patch, owner, name: str, ready) -> None:
    """Raise :class:`Killed` instead of a call of ``owner.name`` as soon as ``ready()`` is true."""
    real = getattr(owner, name)

    def dying(*arguments, **named):
        if ready():
            raise Killed
        return real(*arguments, **named)

    patch.setattr(owner, name, dying)


def counting(when: int):
    """Return a function that is true at its ``when``-th call."""
    calls = iter(range(1, when + 1))
    return lambda: next(calls, 0) == when
