"""What the loop is made of: learning rates, groups, averages, losses, files of the best epochs."""

import dataclasses
import itertools
import json
import logging
import math

import numpy as np
import pytest
import torch
from safetensors import safe_open
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from fastleuk.config import OptimConfig
from fastleuk.errors import ConfigError, FastleukError
from fastleuk.models.backbone import create_model
from fastleuk.models.device import kernels
from fastleuk.training.checkpoint import best
from fastleuk.training.objective import Objective, SeededMixup
from fastleuk.training.optimizer import (
    build_average,
    build_optimizer,
    build_schedule,
    head_of,
    train_mode,
    update_share,
)
from fastleuk.training.step_losses import StepLosses, non_finite

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model("test_efficientnet", num_classes=2, weights="none")


def _lrs(config, updates_per_epoch, updates):
    optimizer = build_optimizer(torch.nn.Linear(2, 2), config, CPU)
    schedule = build_schedule(optimizer, config, updates_per_epoch=updates_per_epoch)
    lrs = []
    for update in range(updates):
        lrs.append(optimizer.param_groups[0]["lr"])
        schedule.step_update(update + 1)
    return lrs


def test_the_paper_recipe_keeps_its_learning_rate():
    assert _lrs(OptimConfig(), 7, 400) == [1e-4] * 400


def test_warm_up_then_cosine_is_the_formula():
    config = OptimConfig(
        epochs=6, lr=0.1, scheduler="cosine", warmup_epochs=1.5, min_lr=0.01, optimizer="sgd"
    )
    warmup, total = 15, 60
    expected = [0.1 * (t + 1) / (warmup + 1) for t in range(warmup)]
    for t in range(total - warmup):
        share = (1 + math.cos(math.pi * t / (total - warmup))) / 2
        expected.append(0.01 + 0.09 * share)
    assert _lrs(config, 10, total) == pytest.approx(expected, rel=1e-12)


def test_a_constant_rate_warms_up_too():
    lrs = _lrs(OptimConfig(epochs=2, lr=0.1, warmup_epochs=0.4), 10, 20)
    assert lrs == pytest.approx([0.02, 0.04, 0.06, 0.08] + [0.1] * 16)


def test_each_layer_learns_slower_than_the_next_and_norms_do_not_decay(model):
    config = OptimConfig(optimizer="adamw", weight_decay=0.05, layer_decay=0.5, lr=0.1)
    optimizer = build_optimizer(model, config, CPU)
    build_schedule(optimizer, config, updates_per_epoch=3)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    lr, decay = {}, {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            lr[names[id(parameter)]] = group["lr"]
            decay[names[id(parameter)]] = group["weight_decay"]
    assert lr.keys() == set(names.values())
    assert lr["classifier.weight"] == pytest.approx(0.1)
    assert lr["conv_stem.weight"] < lr["blocks.1.0.conv_exp.weight"] < lr["conv_head.weight"]
    steps = sorted(set(lr.values()))
    assert all(b / a == pytest.approx(2) for a, b in itertools.pairwise(steps))
    for name, parameter in model.named_parameters():
        assert decay[name] == (0 if parameter.ndim == 1 or name.endswith("bias") else 0.05), name


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_every_optimiser_learns(optimizer):
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 2)
    config = OptimConfig(optimizer=optimizer, lr=0.05, momentum=0.5)
    optim = build_optimizer(layer, config, CPU)
    assert optim.param_groups[0]["fused"]
    images, labels = torch.randn(64, 4), torch.randint(2, (64,))
    images[:, 0] += 3 * labels
    first = last = None
    for _ in range(60):
        loss = F.cross_entropy(layer(images), labels)
        optim.zero_grad()
        loss.backward()
        optim.step()
        first, last = first or loss.item(), loss.item()
    assert last < 0.5 * first


def test_sgd_without_momentum_is_plain_sgd():
    weight, gradient = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 4.0]])
    layer = torch.nn.Linear(2, 1, bias=False)
    layer.weight.data = weight.clone()
    optim = build_optimizer(layer, OptimConfig(optimizer="sgd", lr=0.1, momentum=0.0), CPU)
    for step in range(1, 4):
        layer.weight.grad = gradient.clone()
        optim.step()
        assert torch.allclose(layer.weight, weight - 0.1 * step * gradient)


def test_a_frozen_phase_trains_the_head_and_nothing_else():
    model = create_model("test_efficientnet", num_classes=2, weights="none")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = build_optimizer(model, OptimConfig(lr=0.1), CPU)
    for head_only in (True, False):
        train_mode(model, head_only=head_only)
        F.cross_entropy(model(torch.randn(4, 3, 32, 32)), torch.tensor([0, 1, 0, 1])).backward()
        optimizer.step()
        optimizer.zero_grad()
        changed = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
        if head_only:
            assert changed == {"classifier.weight", "classifier.bias"}
    assert {"conv_stem.weight", "bn1.running_mean"} <= changed


def test_a_model_without_a_head_can_not_be_frozen():
    with pytest.raises(ConfigError, match="--freeze-epochs"):
        head_of(torch.nn.Linear(2, 2))


@pytest.mark.parametrize(("steps", "accumulate"), [(1, 1), (7, 3), (6, 3), (2, 5), (9, 4)])
def test_every_batch_counts_the_same_within_an_update_and_the_last_ends_one(steps, accumulate):
    shares = [update_share(step, steps, accumulate) for step in range(steps)]
    assert sum(share for share, _ in shares) == pytest.approx(math.ceil(steps / accumulate))
    assert sum(last for _, last in shares) == math.ceil(steps / accumulate)
    assert shares[-1][1]


def test_the_average_follows_weights_and_statistics_alike():
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    ema = build_average(model, 0.9)
    history = []
    for update in range(1, 60):
        with torch.no_grad():
            for value in model.state_dict().values():
                value.copy_(torch.randn_like(value) if value.is_floating_point() else value + 1)
        history.append({k: v.double().clone() for k, v in model.state_dict().items()})
        ema.update(model, step=update)
    for name in ("0.weight", "1.running_var"):
        expected = history[0][name]
        for update, state in enumerate(history[1:], start=2):
            decay = min(1 - update ** (-2 / 3), 0.9)
            expected = decay * expected + (1 - decay) * state[name]
        assert torch.allclose(ema.module.state_dict()[name].double(), expected, atol=1e-5)
    assert ema.module.state_dict()["1.num_batches_tracked"] == 59
    assert build_average(model, 0.0) is None


# The objective


def test_balanced_weights_are_scikit_learns():
    labels = np.array([0] * 30 + [1] * 7 + [2] * 13)
    config = OptimConfig(class_weights="balanced", label_smoothing=0.1)
    objective = Objective(config, counts=np.bincount(labels), seed=0, device=CPU)
    weights = torch.tensor(
        compute_class_weight("balanced", classes=np.arange(3), y=labels), dtype=torch.float32
    )
    logits = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    images = torch.zeros(50, 3, 1, 1)
    _, targets = objective.prepare(images, torch.from_numpy(labels), epoch=0, step=0)
    smooth = 0.9 * F.one_hot(torch.from_numpy(labels)).float() + 0.1 / 3
    expected = -(smooth * weights * logits.log_softmax(1)).sum(1).mean()
    assert objective(logits, targets).item() == pytest.approx(expected.item(), rel=1e-6)


def test_without_options_the_objective_is_cross_entropy():
    objective = Objective(OptimConfig(), counts=np.array([3, 1]), seed=0, device=CPU)
    logits, labels = torch.randn(6, 2), torch.tensor([0, 1, 1, 0, 1, 0])
    images = torch.randn(6, 3, 2, 2)
    same, targets = objective.prepare(images, labels, epoch=4, step=2)
    assert same is images
    assert torch.equal(objective(logits, targets), F.cross_entropy(logits, labels))


def test_mixup_is_a_pure_function_of_seed_epoch_and_step():
    images = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 0, 0, 1, 1, 1])

    def mixed(seed, epoch, step):
        return SeededMixup(0.5, 2, seed).at(epoch, step)(images.clone(), labels)

    drawn = {}
    for place in itertools.product((0, 1), (0, 1), (0, 1)):
        np.random.seed(sum(place))  # what other code does to the global state is no matter
        left, targets = mixed(*place)
        right, again = mixed(*place)
        assert torch.equal(left, right)
        assert torch.equal(targets, again)
        share = targets[0, 0].item()
        assert torch.allclose(left, share * images + (1 - share) * images.flip(0), atol=1e-6)
        drawn[place] = share
    assert len(set(drawn.values())) == 8


def test_mixups_shares_are_beta_distributed():
    from scipy import stats

    mixup = SeededMixup(0.4, 2, seed=3)
    shares = [mixup.at(epoch, step)._share for epoch in range(20) for step in range(50)]
    assert stats.kstest(shares, stats.beta(0.4, 0.4).cdf).pvalue > 1e-3


# The losses


def _added(losses, values):
    for step, value in enumerate(values):
        rows = torch.tensor([2 * step, 2 * step + 1])
        losses.add(step, torch.tensor(value), rows, lr=0.5 / (step + 1))


def test_the_sum_does_not_depend_on_when_it_is_looked_at():
    values = np.random.default_rng(0).random(40).astype(np.float32).tolist()
    sums = []
    for every in (1, 7, 40):
        losses = StepLosses(0, files=[], total=0.25)
        for step, value in enumerate(values):
            losses.add(step, torch.tensor(value), torch.tensor([0]), 0.1)
            if step % every == 0:
                losses.check()
        sums.append(losses.check())
    assert sums[0] == sums[1] == sums[2]
    assert sums[0] == pytest.approx(0.25 + sum(values))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_first_loss_that_is_not_finite_is_named(bad):
    losses = StepLosses(4, files=[f"cell-{row}.bmp" for row in range(8)], advice="Do so.")
    _added(losses, [1.0, bad, math.nan, 1.0])
    with pytest.raises(
        FastleukError, match=r"epoch 5, step 2, at learning rate 0\.25\. Do so"
    ) as e:
        losses.check()
    assert str(e.value).split()[-2:] == ["cell-2.bmp", "cell-3.bmp"]


def test_a_state_that_is_not_finite_is_named():
    losses = StepLosses(0, files=["a.bmp", "b.bmp"])
    _added(losses, [1.0])
    state = {"w": torch.ones(3), "n": torch.tensor(3), "v": torch.tensor([1.0, math.inf])}
    assert non_finite(state.items()) == ["v"]
    with pytest.raises(FastleukError, match=r"v in epoch 1, step 1(.|\n)*a\.bmp\n *b\.bmp"):
        losses.check_tensors(state.items())
    losses.check_tensors([("w", state["w"]), ("n", state["n"])])


# The best epochs' files


class _Cut(Exception):
    pass


def _files(folder):
    found = {}
    for file in sorted(folder.glob("best*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            tensor = opened.get_tensor("weight")[0, 0].item()
            metadata = json.loads(opened.metadata()["fastleuk"])
        assert tensor == metadata["epoch"], file
        found[file.stem] = metadata["epoch"]
    return found


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_best_epochs_are_kept_even_if_it_is_cut_short_anywhere(tmp_path, monkeypatch, count):
    scores = [0.3, 0.5, 0.5, 0.2, 0.9, 0.4, 0.95]
    losses = [0.6, 0.7, 0.6, 0.9, 0.2, 0.4, 0.9]
    layer = torch.nn.Linear(1, 1)
    replace, left = best.os.replace, 0

    def limited(*paths):
        nonlocal left
        left -= 1
        if left < 0:
            raise _Cut
        replace(*paths)

    monkeypatch.setattr("os.replace", limited)
    kept = []
    for epoch, (f1, loss) in enumerate(zip(scores, losses, strict=True), start=1):
        with torch.no_grad():
            layer.weight.fill_(epoch)
        new = {"epoch": epoch, "val_f1_macro": f1, "val_loss": loss}
        kept = best.ranked(kept, new, count)
        for moves in itertools.count():  # cut after one more move each time, as often as it takes
            left = moves
            try:
                best.write_best(tmp_path, layer, kept, epoch=epoch, metadata={})
                assert best.publish(tmp_path, kept, count=count) == []
            except _Cut:
                continue
            break
        ranking = [k["epoch"] for k in kept]
        expected = {f"best-{r}": e for r, e in enumerate(ranking, 1)} if count > 1 else {}
        assert _files(tmp_path) == {**expected, "best": ranking[0]}
        assert not list(tmp_path.glob(".*"))
    assert [k["epoch"] for k in kept] == [7, 5, 3][:count]


# Kernels


def test_the_choice_of_kernels_ends_with_its_context():
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    with kernels(CPU, deterministic=True):
        assert torch.are_deterministic_algorithms_enabled()
        assert cudnn.deterministic
        assert not cudnn.benchmark
    with kernels(torch.device("cuda", 0), deterministic=False):
        assert cudnn.benchmark
    assert (cudnn.benchmark, cudnn.deterministic) == before
    assert not torch.are_deterministic_algorithms_enabled()


def test_timm_does_not_complain_of_the_smallest_schedule(caplog):
    with caplog.at_level(logging.WARNING):
        config = dataclasses.replace(OptimConfig(), epochs=2, scheduler="cosine")
        build_schedule(
            build_optimizer(torch.nn.Linear(1, 1), config, CPU), config, updates_per_epoch=1
        )
    assert not caplog.records
