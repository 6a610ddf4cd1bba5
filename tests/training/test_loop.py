"""The loop on batches drawn from nothing: updates, averages, compilation, what never is saved."""

import numpy as np
import pytest
import torch

from fastleuk.augment import NONE
from fastleuk.config import LoaderConfig
from fastleuk.data.discover import discover
from fastleuk.loading import has_dali, make_loader
from fastleuk.loading.batch import Batch
from fastleuk.loading.stream import EvalStream
from fastleuk.training import loop
from fastleuk.training.checkpoint import keeper
from fastleuk.training.checkpoint.file import load_checkpoint
from tests.makers.cells import SUBJECT_REGEX
from tests.makers.trainers import RandomBatches, tiny_trainer
from tests.makers.training_runs import same


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.mark.parametrize(("minutes", "saves"), [(0.0, 3), (1e-9, 9), (60.0, 3)])
def test_checkpoints_come_as_often_as_asked(tmp_path, monkeypatch, minutes, saves):
    """Two epochs of three updates: at the start and each epoch's end, and between if asked."""
    written = []
    monkeypatch.setattr(keeper, "save_checkpoint", lambda path, _: written.append(path))
    tiny_trainer(tmp_path / "run", epochs=2, accumulate=2, checkpoint_every=minutes).fit()
    assert len(written) == saves


def test_accumulated_batches_equal_a_large_one(tmp_path):
    """Without batch statistics, four batches of an update are one batch four times the size."""
    states = []
    for accumulate in (1, 4):
        trainer = tiny_trainer(tmp_path / str(accumulate), accumulate=accumulate, optimizer="sgd")
        trainer.state.model.eval()
        batches = list(RandomBatches(4).epoch())
        if accumulate == 1:
            joined = [torch.cat([getattr(b, n) for b in batches]) for n in ("images", "labels")]
            batches = [Batch(*joined, torch.arange(16))]
        for batch in batches:
            trainer._backward(batch, 1 / accumulate)
        trainer._update()
        states.append(trainer.state.model.state_dict())
    for name, value in states[0].items():
        assert torch.allclose(value, states[1][name], rtol=1e-4, atol=1e-6), name


def test_the_average_is_what_is_validated_and_kept(tmp_path):
    from safetensors.torch import load_file

    trainer = tiny_trainer(tmp_path / "run", ema=0.9, epochs=1)
    trainer.fit()
    kept = load_file(tmp_path / "run" / "best.safetensors")
    averaged, last = trainer.state.ema.module.state_dict(), trainer.state.model.state_dict()
    assert all(torch.equal(kept[name], averaged[name]) for name in kept)
    assert not torch.equal(kept["classifier.weight"], last["classifier.weight"])
    loss = loop.predict(trainer.state.ema.module, trainer.data.val, trainer.precision).loss
    assert trainer.progress.history[0]["val_loss"] == loss


def test_a_compiled_run_keeps_plain_names_and_can_be_resumed_without(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model: _Wrapped(model))
    trainer = tiny_trainer(tmp_path / "run", epochs=1, compile=True, ema=0.9)
    trainer.fit()
    assert trainer.network.calls == 5
    plain = tiny_trainer(tmp_path / "run", epochs=1, ema=0.9)
    state = load_checkpoint(tmp_path / "run" / "last.ckpt")
    assert state["model"].keys() == plain.state.model.state_dict().keys()
    plain.restore(state)
    assert same(plain.state.model.state_dict(), trainer.state.model.state_dict())


class _Wrapped(torch.nn.Module):
    """Renames the parameters as ``torch.compile`` does."""

    def __init__(self, model):
        super().__init__()
        self._orig_mod, self.calls = model, 0

    def forward(self, images):
        self.calls += 1
        return self._orig_mod(images)


def test_weights_that_overflow_never_reach_the_disk(tmp_path):
    """A finite loss with an infinite gradient: only the weights show it."""
    trainer = tiny_trainer(tmp_path / "run", checkpoint_every=1e-9, epochs=1)
    update, seen = trainer._update, 0

    def overflowing():
        nonlocal seen
        seen += 1
        if seen == 3:
            trainer.state.model.conv_stem.weight.grad[0] = float("inf")
        update()

    trainer._update = overflowing
    with pytest.raises(loop.NonFiniteError, match=r"conv_stem.* epoch 1, step 3") as error:
        trainer.fit()
    assert "8.bmp" in str(error.value)
    state = load_checkpoint(tmp_path / "run" / "last.ckpt")
    assert state["progress"]["step"] == 2
    assert all(v.isfinite().all() for v in state["model"].values())
    assert not list((tmp_path / "run").glob("best*"))


def test_the_lr_column_is_that_of_the_epochs_last_step(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", scheduler="cosine", epochs=2, patience=2)
    trainer.fit()
    lrs = [1e-2 * (1 + np.cos(np.pi * update / 10)) / 2 for update in range(10)]
    assert [row["lr"] for row in trainer.progress.history] == pytest.approx([lrs[4], lrs[9]])


@pytest.mark.parametrize("name", ["dali", "torchvision"])
def test_a_loader_draws_nothing_from_torchs_own_state(cells, name):
    """Dropout does; a loader that did too would differ where an epoch is resumed."""
    if name == "dali" and not has_dali():
        pytest.skip("NVIDIA DALI is not installed")
    manifest = discover(cells, subject_regex=SUBJECT_REGEX).manifest
    loader = make_loader(
        manifest=manifest,
        stream=EvalStream(np.arange(8), batch_size=4),
        config=LoaderConfig(loader=name, size=32, workers=int(name == "dali")),
        policy=NONE,
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
        device=torch.device("cpu"),
    )
    before = torch.get_rng_state()
    assert len(list(loader.epoch())) == 2
    assert torch.equal(torch.get_rng_state(), before)
    loader.close()
