"""The gpu graph of every applier: traced where there is no GPU, compared where there is one."""

import numpy as np
import pytest
from nvidia.dali import fn, pipeline_def, types

from fastleuk.augment import PAPER, apply_graph, augment, augment_batch, draw, param_names
from tests.makers.augment_images import demo_cells, hard_images
from tests.makers.gpu_graphs import check_placement, device
from tests.makers.tolerances import GPU


def traced(applier, **options):
    """A gpu graph and its operators, found without CUDA: ``build`` would need a driver."""

    @pipeline_def(batch_size=2, num_threads=1, device_id=0)
    def define():
        images = fn.external_source(name="images", device="gpu", layout="HWC")
        nodes = [fn.external_source(name=name) for name in param_names(applier)]
        return apply_graph(images, nodes, size=32, applier=applier, device="gpu", **options)

    pipeline = define()
    pipeline._build_graph()
    return pipeline


OPTIONS = [
    {},
    {"layout": "CHW", "dtype": types.FLOAT16},
    {"resized": True},
    {"normalize": False},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("applier", ["exact", "fused"])
def test_gpu_graph(applier, options):
    """Every operator exists on the device it is placed on, images stay on the GPU, and nothing
    computed there comes back but shapes, which the host knows anyway."""
    pipeline = traced(applier, **options)
    check_placement(pipeline)
    operators = pipeline._ops
    resamplings = [
        op for op in operators if op._op.schema.Name() == "experimental__WarpPerspective"
    ]
    assert resamplings
    assert all(device(op.spec.OutputDevice(0)) == "gpu" for op in resamplings)
    assert operators[-1].outputs[0].device == "gpu"


def test_a_way_over_the_cpu_is_found():
    """The check of all these graphs can fail."""

    @pipeline_def(batch_size=2, num_threads=1, device_id=0)
    def define():
        images = fn.external_source(name="images", device="gpu", layout="HWC")
        return fn.flip(images.cpu()).gpu()

    pipeline = define()
    pipeline._build_graph()
    with pytest.raises(AssertionError, match=r"Flip takes .* off the GPU"):
        check_placement(pipeline)


def test_gpu_graph_of_the_one_line_import():
    @pipeline_def(batch_size=2, num_threads=1, device_id=0)
    def define():
        images = fn.external_source(name="images", device="gpu", layout="HWC")
        return augment(images, policy=PAPER, size=32, seed=7)

    pipeline = define()
    pipeline._build_graph()
    assert pipeline._ops[-1].outputs[0].device == "gpu"


@pytest.mark.gpu
@pytest.mark.parametrize("applier", ["exact", "fused"])
@pytest.mark.parametrize("name", ["demo", *hard_images()])
def test_gpu_equals_cpu(applier, name):
    images = demo_cells(8) if name == "demo" else [hard_images()[name]] * 8
    params = draw(PAPER, seed=1, epoch=0, indices=np.arange(8), size=224)
    options = {"applier": applier, "normalize": False}
    cpu = augment_batch(images, params, device="cpu", **options)
    gpu = augment_batch(images, params, device="gpu", **options)
    difference = np.abs(cpu - gpu)
    share = (difference > GPU.levels).mean()
    assert share <= GPU.excused, f"{share:.3%}, worst {difference.max():.2f}: {GPU.reason}"


@pytest.mark.gpu
@pytest.mark.parametrize("applier", ["exact", "fused"])
def test_a_tensor_stays_on_the_gpu(applier):
    import torch

    images = torch.from_numpy(np.stack(demo_cells(4)))
    params = draw(PAPER, seed=1, epoch=0, indices=np.arange(4), size=64)
    result = augment_batch(images, params, applier=applier, device="gpu", layout="CHW")
    assert result.is_cuda
    assert result.shape == (4, 3, 64, 64)
