"""The exported files: what they compute, what they say of themselves, and who reads them."""

import io
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import torch
from PIL import Image

import fastleuk
from fastleuk.errors import CheckpointError, ConfigError, DataError, FastleukError
from fastleuk.evaluation.decision import file_hash
from fastleuk.export import check
from fastleuk.export.check import drawn_cells
from fastleuk.export.run import export_run
from tests.makers.cells import PROJECT
from tests.makers.training_runs import quiet
from tests.makers.untrained_runs import untrained_run


def predicted(run, cells):
    with fastleuk.load(run, device="cpu") as loaded:
        return loaded.predict(list(cells))


def sessions(path):
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_onnx_says_of_images_what_predict_says(run, onnx_file):
    session = sessions(onnx_file[0])
    for cells in drawn_cells():
        chances, logits = session.run(["probabilities", "logits"], {"images": cells})
        wanted = predicted(run, cells)
        assert chances == pytest.approx(wanted.probabilities, abs=1e-3)
        names = np.where(chances[:, 1] >= 0.45, "ALL", "hem").tolist()
        assert names == wanted.labels
        assert np.exp(logits / 1.7) / np.exp(logits / 1.7).sum(1, keepdims=True) == pytest.approx(
            chances, abs=1e-6
        )


def test_onnx_carries_all_that_is_needed_to_use_it(run, onnx_file):
    about = sessions(onnx_file[0]).get_modelmeta().custom_metadata_map
    found = json.loads(about["fastleuk"])
    assert found["classes"] == json.loads(about["classes"]) == ["hem", "ALL"]
    assert (found["positive"], found["threshold"], found["temperature"]) == ("ALL", 0.45, 1.7)
    assert "chosen on the validation part" in found["label"]
    assert found["sha256"]["weights"] == file_hash(run / "best.safetensors")
    assert found["sha256"]["config"] == file_hash(run / "config.toml")
    assert found["starting_weights"]["licence"] == "none: training began with random weights"
    assert found["preprocessing"]["size"] == 48
    assert found["preprocessing"]["inside"] is True
    assert "not for diagnosis" in about["use"]


def test_what_was_checked_is_said(onnx_file):
    path, said = onnx_file
    (line,) = [line for line in said if "differ from PyTorch's by" in line]
    assert "onnxruntime" in line
    assert float(line.split(" by ")[-1].split()[0]) < 1e-4
    assert str(path) in said[-1]


def test_a_file_that_differs_from_pytorch_is_not_written(run, tmp_path, monkeypatch):
    def wrong(*_, **__):
        return lambda images: np.full((len(images), 2), 0.5, np.float32)

    monkeypatch.setattr("fastleuk.export.formats.run_torch_file", wrong)
    with pytest.raises(FastleukError, match="nothing was written"):
        export_run(run, format="torch-export", out=tmp_path, report=quiet)
    assert list(tmp_path.iterdir()) == []
    assert check._distance(np.array([np.nan]), np.array([0.0])) == np.inf


def test_torch_export_takes_normalised_batches_of_any_length(run, tmp_path):
    path = export_run(run, format="torch-export", out=tmp_path, report=quiet)
    extra = {"fastleuk.json": ""}
    module = torch.export.load(path, extra_files=extra).module()
    assert json.loads(extra["fastleuk.json"])["preprocessing"]["inside"] is False
    from fastleuk.predict.member import Member

    member = Member(run, device="cpu", report=quiet)
    for count in (1, 2, 7):
        pixels = torch.randn(count, 3, 48, 48)
        with torch.inference_mode():
            chances = module(pixels)[0].numpy()
        assert chances == pytest.approx(member.probabilities(pixels), abs=1e-5)


def test_timm_builds_the_folder_and_takes_the_weights(run, tmp_path):
    import timm

    path = export_run(run, format="safetensors", out=tmp_path, report=quiet)
    folder = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    file = timm.create_model("test_efficientnet", num_classes=2, checkpoint_path=str(path)).eval()
    from fastleuk.predict.member import Member

    images = torch.randn(3, 3, 48, 48)
    wanted = Member(run, device="cpu", report=quiet).model(images)
    with torch.inference_mode():
        assert torch.allclose(folder(images), wanted, atol=1e-5)
        assert torch.allclose(file(images), wanted, atol=1e-5)
    config = timm.data.resolve_data_config({}, model=folder)
    assert tuple(config["input_size"]) == (3, 48, 48)
    assert json.loads((tmp_path / "config.json").read_text())["label_names"] == ["hem", "ALL"]


def test_the_example_serves_the_file_without_fastleuk(run, onnx_file):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cells = drawn_cells()[0]
    bytes_ = io.BytesIO()
    Image.fromarray(cells[0]).save(bytes_, format="PNG")
    script = PROJECT / "examples" / "serve_onnx.py"
    assert "import fastleuk" not in script.read_text()
    process = subprocess.Popen(
        [sys.executable, str(script), str(onnx_file[0]), str(port)], stderr=subprocess.DEVNULL
    )
    try:
        answer = ask(f"http://127.0.0.1:{port}", bytes_.getvalue(), process)
    finally:
        process.kill()
        process.wait()
    wanted = predicted(run, cells[:1])
    assert answer["label"] == wanted.labels[0]
    assert list(answer["probabilities"].values()) == pytest.approx(
        wanted.probabilities[0].tolist(), abs=1e-3
    )


def ask(url, data, process):
    """Post to a server that may still be starting."""
    until = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, data, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.URLError:
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)


def test_a_vision_transformer_of_another_size_is_built_by_timm(tmp_path):
    import timm

    run = untrained_run(tmp_path / "run", backbone="test_vit", size=64, spread=1.0)
    export_run(run, format="safetensors", out=tmp_path / "out", report=quiet)
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 2)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"format": "onxx"}, r"must be one of onnx, torch-export, safetensors\. Did you mean onnx"),
        ({"format": "safetensors", "preprocessing": True}, "weights only"),
        ({"format": "torch-export", "int8": True}, "--int8 is for --format onnx"),
    ],
)
def test_options_that_make_no_sense_are_refused(run, options, reason):
    with pytest.raises(ConfigError, match=reason):
        export_run(run, report=quiet, **options)
    assert not (run / "export").exists()


def test_the_command_refuses_what_is_no_run_and_writes_into_the_run(fastleuk, run, tmp_path):
    with pytest.raises(CheckpointError, match="no such run folder"):
        export_run(tmp_path / "nowhere", report=quiet)
    assert not (tmp_path / "nowhere").exists()
    code, text, _ = fastleuk("export", run, "--format", "safetensors")
    assert code == 0
    assert sorted(path.name for path in (run / "export").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    assert "local-dir:" in text
    (run / "export").rename(tmp_path / "moved")


def test_int8_needs_the_split(run, tmp_path, monkeypatch):
    from fastleuk.export import int8

    with pytest.raises(DataError, match=r"split\.csv, which names them, is missing"):
        int8._parts(run, None, quiet)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(FastleukError, match=r"fastleuk\[export\]"):
        export_run(run, out=tmp_path, report=quiet)


@pytest.mark.slow
@pytest.mark.parametrize("preprocessing", [True, False])
def test_int8_is_small_and_its_cost_is_told(cells, tmp_path, preprocessing):
    onnx = pytest.importorskip("onnx")
    from tests.makers.short_runs import short_run

    run = short_run(cells, tmp_path / "run", epochs=4)
    said = []
    path = export_run(
        run, int8=True, preprocessing=preprocessing, out=tmp_path / "out", report=said.append
    )
    small = path.with_name("model-int8.onnx")
    assert small.stat().st_size < 0.6 * path.stat().st_size
    model = onnx.load(small)
    (entry,) = [each.value for each in model.metadata_props if each.key == "fastleuk"]
    cost = json.loads(entry)["int8"]
    assert cost["images"] == 16
    assert any(f"macro-F1 {cost['f1_macro']['int8']:.4f}" in line for line in said)
    for node in model.graph.node:
        if node.op_type == "MatMul":  # of the resize: levels are not rounded to 7 bits
            assert not any("Dequantize" in name for name in node.input)
