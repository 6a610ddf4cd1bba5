"""What only a GPU can show of the kernels: torch, Triton and numba are all that it needs."""

import numpy as np
import pytest
import torch

from fastleuk.augment import PAPER, GpuAugment, augment_batch, draw, identity
from fastleuk.augment.gpu.kernels import Kernels
from fastleuk.augment.normalization import IMAGENET_MEAN, IMAGENET_STD
from tests.augment.gpu import triton_cases
from tests.makers.augment_images import needs_numba
from tests.makers.host_kernels import cpu_levels, resized
from tests.makers.tolerances import TRITON_GPU

pytestmark = [pytest.mark.gpu, needs_numba]
CASES = triton_cases.cases()
LAG = 400_000_000
"""Cycles that the GPU lags behind the host: a fifth of a second and more."""


@pytest.fixture
def device():
    return torch.device("cuda", torch.cuda.device_count() - 1)


def compare(found, expected):
    difference = np.abs(found - expected)
    share = float((difference > TRITON_GPU.levels).mean())
    assert share <= TRITON_GPU.excused, f"{share:.3%}, worst {difference.max()}"


@pytest.mark.parametrize("case", CASES)
def test_the_kernels_compute_what_the_cpu_kernel_does(case, device):
    images, params = CASES[case]
    kernels = Kernels(params.size, normalize=False, layout="HWC")
    found = kernels([torch.from_numpy(image).to(device) for image in images], params)
    assert found.device == device
    expected = cpu_levels(images, params)
    for image, one, wanted in zip(images, found.cpu().numpy(), expected, strict=True):
        if image.shape[:2] == (params.size, params.size):
            compare(one, wanted)
        else:  # a level of the resized image may be rounded either way
            assert np.abs(one - wanted).mean() < 0.02
            assert np.abs(one - wanted).max() < 2.5


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_an_original_does_not_depend_on_what_was_in_memory(device, dtype):
    """Fresh memory is NaN, as in a deterministic training."""
    images = [triton_cases.image(48, 48), triton_cases.image(100, 90)]
    kernels = Kernels(48, normalize=False, layout="HWC", dtype=dtype)
    torch.use_deterministic_algorithms(True)
    try:
        found = kernels([torch.from_numpy(image).to(device) for image in images], identity(2, 48))
    finally:
        torch.use_deterministic_algorithms(False)
    found = found.float().cpu().numpy()
    np.testing.assert_array_equal(found[0], images[0])
    assert np.abs(found[1] - resized(images[1], 48)).max() <= 1


def test_a_flip_changes_nothing_but_the_order_of_pixels(device):
    images, params = triton_cases.flips()
    kernels = Kernels(params.size, normalize=False, layout="HWC")
    found = kernels([torch.from_numpy(image).to(device) for image in images], params)
    for plain, across, down, both in found.cpu().numpy().reshape(-1, 4, *found.shape[1:]):
        np.testing.assert_array_equal(across[:, ::-1], plain)
        np.testing.assert_array_equal(down[::-1], plain)
        np.testing.assert_array_equal(both[::-1, ::-1], plain)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (8, 100, 90, 3), dtype=np.uint8))


@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_tensor_stays_on_its_gpu_and_nothing_waits(batch, device, dtype, layout):
    params = draw(PAPER, seed=1, epoch=0, indices=np.arange(8), size=64)
    options = {"applier": "compiled", "device": "gpu", "dtype": dtype, "layout": layout}
    there = batch.to(device)
    first = augment_batch(there, params, **options)  # compiles, takes memory
    torch.cuda.synchronize(device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = augment_batch(there, params, **options)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert found.device == device
    assert found.dtype == getattr(torch, dtype)
    assert torch.equal(first, found)
    found = found.float() if layout == "HWC" else found.float().permute(0, 2, 3, 1)
    levels = (found.cpu().numpy() * IMAGENET_STD + IMAGENET_MEAN) * 255
    difference = np.abs(levels - cpu_levels(list(batch.numpy()), params))
    bound = {"float32": 0.5, "float16": 1.0, "bfloat16": 2.0}[dtype]
    assert (difference > bound).mean() < 0.002, f"worst {difference.max()}"


@pytest.mark.parametrize("graph", [False, True])
def test_batches_follow_each_other_on_any_stream(batch, device, graph):
    """A GPU far behind the host, a stream of the caller's, images dropped at once."""
    augment = GpuAugment(PAPER, 64, normalize=False, layout="HWC", graph=graph)
    stream = torch.cuda.Stream(device)
    found = []
    with torch.cuda.device(device), torch.cuda.stream(stream):
        for epoch in range(10):
            torch.cuda._sleep(LAG // 10)
            there = batch.to(device, non_blocking=True)
            found.append(augment(there, indices=np.arange(8), epoch=epoch))
            del there
    torch.cuda.synchronize(device)
    for epoch, result in enumerate(found):
        params = draw(PAPER, seed=7, epoch=epoch, indices=np.arange(8), size=64)
        compare(result.cpu().numpy(), cpu_levels(list(batch.numpy()), params))


def test_what_dali_has_made_is_read_before_dali_takes_it_back(device):
    """Its memory comes by DLPack, is dropped at once, and the GPU is far behind."""
    dali = pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed")
    rng = np.random.default_rng(3)
    batches = rng.integers(0, 256, (12, 4, 80, 70, 3), dtype=np.uint8)

    @dali.pipeline_def(batch_size=4, num_threads=1, device_id=device.index)
    def uploading():
        images = dali.fn.external_source(source=iter(batches), batch=True, layout="HWC")
        return dali.fn.copy(images.gpu())

    pipeline = uploading()
    pipeline.build()
    augment = GpuAugment(PAPER, 64, normalize=False, layout="HWC")
    found = []
    with torch.cuda.device(device):
        for epoch in range(len(batches)):
            torch.cuda._sleep(LAG // 10)
            (images,) = pipeline.run()
            there = [torch.from_dlpack(image) for image in images]
            found.append(augment(there, indices=np.arange(4), epoch=epoch))
            del images, there
    torch.cuda.synchronize(device)
    for epoch, result in enumerate(found):
        params = draw(PAPER, seed=7, epoch=epoch, indices=np.arange(4), size=64)
        compare(result.cpu().numpy(), cpu_levels(list(batches[epoch]), params))


def test_several_gpus_have_kernels_of_their_own(batch):
    if torch.cuda.device_count() < 2:
        return  # nothing to show
    augment = GpuAugment(PAPER, 64)
    one, other = (augment(batch.to(f"cuda:{i}"), indices=np.arange(8)) for i in (0, 1))
    assert torch.equal(one.cpu(), other.cpu())
