"""Any timm name: at sizes that aren't its own, from the hub, from a folder."""

import json
import re
import shutil

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import interpolate

from fastleuk.config import read_config
from fastleuk.errors import ConfigError, WeightsError
from fastleuk.explain.network import load_network
from fastleuk.models import backbone_size
from fastleuk.models.backbone import check_backbone, create_model
from fastleuk.models.backbone_size import size_arguments, unseen_pixels
from tests.makers.training_runs import small_options

HUB = "hf-hub:somebody/cells.vit"


@pytest.mark.parametrize("backbone", ["test_vit", "test_vit_relpos", "test_maxvit", "test_resnet"])
def test_a_network_takes_images_of_another_size_than_its_own(backbone):
    if not timm.is_model(backbone):
        pytest.skip(f"timm {timm.__version__} has no {backbone}")
    model = create_model(backbone, num_classes=3, weights="none", size=96).eval()
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 96, 96)).shape == (1, 3)


@pytest.mark.parametrize(
    ("backbone", "size"),
    [
        ("vit_tiny_patch16_224", 112),
        ("deit_tiny_distilled_patch16_224", 64),
        pytest.param("swin_tiny_patch4_window7_224", 96, marks=pytest.mark.slow),
        pytest.param("swinv2_tiny_window8_256", 128, marks=pytest.mark.slow),
        pytest.param("beit_base_patch16_224", 64, marks=pytest.mark.slow),
        ("eva02_tiny_patch14_224", 112),
        ("levit_128s", 96),
        ("coat_lite_tiny", 64),
        ("mixer_s16_224", 64),
        pytest.param("pit_ti_224", 96, marks=pytest.mark.slow),
        pytest.param("maxvit_tiny_tf_224", 64, marks=pytest.mark.slow),
        pytest.param("efficientnet_b3", 300, marks=pytest.mark.slow),
    ],
)
def test_every_family_is_tried_without_memory(backbone, size):
    assert size_arguments(backbone, size) in ({}, {"img_size": size})


def test_its_own_size_is_built_as_ever():
    assert size_arguments("test_vit", 160) == {}
    assert size_arguments("test_efficientnet", 48) == {}


def test_a_size_that_does_not_work_is_refused_with_those_that_do():
    with pytest.raises(ConfigError, match=r"--size 100: .*dla34.*Sizes that work: ") as told:
        size_arguments("dla34", 100)
    named = [int(n) for n in re.findall(r"\d+", str(told.value).split("--size")[-1])]
    assert 224 in named
    for size in named:
        assert size_arguments("dla34", size) in ({}, {"img_size": size})


def test_a_network_without_logits_is_refused(monkeypatch):
    import fastleuk.models.backbone_size as module

    monkeypatch.setattr(module, "_built", lambda *_, **__: _Maps())
    with pytest.raises(ConfigError, match=r"a tensor of \(2, 8\).*No size was found"):
        size_arguments("test_resnet", 77)


class _Maps(torch.nn.Module):
    pretrained_cfg: dict = {}  # noqa: RUF012

    def forward(self, images):
        return images.new_zeros(len(images), 8)


@pytest.mark.parametrize("command", ["train", "cv", "paper", "bench-pipeline"])
def test_the_size_is_refused_before_the_data_are_read(fastleuk, command):
    named = ["--backbones" if command == "paper" else "--backbone", "dla34"]
    arguments = [command, "--data", "/no/such/folder", *named, "--size", "100"]
    if command != "bench-pipeline":
        arguments += ["--weights", "none", "--device", "cpu"]
    code, _, error = fastleuk(*arguments)
    assert code == 2
    assert "Sizes that work" in error


def test_single_images_that_batch_norm_cannot_take_are_refused():
    assert size_arguments("test_efficientnet", 32, images=2) == {}
    with pytest.raises(ConfigError, match=r"--batch-size 1: .*Use --batch-size 2"):
        size_arguments("test_efficientnet", 32, images=1)


def test_pixels_that_no_patch_sees_are_counted():
    assert unseen_pixels("vit_tiny_patch16_224", 100) == (4, 16)
    assert unseen_pixels("vit_tiny_patch16_224", 96) == (0, 16)
    assert unseen_pixels("test_efficientnet", 100) == (0, 0)


def test_position_embeddings_of_a_file_are_resized(tmp_path):
    donor = create_model("test_vit", num_classes=7, weights="none")
    with torch.no_grad():
        donor.pos_embed.normal_()
    save_file(donor.state_dict(), tmp_path / "w.safetensors")
    file = str(tmp_path / "w.safetensors")
    model = create_model("test_vit", num_classes=2, weights=file, size=64)
    assert torch.equal(model.blocks[0].attn.qkv.weight, donor.blocks[0].attn.qkv.weight)
    side = int((donor.pos_embed.shape[1] - 1) ** 0.5)
    grid = donor.pos_embed[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    small = interpolate(grid, (4, 4), mode="bicubic", antialias=True, align_corners=False)
    assert torch.allclose(model.pos_embed[:, 1:], small.flatten(2).transpose(1, 2), atol=1e-5)
    with torch.inference_mode():
        assert model.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 2)
    assert "state_dict" not in model.pretrained_cfg
    with pytest.raises(WeightsError, match="don't fit"):
        create_model("test_vit2", num_classes=2, weights=file, size=64)


@pytest.mark.slow
def test_a_run_at_another_size_is_evaluated_and_resumed(cells, tmp_path, fastleuk):
    out = tmp_path / "run"
    size = ["--backbone", "test_vit", "--size", 48, "--epochs", 1]
    code, _, error = fastleuk("train", "--data", cells, "--out", out, *small_options(), *size)
    assert code == 0, error
    saved = (out / "test_metrics.json").read_bytes()
    assert load_file(out / "best.safetensors")["pos_embed"].shape[1] == 1 + 3 * 3
    for again in (["evaluate", out], ["train", "--resume", out]):
        code, said, _ = fastleuk(*again)
        assert code == 0
        assert "macro" in said
        assert (out / "test_metrics.json").read_bytes() == saved


# The model hub


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that can't be reached, and its cache, empty."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "https://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "hub"


def _publish(folder):
    """Write a model as the hub holds it, at a size of its own; returns its weights."""
    folder.mkdir(parents=True)
    model = create_model("test_vit", num_classes=5, weights="none", size=64)
    save_file(model.state_dict(), folder / "model.safetensors")
    config = {"input_size": [3, 64, 64], "fixed_input_size": True, "num_classes": 5}
    config |= {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "classifier": "head"}
    config |= {"first_conv": "patch_embed.proj"}
    document = {"architecture": "test_vit", "num_classes": 5, "pretrained_cfg": config}
    document["model_args"] = {"img_size": 64}
    (folder / "config.json").write_text(json.dumps(document))
    return model.state_dict()


def test_an_unreachable_hub_is_what_the_error_is_about(hub):
    check_backbone(HUB)
    with pytest.raises(WeightsError, match=r"(?s)127\.0\.0\.1.*somebody/cells\.vit.*local-dir:"):
        create_model(HUB, num_classes=2, weights="none")
    assert not hub.exists() or not list(hub.rglob("config.json"))


@pytest.mark.parametrize("weights", ["hub", "none"])
def test_a_model_in_the_hubs_cache_loads_without_a_network(hub, weights):
    state = _cached(hub)
    model = create_model(HUB, num_classes=2, weights=weights, size=48)
    same = torch.equal(model.blocks[0].attn.qkv.weight, state["blocks.0.attn.qkv.weight"])
    assert same is (weights == "hub")
    assert model.pos_embed.shape[1] == 1 + 3 * 3
    assert size_arguments(HUB, 64) == {}


def _cached(hub):
    """Put the model into the hub's cache; returns its weights."""
    place = hub / "models--somebody--cells.vit"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("abc")
    return _publish(place / "snapshots" / "abc")


@pytest.mark.slow
def test_a_run_needs_the_hub_no_more_once_it_has_begun(hub, cells, tmp_path, fastleuk):
    _cached(hub)
    out, options = tmp_path / "run", [*small_options(), "--backbone", HUB, "--size", 48]
    code, _, error = fastleuk("train", "--data", cells, "--out", out, *options, "--epochs", 1)
    assert code == 0, error
    saved = (out / "test_predictions.csv").read_bytes()
    shutil.rmtree(hub)
    for cached in (backbone_size.size_arguments, backbone_size._built):
        cached.cache_clear()
    for again in (["evaluate", out], ["train", "--resume", out]):
        code, _, error = fastleuk(*again)
        assert code == 0, error
        assert (out / "test_predictions.csv").read_bytes() == saved
    load_network(out, torch.device("cpu")).untrained(seed=0)  # what explain and report do
    code, said, error = fastleuk("train", "--resume", out, "--epochs", 2)
    assert code == 0, error
    assert "in epoch 2" in said
    assert read_config(out / "config.toml").model.backbone == HUB
    shutil.rmtree(out / "backbone")  # a run of an earlier version
    backbone_size.size_arguments.cache_clear()
    code, _, error = fastleuk("evaluate", out)
    assert code == 2
    assert "connect to the internet once" in error


def test_a_model_in_a_folder_loads(tmp_path):
    state = _publish(tmp_path / "model")
    name = f"local-dir:{tmp_path / 'model'}"
    model = create_model(name, num_classes=2, weights="hub")
    assert torch.equal(model.pos_embed, state["pos_embed"])
    assert model.head.out_features == 2


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("1aurent/vit_small_patch14_224.dinobloom", "hf-hub:1aurent/vit_small"),
        ("hf-hub:dinobloom", "OWNER/NAME"),
        ("local-dir:/no/such/folder", r"config\.json is missing"),
        ("resnet18.nonsense", "a1_in1k"),
        ("test_resnt", "test_resnet"),
    ],
)
def test_a_wrong_name_says_what_is_right(name, says):
    with pytest.raises(ConfigError, match=says):
        check_backbone(name)


def test_a_folder_of_another_library_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match="no timm model"):
        create_model(f"local-dir:{tmp_path}", num_classes=2, weights="none")
