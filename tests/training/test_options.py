"""Options that contradict each other, do nothing, or leave something; recipes and their order."""

import dataclasses
import json
import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from fastleuk.config import RECIPES, Config, assemble, read_config
from fastleuk.errors import ConfigError, MissingDependencyError, WeightsError
from fastleuk.loading import load_policy
from fastleuk.models.backbone import create_model
from fastleuk.models.device import check_compiler, choose_precision, kernels
from fastleuk.training.resolve.checks import check_start
from fastleuk.training.resolve.config import resolve_config
from fastleuk.training.resolve.idle_options import idle_options
from fastleuk.training.train import resume, train
from tests.makers.cells import SUBJECT_REGEX
from tests.makers.trainers import tiny_trainer
from tests.makers.training_runs import metrics, quiet, small_config

CPU = torch.device("cpu")


# What is refused before any work


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"amp_dtype": "fp16"}, "--amp-dtype fp16 needs an NVIDIA GPU"),
        ({"amp_dtype": "fp16", "amp": True}, "--amp-dtype fp16 needs an NVIDIA GPU"),
        ({"cache": "gpu"}, "--cache gpu needs an NVIDIA GPU.* --cache auto"),
        ({"warmup_epochs": 4.0}, "--warmup-epochs 4 is more than --epochs 3"),
        ({"scheduler": "cosine", "min_lr": 0.5}, "--min-lr 0.5 is above --lr"),
        ({"mixup": 0.2, "batch_size": 7}, "--batch-size 7 must be even"),
        ({"grad_checkpointing": True, "backbone": "vgg11"}, "vgg11 does not support it"),
    ],
)
def test_conflicts_are_refused_before_any_file_is_read(tmp_path, changes, says):
    config = small_config(tmp_path / "no-such-data", tmp_path / "run", **changes)
    with pytest.raises(ConfigError, match=says):
        train(config, report=quiet)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("name", "says"), [("run.pth", "could run code"), ("other", "don't fit")])
def test_weights_are_tried_before_any_file_is_read(tmp_path, name, says):
    if name == "other":
        weights = tmp_path / "other.safetensors"
        save_file({"x": torch.zeros(3)}, weights)
    else:
        weights = tmp_path / name
        torch.save({"x": print}, weights)
    with pytest.raises(WeightsError, match=says):
        train(small_config(tmp_path / "nowhere", tmp_path / "run", weights=str(weights)))
    assert not (tmp_path / "run").exists()


def test_trying_weights_draws_no_random_number(tmp_path):
    weights = tmp_path / "weights.safetensors"
    save_file(
        create_model("test_efficientnet", num_classes=3, weights="none").state_dict(), weights
    )
    config = small_config(tmp_path / "nowhere", tmp_path / "run", weights=str(weights))
    before = torch.get_rng_state()
    check_start(config)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_missing_writer_is_refused_before_any_file_is_read(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    config = small_config(tmp_path / "no-such-data", tmp_path / "run", wandb=True)
    with pytest.raises(MissingDependencyError, match="--wandb"):
        train(config, report=quiet)


def test_compiling_needs_a_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(MissingDependencyError, match="no-such-compiler"):
        check_compiler(CPU)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"amp_dtype": "bf16"}, "--amp-dtype bf16 has no effect without --amp"),
        ({"momentum": 0.5}, "--momentum has no effect with --optimizer adam"),
        ({"min_lr": 1e-6}, "--min-lr has no effect"),
        ({"freeze_epochs": 3}, "only the head is trained"),
        ({"originals": 0.2, "per_class": "auto"}, "--originals has no effect"),
        ({"frozen_augmentation": True, "augment": "none"}, "--frozen-augmentation has no effect"),
        ({"applier": "exact", "loader": "torchvision"}, "--applier has no effect"),
        ({"split": "kfold:0/4"}, "--test-fraction has no effect with --split kfold:0/4"),
        ({"keep_best": 4}, "--keep-best 4: there are 3 epochs"),
        ({}, ""),
        ({"momentum": 0.5, "optimizer": "sgd", "amp_dtype": "bf16", "amp": True}, ""),
    ],
)
def test_an_option_without_effect_is_told_in_one_line(changes, says):
    notes = idle_options(small_config("data", "out", **changes))
    assert len(notes) == bool(says)
    assert all(says in note and "\n" not in note for note in notes)


def test_no_recipe_has_an_option_without_effect():
    for recipe in RECIPES:
        assert idle_options(assemble({"run": {"recipe": recipe}})) == []


@pytest.mark.parametrize("native", [True, False])
def test_bf16_that_was_asked_for_by_name_is_given(monkeypatch, native):
    monkeypatch.setattr("fastleuk.models.device.cpu_has_bf16", lambda: native)
    precision = choose_precision(CPU, amp=True, dtype="bf16")
    assert precision.dtype is torch.bfloat16
    assert ("slow" in precision.notice) is not native


def test_a_run_from_a_gpu_can_be_resumed_without_one(tmp_path):
    config = small_config("data", tmp_path, cache="gpu")
    assert resolve_config(config, quiet, resuming=True)[0].loader.cache == "auto"


# Recipes, files and the command line


def test_recipe_then_file_then_options(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[run]\nrecipe = 'strong'\n[optim]\nlr = 2e-3\nepochs = 12\n")
    config = assemble({"optim": {"epochs": 4}}, file=file)
    strong = RECIPES["strong"]["optim"]
    assert config.optim.epochs == 4  # the command line's
    assert config.optim.lr == 2e-3  # the file's
    assert config.optim.ema == strong["ema"]  # the recipe's
    assert config.optim.patience == Config().optim.patience  # the default
    assert assemble({"run": {"recipe": "paper"}}, file=file).optim.optimizer == "adam"
    assert assemble({}) == Config()
    assert Config.from_toml(config.to_toml()) == config


def test_a_partial_file_is_checked_by_its_own_name(tmp_path):
    file = tmp_path / "mine.toml"
    for text, says in (
        ("[optim]\nepoch = 3", r"mine\.toml.*epochs"),
        ("[optim]\nlr = 'high'", r"lr of \[optim\] in .*mine\.toml must be float"),
        ("[run]\nrecipe = 'storng'", "--recipe is 'storng'.*did you mean strong"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=says):
            assemble({}, file=file)


def test_the_strong_recipe_keeps_a_cells_size_and_draws_any_angle():
    policy = load_policy(assemble({"run": {"recipe": "strong"}}).augment.augment)
    assert policy.p_crop == policy.p_affine == policy.p_perspective == 0
    assert policy.degrees == (-180, 180)


@pytest.fixture
def assembled(monkeypatch, fastleuk):
    """Return the configuration that a command line leads to."""
    seen = []
    monkeypatch.setattr("fastleuk.training.train.train", lambda config, **_: seen.append(config))

    def run(*arguments):
        code, _, error = fastleuk("train", *arguments)
        assert code == 0, error
        return seen.pop()

    return run


def test_what_stands_on_the_command_line_wins_even_if_it_is_the_default(assembled, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[optim]\nlr = 2e-3\namp = true\n")
    config = assembled("--config", file, "--recipe", "strong", "--lr", "1e-4", "--no-amp")
    assert (config.optim.lr, config.optim.amp) == (1e-4, False)
    assert config.optim.scheduler == "cosine"
    assert assembled("--config", file).optim.amp is True
    assert assembled() == Config()


def test_every_field_is_an_option_and_stands_in_the_help(fastleuk, assembled):
    code, said, _ = fastleuk("train", "--help")
    assert code == 0
    names = []
    for section in dataclasses.fields(Config):
        for field in dataclasses.fields(section.default_factory):
            option = "--" + field.name.replace("_", "-")
            assert re.search(rf"^  {option}\b", said, re.MULTILINE), option
            names.append(field.name)
            value = {"recipe": "strong", "device": "cuda:3", "amp_dtype": "fp16"}.get(field.name)
            if isinstance(field.default, float):
                value = field.default / 2 + 0.125
            elif isinstance(field.default, int):
                value = field.default + 16
            if isinstance(field.default, bool) or value is None:
                continue
            config = assembled(option, value)
            assert getattr(getattr(config, section.name), field.name) == value
    assert len(names) == len(set(names)), "two sections share an option"
    for panel in ("Run:", "Data:", "Training:"):
        assert panel in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--recipe", "storng"], "did you mean strong"),
        (["--config", "/no/such.toml"], "/no/such.toml"),
        (["--optimizer", "adamm"], "did you mean adam"),
        (["--ema", "1"], "--ema"),
        (["--layer-decay", "0"], "--layer-decay"),
        (["--accumulate", "0"], "--accumulate"),
        (["--device", "cpu", "--amp-dtype", "fp16", "--amp"], "fp16"),
        (["--device", "cpu", "--cache", "gpu"], "--cache gpu"),
        (["--resume", "x", "--recipe", "strong"], "leave out --recipe"),
        (["--resume", "x", "--no-amp", "--config", "c"], "leave out --amp, --config"),
    ],
)
def test_bad_options_exit_with_2_and_one_message(fastleuk, arguments, says):
    code, _, error = fastleuk("train", *arguments)
    assert code == 2
    assert says in error
    assert "Traceback" not in error


# What options leave behind


def test_the_strong_recipe_trains_and_says_what_had_no_effect(cells, tmp_path):
    said = []
    base = assemble({"run": {"recipe": "strong"}})
    config = small_config(cells, tmp_path / "run")
    config = replace(config, optim=replace(base.optim, epochs=2), augment=base.augment)
    run = train(config, report=said.append)
    assert len(metrics(run)) == 2
    assert read_config(run / "config.toml").optim.layer_decay == base.optim.layer_decay < 1
    assert any("--class-weights balanced has no effect" in line for line in said)  # 32 of each


@pytest.mark.slow
def test_a_profile_is_a_trace_and_a_table_whose_parts_add_up(cells, tmp_path):
    said, steps = [], 3
    config = small_config(cells, tmp_path / "run", profile=steps, tensorboard=True)
    run = train(config, report=said.append)
    table = next(text for text in said if text.startswith("profile: means of 3 steps"))
    times = {m[1]: float(m[2]) for m in re.finditer(r"^  (.+?) +([\d.]+) ms", table, re.MULTILINE)}
    parts = ("data wait", "forward", "backward", "optimiser", "other")
    assert set(times) == {*parts, "step"}
    assert sum(times[part] for part in parts) == pytest.approx(times["step"], abs=0.05)
    assert min(times["forward"], times["backward"], times["optimiser"]) > 0
    assert (run / "profile.txt").read_text().startswith(table)
    events = json.loads((run / "profile.json").read_text())["traceEvents"]
    counts = {part: sum(event.get("name") == part for event in events) for part in parts[:4]}
    assert counts.pop("data wait") in (steps, steps + 1)  # an epoch's end is waited for, too
    assert set(counts.values()) == {steps}
    plain = train(small_config(cells, tmp_path / "plain"), report=quiet)
    assert metrics(plain) == metrics(run)
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))


def test_a_run_too_short_for_a_profile_says_so(tmp_path):
    said = []
    tiny_trainer(tmp_path / "run", epochs=1, profile=4, report=said.append).fit()
    assert any("--profile 4 measured nothing: the run had 5 steps" in line for line in said)


def test_gradient_checkpointing_changes_no_gradient(tmp_path):
    gradients = []
    for on in (False, True):
        trainer = tiny_trainer(tmp_path / str(on))
        trainer.state.model.eval()
        trainer.state.model.drop_rate = 0.0
        trainer.state.model.set_grad_checkpointing(on)
        trainer._backward(next(trainer.data.train.epoch()), 1.0)
        gradients.append([p.grad for p in trainer.state.model.parameters()])
    for left, right in zip(*gradients, strict=True):
        assert torch.allclose(left, right, atol=1e-6)


def test_freezing_and_grad_checkpointing_through_the_whole_run(cells, tmp_path):
    config = small_config(
        cells, tmp_path / "run", epochs=1, freeze_epochs=1, grad_checkpointing=True, keep_best=2
    )
    said = []
    run = train(config, report=said.append)
    assert any("only the head is trained" in line for line in said)
    assert (run / "best-1.safetensors").read_bytes() == (run / "best.safetensors").read_bytes()


def test_deterministic_training_leaves_the_process_as_it_was(cells, tmp_path):
    run = train(small_config(cells, tmp_path / "run", epochs=1, deterministic=True), report=quiet)
    assert not torch.are_deterministic_algorithms_enabled()
    assert len(metrics(run)) == 1


def test_an_operation_that_cannot_repeat_is_a_clear_error():
    with (
        pytest.raises(ConfigError, match=r"--deterministic: put_ .*Leave it out"),
        kernels(CPU, deterministic=True),
    ):
        torch.zeros(3).put_(torch.tensor([1]), torch.tensor([2.0]))
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.slow
def test_a_compiled_run_learns_the_same(cells, tmp_path):
    plain = train(small_config(cells, tmp_path / "plain", epochs=1), report=quiet)
    compiled = train(
        small_config(cells, tmp_path / "compiled", epochs=1, compile=True), report=quiet
    )
    (left,), (right,) = metrics(plain), metrics(compiled)
    assert float(right["train_loss"]) == pytest.approx(float(left["train_loss"]), rel=1e-3)
    resume(compiled, report=quiet)


def test_the_subject_regex_of_the_tests_is_an_option(assembled):
    assert assembled("--subject-regex", SUBJECT_REGEX).data.subject_regex == SUBJECT_REGEX
