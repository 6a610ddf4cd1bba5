"""TensorBoard is read back from its files; Weights & Biases is a module that takes notes."""

import subprocess
import sys
import types

import pytest

from fastleuk.config import Config, ModelConfig
from fastleuk.errors import FastleukError, MissingDependencyError
from fastleuk.tracking.writers import open_writers

CONFIG = Config(model=ModelConfig(backbone="test_resnet"))


def _row(epoch, loss):
    return {
        "epoch": epoch,
        "train_loss": loss,
        "val_f1_macro": 0.5,
        "val_auc": None,
        "lr": 1e-3,
        "best": 1,
        "images_per_s": 12.5,
        "val_seconds": 0.25,
        "note": "text",
        "ema_decay": float("nan"),
    }


def _scalars(folder):
    """Return {tag: [(step, value), …]} as TensorBoard itself would show them."""
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reading.EventAccumulator(str(folder)).Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(e.step, pytest.approx(e.value)) for e in events.Scalars(tag)] for tag in tags}


def test_tensorboard_gets_the_numbers_of_a_row_in_groups(tmp_path):
    pytest.importorskip("tensorboard")
    with open_writers(tmp_path, CONFIG, tensorboard=True, wandb=False) as writers:
        writers.log(_row(1, 0.7), 1)
        writers.log(_row(2, 0.6), 2)
        live = _scalars(tmp_path / "tensorboard")  # a reader need not wait for the end
    assert live == _scalars(tmp_path / "tensorboard")
    assert live == {
        "train/loss": [(1, 0.7), (2, 0.6)],
        "val/f1_macro": [(1, 0.5), (2, 0.5)],
        "optim/lr": [(1, 1e-3), (2, 1e-3)],
        "run/best": [(1, 1), (2, 1)],
        "time/images_per_s": [(1, 12.5), (2, 12.5)],
        "time/val_seconds": [(1, 0.25), (2, 0.25)],
    }


def test_tensorboard_shows_no_epoch_twice_after_a_resumption(tmp_path):
    pytest.importorskip("tensorboard")
    first = open_writers(tmp_path, CONFIG, tensorboard=True, wandb=False)
    for epoch in (1, 2, 3):
        first.log(_row(epoch, 1 / epoch), epoch)
    first.close()
    # The checkpoint was of epoch 2: epoch 3 comes again, and then 4.
    with open_writers(tmp_path, CONFIG, tensorboard=True, wandb=False) as again:
        for epoch in (3, 4):
            again.log(_row(epoch, 10 / epoch), epoch)
    shown = _scalars(tmp_path / "tensorboard")["train/loss"]
    assert shown == [(1, 1), (2, 1 / 2), (3, 10 / 3), (4, 10 / 4)]


class _FakeRun:
    def __init__(self, step):
        self.step, self.rows, self.finished = step, [], 0

    def log(self, row, step):
        self.rows.append((step, row))
        self.step = step

    def finish(self):
        self.finished += 1


@pytest.fixture
def wandb(monkeypatch):
    """A module that notes how it is used; ``next_step`` is where a resumed run would stand."""
    module = types.ModuleType("wandb")
    module.inits, module.runs, module.next_step = [], [], 0

    def init(**options):
        module.inits.append(options)
        module.runs.append(_FakeRun(module.next_step))
        return module.runs[-1]

    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    for name in ("WANDB_PROJECT", "WANDB_NAME"):
        monkeypatch.delenv(name, raising=False)
    return module


def test_wandb_goes_on_under_the_same_id_and_repeats_no_step(tmp_path, wandb):
    with open_writers(tmp_path, CONFIG, tensorboard=False, wandb=True) as writers:
        for epoch in (1, 2, 3):
            writers.log(_row(epoch, 0.5), epoch)
    wandb.next_step = 4
    with open_writers(tmp_path, CONFIG, tensorboard=False, wandb=True) as writers:
        for epoch in (3, 4):
            writers.log(_row(epoch, 0.4), epoch)
    first, again = wandb.inits
    assert first == again
    assert first["id"]
    assert first["resume"] == "allow"
    assert first["dir"] == str(tmp_path)
    assert first["name"] == tmp_path.name
    assert first["config"]["model"]["backbone"] == "test_resnet"
    assert "mode" not in first  # WANDB_MODE decides
    assert [step for run in wandb.runs for step, _ in run.rows] == [1, 2, 3, 4]
    assert wandb.runs[1].rows[0][1]["train/loss"] == 0.4
    assert "val/auc" not in wandb.runs[0].rows[0][1]
    assert [run.finished for run in wandb.runs] == [1, 1]
    (tmp_path / "other").mkdir()
    open_writers(tmp_path / "other", CONFIG, tensorboard=False, wandb=True).close()
    assert wandb.inits[-1]["id"] != first["id"]


def test_wandb_that_cannot_start_says_how_to_go_on(tmp_path, wandb):
    def refuse(**_):
        raise RuntimeError("api_key not configured")

    wandb.init = refuse
    with pytest.raises(FastleukError, match=r"api_key not configured[\s\S]*WANDB_MODE=offline"):
        open_writers(tmp_path, CONFIG, tensorboard=False, wandb=True)


@pytest.mark.parametrize(
    ("asked", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")]
)
def test_a_missing_package_is_named_with_its_pip_command(tmp_path, monkeypatch, asked, module):
    monkeypatch.setitem(sys.modules, module, None)
    options = {"tensorboard": False, "wandb": False, asked: True}
    with pytest.raises(MissingDependencyError, match=rf"pip install 'fastleuk\[{asked}\]'"):
        open_writers(tmp_path, CONFIG, **options)
    assert not list(tmp_path.iterdir())


def test_nothing_is_imported_or_written_unless_asked_for(tmp_path):
    script = (
        "import sys; from pathlib import Path\n"
        "from fastleuk.config import Config; from fastleuk.tracking.writers import open_writers\n"
        "with open_writers(Path(sys.argv[1]), Config(), tensorboard=False, wandb=False) as w:\n"
        "    w.log({'epoch': 1, 'train_loss': 0.5}, 1)\n"
        "assert not {'torch', 'tensorboard', 'wandb'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    assert not list(tmp_path.iterdir())
