"""The loader's gpu graph, traced without CUDA; and what only a GPU can run, marked ``gpu``."""

import numpy as np
import pytest
import torch

from fastleuk.augment import NONE, PAPER
from fastleuk.config import LoaderConfig
from fastleuk.data.discover import discover
from fastleuk.loading import has_dali, make_loader
from fastleuk.loading.stream import EvalStream, TrainStream
from tests.makers.cells import SUBJECT_REGEX
from tests.makers.gpu_graphs import check_placement

needs_dali = pytest.mark.skipif(not has_dali(), reason="NVIDIA DALI is not installed")


@pytest.fixture(scope="module")
def manifest(cells):
    return discover(cells, subject_regex=SUBJECT_REGEX).manifest


def _loader(manifest, device, policy=PAPER, size=64, applier="fused"):
    rows = np.arange(len(manifest))
    stream = TrainStream(
        manifest.labels, rows, per_class=40, frozen=False, seed=3, batch_size=16
    ) if policy != NONE else EvalStream(rows, batch_size=16)  # fmt: skip
    return make_loader(
        manifest=manifest,
        stream=stream,
        config=LoaderConfig(loader="dali", size=size, workers=2),
        policy=policy,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.4),
        device=torch.device(device),
        seed=3,
        applier=applier,
    )


@needs_dali
@pytest.mark.parametrize("policy", [PAPER, NONE], ids=["augmented", "plain"])
def test_the_gpu_graph_gives_gpu_outputs_only_and_decodes_mixed(manifest, policy):
    pipeline = _loader(manifest, "cuda:0", policy).build()
    pipeline._build_graph()  # needs no driver
    operators = check_placement(pipeline)
    decoders = [place for name, place in operators if name.lower().startswith("decoders")]
    assert decoders
    assert set(decoders) <= {"gpu", "mixed"}
    assert [node.device for node in pipeline._graph_outputs] == ["gpu"] * 3
    first = next(i for i, (name, _) in enumerate(operators) if name.lower().startswith("decoders"))
    pixels = [place for name, place in operators[first:] if "Warp" in name or "Resize" in name]
    assert set(pixels) == {"gpu"}


@needs_dali
def test_compiled_host_uploads_what_the_cpu_has_augmented(manifest):
    """Traced: nothing but the results goes up, and nothing comes back."""
    pytest.importorskip("numba")
    pipeline = _loader(manifest, "cuda:0", applier="compiled-host").build()
    pipeline._build_graph()
    assert {place for _, place in check_placement(pipeline)} == {"cpu"}
    assert [node.device for node in pipeline._graph_outputs] == ["gpu"] * 3


@needs_dali
@pytest.mark.gpu
def test_batches_from_the_gpu_equal_those_from_the_cpu(manifest):
    # The appliers' own tests hold every step to its tolerance; here: the same whole batches.
    cpu, gpu = (_loader(manifest, device) for device in ("cpu", "cuda:0"))
    std = torch.tensor([0.2, 0.3, 0.4])[:, None, None]
    for left, right in zip(cpu.epoch(1), gpu.epoch(1), strict=True):
        assert right.images.device.type == "cuda"
        assert torch.equal(left.indices, right.indices.cpu())
        assert torch.equal(left.labels, right.labels.cpu())
        levels = 255 * std * (left.images - right.images.cpu()).abs()
        assert float(levels.mean()) < 0.5
    cpu.close()
    gpu.close()


@pytest.mark.gpu
@pytest.mark.parametrize("loader", [pytest.param("dali", marks=needs_dali), "torchvision"])
def test_training_on_the_gpu_is_mixed_precision_and_repeats(cells, tmp_path, loader):
    from fastleuk.evaluation.evaluate import evaluate_run
    from fastleuk.training.run import train
    from tests.training.test_training import _config, _quiet, _rows

    config = _config(cells, tmp_path / "run", device="cuda", amp=True, loader=loader)
    run = train(config, report=_quiet)
    assert len(_rows(run)) == 3
    before = (run / "test_metrics.json").read_bytes()
    evaluate_run(run, report=_quiet)
    assert (run / "test_metrics.json").read_bytes() == before
