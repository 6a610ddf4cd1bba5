"""The loader's gpu graph, traced without CUDA; and what only a GPU can run, marked ``gpu``."""

import numpy as np
import pytest
import torch

from fastleuk.augment import NONE, PAPER
from fastleuk.config import LoaderConfig
from fastleuk.data.discover import discover
from fastleuk.loading import make_loader
from fastleuk.loading.stream import EvalStream, TrainStream
from tests.makers.cells import SUBJECT_REGEX
from tests.makers.gpu_graphs import check_placement
from tests.makers.skips import needs_dali


@pytest.fixture(scope="module")
def manifest(cells):
    return discover(cells, subject_regex=SUBJECT_REGEX).manifest


def _loader(manifest, device, policy=PAPER, size=64, applier="fused", half=False):
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
        half=half,
    )


def _uploads(loader, monkeypatch):
    """What the loader's graph hands to the GPU for its first batch: caught on the CPU."""
    from nvidia.dali import Pipeline
    from nvidia.dali.data_node import DataNode

    def on_cpu(*, device_id, **options):
        assert device_id == 0
        return Pipeline(device_id=None, **options)

    with monkeypatch.context() as patch:
        patch.setattr("fastleuk.loading.dali.loader.Pipeline", on_cpu)
        patch.setattr(DataNode, "gpu", lambda node: node)
        feed = loader._feed()
        pipeline = loader.build(feed)
        feed.begin(loader._stream.batches(1, 0))
        return [np.array(output.as_tensor()) for output in pipeline.run()]


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
def test_compiled_host_uploads_half_the_bytes_for_a_network_in_half_precision(
    manifest, monkeypatch
):
    """Autocast would round the images to float16 there; here they are before they go up."""
    pytest.importorskip("numba")
    images, labels, indices = _uploads(
        _loader(manifest, "cuda:0", applier="compiled-host"), monkeypatch
    )
    assert images.dtype == np.float32
    halves = _uploads(_loader(manifest, "cuda:0", applier="compiled-host", half=True), monkeypatch)
    assert halves[0].dtype == np.float16
    # DALI and NumPy round a value in the middle of two halves in different directions.
    np.testing.assert_array_max_ulp(halves[0], images.astype(np.float16), maxulp=1)
    np.testing.assert_array_equal(halves[1], labels)
    np.testing.assert_array_equal(halves[2], indices)


@pytest.mark.parametrize(
    ("dtype", "mixup", "half"),
    [
        (torch.float16, 0.0, True),
        (torch.float16, 0.2, False),
        (torch.bfloat16, 0.0, False),
        (torch.float32, 0.0, False),
    ],
)
def test_training_lets_images_go_up_in_half_where_they_are_rounded_anyway(
    cells, tmp_path, monkeypatch, dtype, mixup, half
):
    from fastleuk.models.device import Precision
    from fastleuk.training import assemble
    from fastleuk.training import train as run
    from tests.makers.training_runs import quiet, small_config

    class Reached(Exception):
        pass

    def caught(**options):
        assert options["half"] is half
        raise Reached

    resolve = run.resolve_config
    precision = Precision(torch.device("cpu"), dtype)
    monkeypatch.setattr(run, "resolve_config", lambda *a, **k: (resolve(*a, **k)[0], precision))
    monkeypatch.setattr(assemble, "make_loader", caught)
    with pytest.raises(Reached):
        run.train(small_config(cells, tmp_path / "run", mixup=mixup), report=quiet)


@needs_dali
def test_batches_are_float32_whatever_went_up(manifest):
    """On the CPU nothing goes up, and nothing is rounded."""
    pytest.importorskip("numba")
    for applier in ("compiled", "fused"):
        whole, half = (
            next(iter(_loader(manifest, "cpu", applier=applier, half=half).epoch(1)))
            for half in (False, True)
        )
        assert half.images.dtype == torch.float32
        assert torch.equal(whole.images, half.images)


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
    from fastleuk.training.train import train
    from tests.makers.training_runs import metrics, quiet, small_config

    config = small_config(cells, tmp_path / "run", device="cuda", amp=True, loader=loader)
    run = train(config, report=quiet)
    assert len(metrics(run)) == 3
    before = (run / "test_metrics.json").read_bytes()
    evaluate_run(run, report=quiet)
    assert (run / "test_metrics.json").read_bytes() == before
