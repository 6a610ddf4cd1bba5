"""Weights in other programs' checkpoints: found in whatever wraps them, and reported."""

import argparse
import itertools
import random
import re

import pytest
import torch
from safetensors.torch import save_file

from fastleuk.errors import WeightsError
from fastleuk.models.backbone import create_model
from fastleuk.models.unwrap import unwrap
from fastleuk.models.weights import read_checkpoint

TINY = "test_efficientnet"


@pytest.fixture(scope="module")
def donor():
    torch.manual_seed(3)
    model = create_model(TINY, num_classes=7, weights="none")
    return {name: value.clone() for name, value in model.state_dict().items()}


def under(prefix):
    return lambda state: {prefix + name: value for name, value in state.items()}


def within(key, **more):
    return lambda document: {key: document, **more}


def other(state):
    """Tensors of the same names and shapes, and other values."""
    return {name: value + 1 for name, value in state.items()}


def in_layers(state):
    """Return what compiling, sharding or checkpointing of single blocks makes of names."""
    return {
        re.sub(r"^(blocks\.\d)\.(\d)", r"\1._orig_mod.\2._checkpoint_wrapped_module", name): value
        for name, value in state.items()
    }


LAYERS = [
    lambda state: state,
    under("_orig_mod."),
    under("module."),
    lambda state: {**under("module.")(state), "n_averaged": torch.tensor(5)},
    under("model."),
    under("net."),
    under("backbone.encoder."),
    in_layers,
]
"""What is done to names."""

DOCUMENTS = [
    lambda state: state,
    within("state_dict", epoch=3, optimizer={"state": {0: {"exp_avg": torch.ones(3)}}}),
    within("model", args=argparse.Namespace(lr=0.1)),
    within("model_state_dict", best_acc=0.5),
    within("ema", optimizer_states=[{"state": {}}]),
]
"""What the names are put into."""


def fitted(document, tmp_path, notes=None):
    """Return a model's tensors after loading a document's, the head's left out."""
    file = tmp_path / "w.pth"
    torch.save(document, file)
    report = notes.append if notes is not None else None
    model = create_model(TINY, num_classes=2, weights=str(file), report=report)
    return {name: v for name, v in model.state_dict().items() if not name.startswith("classifier")}


def assert_equal(state, expected):
    wrong = [name for name in state if not torch.equal(state[name], expected[name])]
    assert wrong == []


def test_every_combination_of_wrappings_is_unwrapped(donor):
    """Names wrapped twice, in every order, in a document of one or two levels."""
    expected = {n: tuple(v.shape) for n, v in donor.items() if not n.startswith("classifier")}
    ways = list(itertools.product(LAYERS, LAYERS, DOCUMENTS, DOCUMENTS))
    for first, second, inner, outer in random.Random(5).sample(ways, 400):
        document = outer(inner(second(first(donor))))
        found = unwrap(document, expected)
        assert found is not None
        assert expected.keys() <= found.state.keys(), (list(document)[:3], found.note)
        assert_equal({name: found.state[name] for name in expected}, donor)
        assert bool(found.note) == (document.keys() != donor.keys()), found.note


@pytest.mark.parametrize("layer", LAYERS[1:])
@pytest.mark.parametrize("document", DOCUMENTS[:3])
def test_wrapped_files_load_and_say_so(donor, tmp_path, layer, document):
    notes = []
    assert_equal(fitted(document(layer(donor)), tmp_path, notes), donor)
    (note,) = notes
    assert note.startswith("note: --weights")


def test_plain_files_say_nothing(donor, tmp_path):
    notes = []
    assert_equal(fitted(donor, tmp_path, notes), donor)
    assert notes == []


model, module, encoder = under("model."), under("module."), under("module.encoder_q.")
average = {"n_averaged": torch.tensor(1)}
SIBLINGS = {
    "timm": lambda a, b: {"arch": TINY, "state_dict": b, "state_dict_ema": a},
    "torchvision": lambda a, b: {"model": b, "model_ema": {**module(a), **average}},
    "basicsr": lambda a, b: {"params": b, "params_ema": a},
    "lightning": lambda a, b: {"state_dict": {**model(b), **under("ema_model.module.")(a)}},
    "dino": lambda a, b: {"student": module(b), "teacher": under("backbone.")(a)},
    "shadow": lambda a, b: {"model": b, "ema": {"decay": 0.9, "shadow": a}},
    "moco": lambda a, b: {"state_dict": {**encoder(a), **under("module.encoder_k.")(b)}},
}


@pytest.mark.parametrize("kind", SIBLINGS)
@pytest.mark.parametrize("swapped", [False, True])
def test_of_several_sets_the_averaged_one_is_taken_and_the_other_named(
    donor, tmp_path, kind, swapped
):
    document = SIBLINGS[kind](donor, other(donor))
    if swapped and kind != "moco":
        document = dict(reversed(document.items()))
    notes = []
    assert_equal(fitted(document, tmp_path, notes), donor)
    assert "equally complete, and not used: " in notes[0]


def test_a_larger_teacher_does_not_hide_the_student(donor, tmp_path):
    larger = create_model("test_efficientnet_ln", num_classes=2, weights="none").state_dict()
    wider = {name: torch.zeros(2, *value.shape) for name, value in donor.items()}
    document = {"teacher": {**larger, **wider}, "student": under("module.")(donor)}
    assert_equal(fitted(document, tmp_path), donor)


def test_what_is_left_out_is_named(donor, tmp_path):
    notes = []
    document = {**under("model.")(donor), "criterion.weight": torch.ones(2), "a.b": torch.ones(1)}
    fitted(document, tmp_path, notes)
    assert "names without 'model.'" in notes[0]
    assert "2 other tensors left out (criterion.weight, a.b)" in notes[0]


def test_wrapped_safetensors_load_whatever_their_ending(donor, tmp_path):
    for name in ("w.safetensors", "w.bin"):
        save_file(under("_orig_mod.module.")(donor), tmp_path / name)
        state = create_model(TINY, num_classes=2, weights=str(tmp_path / name)).state_dict()
        assert torch.equal(state["conv_stem.weight"], donor["conv_stem.weight"])


def test_counters_of_batch_normalization_may_be_missing(donor, tmp_path):
    few = {n: v for n, v in donor.items() if not n.endswith("num_batches_tracked")}
    loaded = fitted(few, tmp_path)
    assert_equal({name: loaded[name] for name in few if name in loaded}, donor)


def test_wrapped_embeddings_are_resized_all_the_same(tmp_path):
    vit = create_model("test_vit", num_classes=3, weights="none").state_dict()
    torch.save({"state_dict": under("model._orig_mod.")(vit)}, tmp_path / "w.pth")
    model = create_model("test_vit", num_classes=2, weights=str(tmp_path / "w.pth"), size=64)
    assert torch.equal(model.blocks[0].attn.qkv.weight, vit["blocks.0.attn.qkv.weight"])


def test_what_does_not_fit_is_compared_after_unwrapping(donor, tmp_path):
    lacking = {name: value for name, value in donor.items() if not name.startswith("conv_stem")}
    lacking["bn1.weight"] = torch.zeros(1)
    torch.save({"state_dict": under("model._orig_mod.")(lacking)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError) as told:
        create_model(TINY, num_classes=2, weights=str(tmp_path / "w.pth"))
    text = str(told.value)
    assert "(2 tensors differ)" in text
    assert "'state_dict'" in text
    assert "'model.'" in text
    assert "missing: conv_stem.weight" in text
    assert "bn1.weight: (1,) in the file" in text


def test_another_backbone_is_compared_after_unwrapping(donor, tmp_path):
    torch.save({"model": under("module.")(donor)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="names without 'module") as told:
        create_model("test_vit", num_classes=2, weights=str(tmp_path / "w.pth"))
    assert f"({len(donor) - 2} tensors" not in str(told.value)
    assert ": module" not in str(told.value)


def save_script(file):
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), file)


FOREIGN = {
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS"),
    "page": (b"<!DOCTYPE html><html></html>" * 9, "begins with"),
    "other": (lambda file: torch.save([torch.ones(2), re.compile("a")], file), "re._compile"),
    "script": (save_script, "TorchScript"),
    "list": (lambda file: torch.save([torch.ones(2)], file), "no state dict"),
    "numbers": (lambda file: torch.save({"epoch": 3, "args": {"lr": 1}}, file), "no state dict"),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("kind", FOREIGN)
def test_other_files_are_refused_by_what_they_are(tmp_path, kind):
    content, says = FOREIGN[kind]
    file = tmp_path / "w.pth"
    file.write_bytes(content) if isinstance(content, bytes) else content(file)
    with pytest.raises(WeightsError, match=says):
        create_model(TINY, num_classes=2, weights=str(file))


def test_a_state_of_options_runs_no_code(tmp_path):
    """The types that are let through have attributes and words, and nothing that is called."""
    torch.save({"args": argparse.Namespace(lr=1, out=tmp_path)}, tmp_path / "w.pth")
    read = read_checkpoint(tmp_path / "w.pth")["args"]
    assert (read.lr, read.out) == (1, tmp_path)
    torch.save({"args": argparse.Namespace(name=re.compile("a"))}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"re\._compile"):
        read_checkpoint(tmp_path / "x.pth")
