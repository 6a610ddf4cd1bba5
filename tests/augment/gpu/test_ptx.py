"""The kernels as Triton compiles them for a GPU: their PTX, executed by NumPy, is tested."""

import numpy as np
import pytest
import torch

from fastleuk.augment import PAPER, draw, identity
from fastleuk.augment.gpu import selftest
from tests.augment.gpu.kernel_memory import Memory
from tests.makers.augment_images import needs_numba

pytest.importorskip("triton", reason="Triton comes with torch for Linux")
ptx = pytest.importorskip("tests.augment.gpu.ptx", exc_type=ImportError)
pytestmark = [pytest.mark.slow, needs_numba]
SIZE = 32


@pytest.fixture
def memory(monkeypatch):
    """Kernels by their PTX in place of Triton's launches; the memory that they touched."""
    memory = Memory()

    class Kernels(ptx.PtxKernels):
        def __init__(self, size, **options):
            super().__init__(size, memory, **options)

    signature = {"images": "*i64", "targets": "*u8"}
    try:
        Kernels(8)._compile("resize", signature, {"SIZE": 8, "BLOCK": 64})
    except Exception as error:
        pytest.skip(f"Triton can't compile here: {type(error).__name__}: {error}")
    monkeypatch.setattr("fastleuk.augment.gpu.kernels.Kernels", Kernels)
    monkeypatch.setattr(selftest, "SIZE", SIZE)
    return memory


def apply(images, params, _applier, form):
    return selftest.by_kernels(images, params, torch.device("cpu"), form)


def test_the_compiled_kernels_pass_the_self_test(memory):
    """In every form: float32, float16 planar, bfloat16, BMPs; small, large and un-augmented."""
    verdict = selftest.self_test("compiled", apply)
    assert verdict.passed, verdict.found
    assert verdict.mean < 0.001
    assert memory.problems == {}
    assert memory.loads > 1_000_000


@pytest.mark.parametrize("form", selftest.FORMS["compiled"])
def test_an_original_is_its_resized_self(memory, form):
    """Fresh memory is NaN, and nothing of it reaches an un-augmented image."""
    images = selftest.test_images()[:5]
    found = selftest.by_kernels(images, identity(5, SIZE), torch.device("cpu"), form)
    expected = np.stack([selftest.resized(image, SIZE) for image in images]).astype(np.float32)
    difference = np.abs(found - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001
    assert memory.problems == {}


def test_a_read_of_memory_that_was_never_written_is_found(tmp_path, monkeypatch):
    """In the fault that there was: the pivot was stored with contrast only."""
    from tests.augment.gpu.kernel_bounds import mutant

    monkeypatch.syspath_prepend(tmp_path)
    kernels = mutant(tmp_path, "pivot stored with contrast only")
    memory = Memory()
    by_ptx = ptx.PtxKernels(SIZE, memory, kernels=kernels, normalize=False, layout="HWC")
    images = [torch.from_numpy(image) for image in selftest.test_images()[:2]]
    found = by_ptx(images, identity(2, SIZE))
    assert found.max() == 0
    assert "warp_and_jitter: pivots is read before it is written" in memory.problems


@pytest.mark.parametrize("size", [7, 17])
def test_any_size_and_kernel_of_blur(memory, size, monkeypatch):
    """Blocks that are not full; blur of 5 and 7 pixels."""
    from fastleuk.augment.gpu.kernels import Kernels

    monkeypatch.setattr(selftest, "SIZE", size)
    for kernel_size in (5, 7):
        policy = PAPER.replace(kernel_size=kernel_size, p_blur=1, p_sharpness=1, p_perspective=1)
        params = draw(policy, seed=2, epoch=0, indices=np.arange(3), size=size)
        images = selftest.test_images()[3:6]
        kernels = Kernels(size, normalize=False, layout="HWC")
        found = kernels([torch.from_numpy(image) for image in images], params).numpy()
        expected = selftest.on_cpu(images, params, "compiled", "float32")
        assert np.abs(found - expected).mean() < 0.005
    assert memory.problems == {}
