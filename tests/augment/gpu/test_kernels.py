"""GpuAugment and what is around the kernels: what is refused, what is kept, what is captured."""

import gc
import sys
import weakref

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode

from fastleuk.augment import NONE, PAPER, GpuAugment, augment_batch, draw
from fastleuk.augment.gpu.graph import IN_TURNS, CapturedKernels
from fastleuk.augment.gpu.kernels import Kernels, shared_kernels
from fastleuk.augment.gpu.packing import on_device
from fastleuk.augment.gpu.streams import CudaStreams, HostStreams
from fastleuk.errors import ConfigError, FastleukError, MissingDependencyError
from tests.makers.augment_images import needs_numba
from tests.makers.host_kernels import HostKernels, cpu_levels

pytest.importorskip("triton", reason="Triton comes with torch for Linux")
SIZE = 32
BATCH = np.random.default_rng(0).integers(0, 256, (3, 40, 36, 3), dtype=np.uint8)
INDICES = [5, 6, 7]


@pytest.fixture
def host(monkeypatch):
    """No GPU: the kernels run on the CPU, and so may the images be."""
    monkeypatch.setattr("fastleuk.augment.gpu.images.Kernels", HostKernels)
    monkeypatch.setattr("fastleuk.augment.gpu.images.interpreted", lambda: True)
    return torch.from_numpy(BATCH)


def levels(augment):
    params = draw(augment.policy, seed=augment.seed, epoch=2, indices=INDICES, size=SIZE)
    return cpu_levels(list(BATCH), params)


@needs_numba
@pytest.mark.parametrize("graph", [False, True])
def test_a_batch_is_augmented_as_its_indices_say(host, monkeypatch, graph):
    monkeypatch.setattr("fastleuk.augment.gpu.graph.cuda_graph", repeat)
    augment = GpuAugment(PAPER, SIZE, normalize=False, layout="HWC", graph=graph)
    found = augment(host, indices=torch.tensor(INDICES), epoch=2)
    np.testing.assert_allclose(found.numpy(), levels(augment), atol=1e-3)
    plain = augment(host, indices=INDICES, epoch=2, augmented=torch.tensor([True, False, True]))
    torch.testing.assert_close(plain[[0, 2]], found[[0, 2]])
    assert not torch.equal(plain[1], found[1])


@needs_numba
def test_images_of_several_sizes_and_with_gaps_between_rows(host):
    augment = GpuAugment(PAPER, SIZE, normalize=False, layout="HWC")
    wide = torch.zeros((3, 40, 50, 3), dtype=torch.uint8)
    wide[:, :, 4:40] = host
    found = augment([wide[0, :, 4:40], host[1], wide[2, :, 4:40]], indices=INDICES, epoch=2)
    np.testing.assert_allclose(found.numpy(), levels(augment), atol=1e-3)


BAD = {
    "float": (lambda x: x.float(), r"image 0 must be uint8 .* \(255 \* image\)"),
    "planar": (lambda x: x.permute(0, 3, 1, 2), "channels first: use permute"),
    "transposed": (lambda x: x.transpose(1, 2), "don't lie one behind the other"),
    "every second": (lambda x: x[:, :, ::2], r"use .contiguous\(\)"),
    "one image": (lambda x: x[0], r"one image: images\[None\]"),
    "empty": (lambda x: x[:0], "an empty batch"),
    "no pixels": (lambda x: x[:, :0], "image 0 has no pixels"),
    "grey": (lambda x: x[..., :1], r"must be \(H, W, 3\)"),
    "arrays": (lambda x: list(x.numpy()), "must be a tensor on a GPU, got ndarray"),
    "elsewhere": (lambda x: [x[0], x[1].to("meta")], "must be on a GPU, but it is on meta"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_batch_of_images_is_refused_by_name(host, name):
    change, says = BAD[name]
    with pytest.raises(ConfigError, match=says):
        GpuAugment(PAPER, SIZE)(change(host), indices=INDICES)


def test_images_on_two_gpus_are_refused():
    with FakeTensorMode():
        images = [torch.empty((4, 4, 3), dtype=torch.uint8, device=f"cuda:{i}") for i in (0, 1)]
    with pytest.raises(ConfigError, match="image 1 is on cuda:1, image 0 on cuda:0"):
        GpuAugment(PAPER, SIZE)(images, indices=[1, 2])


@pytest.mark.parametrize("name", ["indices", "augmented"])
def test_what_says_the_draw_must_be_on_the_host(host, name):
    given = {"indices": INDICES, name: torch.zeros(3, dtype=torch.int64, device="meta")}
    with pytest.raises(ConfigError, match=f"{name} must be on the host"):
        GpuAugment(PAPER, SIZE)(host, **given)


@pytest.mark.parametrize("graph", [False, True])
def test_as_many_parameters_as_images(host, graph):
    with pytest.raises(ConfigError, match="2 rows for 3 images"):
        GpuAugment(PAPER, SIZE, graph=graph)(host, indices=[1, 2])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"layout": "NCHW"}, "layout"),
        ({"dtype": "float64"}, "dtype must be float32, float16, bfloat16"),
        ({"policy": "paper"}, "policy"),
        ({"mean": [123.675, 116.28, 103.53]}, r"Write mean=\(0.485, 0.456, 0.406\)"),
        ({"std": (0, 1, 1)}, "std must be 3 finite numbers above 0"),
        ({"size": 0}, "size"),
        ({"policy": PAPER.replace(interpolation="nearest")}, "needs the applier exact"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(options, says):
    with pytest.raises(ConfigError, match=says):
        GpuAugment(**{"policy": PAPER, "size": SIZE, **options})


def test_on_a_gpu_that_fails_its_self_test_nothing_is_computed(host, monkeypatch):
    def fails(applier, device):
        raise FastleukError(f"The applier {applier} was asked for, and on {device} it errs.")

    monkeypatch.setattr("fastleuk.augment.gpu.images.require", fails)
    with pytest.raises(FastleukError, match="compiled was asked for"):
        GpuAugment(PAPER, SIZE)(host, indices=INDICES)


@pytest.mark.parametrize("policy", [PAPER, NONE], ids=["augmented", "un-augmented"])
def test_every_image_of_another_size_is_resized_and_no_other(policy):
    sides = [(SIZE, SIZE), (SIZE + 1, SIZE), (SIZE, 1), (2 * SIZE, 3 * SIZE), (SIZE, SIZE)]
    tensors = [torch.zeros((*shape, 3), dtype=torch.uint8) for shape in sides]
    params = draw(policy, seed=1, epoch=0, indices=np.arange(len(sides)), size=SIZE)
    layout = HostKernels(SIZE).packed(tensors, params).layout
    assert layout.resized == 3


def test_an_address_table_does_not_outlive_its_tensors():
    tensor = torch.from_numpy(BATCH[0].copy())
    alive = weakref.ref(tensor)
    images = on_device([tensor])
    params = draw(PAPER, seed=1, epoch=0, indices=[0], size=SIZE)
    kernels = HostKernels(SIZE)
    packed = kernels.pack(images, kernels.rows(params))
    del tensor, images
    gc.collect()
    assert alive() is not None
    del packed
    gc.collect()
    assert alive() is None


def upload_of(kernels, n=2):
    params = draw(PAPER, seed=1, epoch=0, indices=np.arange(n), size=SIZE)
    return kernels.packed([torch.from_numpy(BATCH[i % 3]) for i in range(n)], params).layout


def test_a_batch_larger_than_the_memory_says_how_much_it_needs(monkeypatch):
    kernels = Kernels(SIZE, dtype="float16")
    layout = upload_of(kernels, 1000)

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    buffer = torch.zeros(layout.room.stop, dtype=torch.uint8)
    monkeypatch.setattr("fastleuk.augment.gpu.kernels.torch.empty", full)
    with pytest.raises(ConfigError, match=r"needs 12 MiB of cpu's memory .* smaller batch"):
        kernels.launch(buffer, layout)


def test_a_buffer_larger_than_the_memory_says_how_much_it_needs(monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.cuda, "Stream", lambda _: None)
    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(ConfigError, match=r"needs 3,000 MiB of cuda:0's memory"):
        CudaStreams("cuda:0").device_buffer(3000 << 20)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Failed to find C compiler. Please specify via CC environment variable."),
        PermissionError(13, "Permission denied", "/nowhere/.triton/cache"),
    ],
)
def test_triton_without_a_compiler_or_a_folder_is_one_clear_error(monkeypatch, error):
    def fails(*_):
        raise error

    kernels = Kernels(SIZE)
    layout = upload_of(kernels)
    monkeypatch.setattr(kernels, "_launch", fails)
    with pytest.raises(FastleukError, match=r"gcc, or CC.*TRITON_CACHE_DIR.*fused") as caught:
        kernels.launch(torch.zeros(layout.room.stop, dtype=torch.uint8), layout)
    assert str(error) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_triton_the_kernels_say_so(monkeypatch):
    from fastleuk.augment.appliers import compiled

    monkeypatch.setitem(sys.modules, f"{compiled.__name__}.gpu", None)
    monkeypatch.delattr(compiled, "gpu", raising=False)
    with pytest.raises(MissingDependencyError, match=r"needs Triton on a GPU .* fused"):
        Kernels(SIZE)


def test_augment_batch_keeps_the_kernels_with_their_buffers():
    assert shared_kernels(SIZE, dtype="float16") is shared_kernels(SIZE, dtype="float16")
    assert shared_kernels(SIZE, dtype="float16") is not shared_kernels(SIZE, dtype="float32")


def repeat(work):
    """A recorder without a GPU: does the work again, into the same tensor."""
    output = work()
    return lambda: output.copy_(work()), output


class LateStreams(HostStreams):
    """Counts what is waited for; an event is the number of the batch."""

    batches = 0

    def __init__(self, waited):
        self.waited = waited

    def after_step(self):
        LateStreams.batches += 1
        return LateStreams.batches

    def wait(self, event):
        self.waited.append(event)


@needs_numba
def test_captured_batches_equal_others_and_no_buffer_is_written_while_it_is_read():
    """Forms in turns; a form's host buffer is written again after its own graph has run."""
    kernels = HostKernels(SIZE, normalize=False, layout="HWC")
    waited, recorded = [], []
    LateStreams.batches = 0

    def record(work):
        recorded.append(work)
        return repeat(work)

    captured = CapturedKernels(kernels.launch, streams=lambda _: LateStreams(waited), record=record)
    results, expected = [], []
    for step in range(2 * IN_TURNS):
        for count in (2, 3):
            params = draw(PAPER, seed=step, epoch=0, indices=INDICES[:count], size=SIZE)
            tensors = [torch.from_numpy(image) for image in BATCH[:count]]
            results.append(captured(kernels.packed(tensors, params), torch.device("cpu")))
            expected.append(cpu_levels(list(BATCH[:count]), params))
    for found, wanted in zip(results, expected, strict=True):  # each a tensor of its own
        np.testing.assert_allclose(found.numpy(), wanted, atol=1e-3)
    assert len(recorded) == 2 * IN_TURNS
    assert waited == list(range(1, 2 * IN_TURNS + 1))


@needs_numba
def test_forms_that_are_no_longer_used_are_let_go_once_they_have_run():
    kernels = HostKernels(SIZE)
    waited = []
    captured = CapturedKernels(kernels.launch, streams=lambda _: LateStreams(waited), record=repeat)
    for count in range(1, 8):
        params = draw(PAPER, seed=1, epoch=0, indices=np.arange(count), size=SIZE)
        tensors = [torch.from_numpy(BATCH[0])] * count
        captured(kernels.packed(tensors, params), torch.device("cpu"))
    assert len(captured._forms) == 4
    assert len(waited) == 3


def test_an_array_on_no_gpu_is_refused():
    params = draw(PAPER, seed=1, epoch=0, indices=INDICES, size=SIZE)
    if not torch.cuda.is_available():
        with pytest.raises(MissingDependencyError, match="sees no NVIDIA GPU"):
            augment_batch(BATCH, params, applier="compiled", device="gpu")
    with pytest.raises(ConfigError, match="dtype must be float32, float16, got 'bfloat16'"):
        augment_batch(BATCH, params, applier="compiled", dtype="bfloat16")
