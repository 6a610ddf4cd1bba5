"""The loader of a GPU on the CPU: its kernels replaced by the CPU's, on the same addresses."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from fastleuk.augment import NONE, PAPER, draw, identity
from fastleuk.config import LoaderConfig
from fastleuk.data.decoded.read import SOURCE
from fastleuk.data.discover import discover
from fastleuk.data.images.bmp import read_layout
from fastleuk.errors import ConfigError, DataError
from fastleuk.loading import has_dali, kernel_loader
from fastleuk.loading.decode.pil import decode
from fastleuk.loading.gpu.sources import Resident, bmp_numbers, mostly_bmp
from fastleuk.loading.stream import EvalStream, TrainStream
from tests.makers.augment_images import needs_numba
from tests.makers.bmp_files import bmp, photo
from tests.makers.host_kernels import HostKernels, cpu_levels, pixels_at, resized

pytestmark = needs_numba
needs_dali = pytest.mark.skipif(not has_dali(), reason="NVIDIA DALI is not installed")
SIZE = 32
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


@pytest.fixture(autouse=True)
def host(monkeypatch):
    """No GPU: the device is the CPU, and so are the kernels."""
    monkeypatch.setattr("fastleuk.loading.gpu.loader.Kernels", HostKernels)
    if has_dali():
        monkeypatch.setattr("fastleuk.loading.dali.kernels.Kernels", HostKernels)


SHAPES = [(32, 32), (45, 37), (70, 64), (90, 81), (20, 33), (51, 50)]


def write_set(root, kinds):
    """Twelve noisy pictures of various sizes, in files of these kinds in turn."""
    for number in range(12):
        pixels = photo(*SHAPES[number % len(SHAPES)])
        pixels[0, 0] = number  # no two are alike
        folder = root / ("all", "hem")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        kind = kinds[number % len(kinds)]
        if kind == "bmp":
            file = bmp(pixels, top_down=number % 3 == 0, gap=number)
            (folder / f"{number}.bmp").write_bytes(file)
        elif kind == "palette":
            Image.fromarray(pixels).quantize(16).save(folder / f"{number}.bmp")
        else:
            Image.fromarray(pixels).save(folder / f"{number}.{kind}")
    return discover(root).manifest


def train_stream(manifest, batch_size=5):
    return TrainStream(
        manifest.labels, np.arange(len(manifest)), per_class="off", originals=0.4, frozen=False,
        seed=3, batch_size=batch_size,
    )  # fmt: skip


def open_loader(
    manifest, *, pixels=None, decoder="dali", policy=PAPER, dtype="float32", stream=None
):
    common = {
        "manifest": manifest, "stream": stream or train_stream(manifest), "size": SIZE,
        "workers": 2, "prefetch": 2, "seed": 3, "mean": MEAN, "std": STD,
        "device": torch.device("cpu"),
    }  # fmt: skip
    return kernel_loader(decoder, policy, pixels, common, dtype)


def expected(manifest, stream, epoch, images, policy=PAPER):
    """Normalised images NCHW of an epoch, by the CPU's kernel from decoded pixels."""
    found = []
    for plan in stream.batches(epoch):
        params = identity(len(plan), SIZE)
        if policy is not None:
            params = draw(
                policy, seed=3, epoch=plan.draw_epoch, indices=plan.draws, size=SIZE,
                augmented=plan.augmented,
            )  # fmt: skip
        levels = cpu_levels([images[row] for row in plan.indices], params)
        normal = (levels / 255 - np.array(MEAN)) / np.array(STD)
        found.append((normal.transpose(0, 3, 1, 2), manifest.labels[plan.indices], plan.indices))
    return found


def check(loader, wanted, epoch, tolerance=1e-4):
    batches = list(loader.epoch(epoch))
    assert len(batches) == len(wanted) > 1
    for batch, (images, labels, indices) in zip(batches, wanted, strict=True):
        assert batch.indices.tolist() == indices.tolist()
        assert batch.labels.tolist() == labels.tolist()
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        np.testing.assert_allclose(batch.images.float().numpy(), images, atol=tolerance)


def decoded(manifest):
    files = [(manifest.file(row), int(manifest.crops[row])) for row in range(len(manifest))]
    return [decode(*file) for file in files]


def cache_of(images, *, resident=False):
    """A decoded cache of these images, of one size or of their own."""
    sizes = {image.shape for image in images}
    there = torch.from_numpy(np.stack(images)) if resident else None
    size = images[0].shape[0] if len(sizes) == 1 else SOURCE
    cache = SimpleNamespace(size=size, images=lambda rows: [images[row] for row in rows])
    return SimpleNamespace(cache=cache, resident=there)


@pytest.mark.parametrize("kinds", [("bmp",), ("bmp", "bmp", "png"), ("bmp", "palette", "bmp")])
def test_plain_bmps_go_up_as_they_are_and_nothing_decodes_them(kinds, tmp_path, monkeypatch):
    manifest = write_set(tmp_path, kinds)
    images, asked = decoded(manifest), []

    def noting(file, crop):
        asked.append(file.name)
        return decode(file, crop)

    monkeypatch.setattr("fastleuk.loading.gpu.sources.decode", noting)
    stream = train_stream(manifest)
    with open_loader(manifest, stream=stream) as loader:
        check(loader, expected(manifest, stream, 1, images), 1)
        check(loader, expected(manifest, stream, 2, images), 2)  # from the same buffers
    others = [
        manifest.file(row).name
        for row in range(len(manifest))
        if read_layout(manifest.file(row).read_bytes()) is None
    ]
    assert set(asked) == set(others)
    assert bool(others) == (len(set(kinds)) > 1)


def test_evaluation_resizes_every_image_once(tmp_path):
    manifest = write_set(tmp_path, ("bmp", "png"))
    stream = EvalStream(np.arange(len(manifest)), batch_size=5)
    with open_loader(manifest, decoder="torchvision", policy=None, stream=stream) as loader:
        check(loader, expected(manifest, stream, 0, decoded(manifest), None), 0)


def test_files_and_the_decoded_cache_give_equal_pixels(tmp_path):
    """Augmented and un-augmented images alike, of any size; no other way of sampling is left."""
    manifest = write_set(tmp_path, ("bmp", "bmp", "png"))
    stream = train_stream(manifest)
    cached = [resized(image, SIZE) for image in decoded(manifest)]
    with (
        open_loader(manifest, decoder="torchvision", stream=stream) as files,
        open_loader(manifest, pixels=cache_of(cached), stream=stream) as cache,
    ):
        for one, other in zip(files.epoch(1), cache.epoch(1), strict=True):
            assert torch.equal(one.images, other.images)


def test_images_that_the_manifest_crops_are_cut_by_address(tmp_path):
    manifest = write_set(tmp_path, ("bmp",))
    crops = np.where(np.arange(len(manifest)) % 2, 31, 0)
    manifest = dataclasses.replace(manifest, crops=crops.astype(np.int64))
    stream = train_stream(manifest)
    with open_loader(manifest, stream=stream) as loader:
        check(loader, expected(manifest, stream, 0, decoded(manifest)), 0)


@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("crop", [0, 7, 20, 99])
def test_the_numbers_of_a_bmp_lead_to_its_pixels(top_down, crop):
    pixels = photo(21, 34)
    data = np.frombuffer(bmp(pixels, top_down=top_down, gap=3), np.uint8)
    offset, *rest = bmp_numbers(read_layout(data.tobytes()), crop)
    found = pixels_at(data.__array_interface__["data"][0] + offset, *rest)
    top, left = (max(0, side - crop) // 2 if crop else 0 for side in pixels.shape[:2])
    edge = crop or 99
    np.testing.assert_array_equal(found, pixels[top : top + edge, left : left + edge])


@needs_dali
@pytest.mark.parametrize("policy", [PAPER, None], ids=["augmented", "plain"])
def test_what_dali_has_decoded_is_read_where_it_lies(tmp_path, policy):
    """Its graph on the CPU; images of various sizes, by DLPack."""
    from fastleuk.loading.dali.kernels import DaliKernelLoader

    manifest = write_set(tmp_path, ("png", "png", "bmp"))
    assert not mostly_bmp(manifest)
    stream = train_stream(manifest)
    with open_loader(manifest, policy=policy, stream=stream) as loader:
        assert isinstance(loader, DaliKernelLoader)
        for epoch in (1, 2):
            check(loader, expected(manifest, stream, epoch, decoded(manifest), policy), epoch)
        started = loader.epoch(3)
        next(started)
        check(loader, expected(manifest, stream, 4, decoded(manifest), policy), 4)
        started.close()


@needs_dali
def test_dalis_graph_for_the_kernels_decodes_mixed_and_gives_nothing_else(tmp_path):
    from tests.makers.gpu_graphs import check_placement

    manifest = write_set(tmp_path, ("png",))
    loader = open_loader(manifest)
    loader._device = torch.device("cuda:0")
    pipeline = loader.build()
    pipeline._build_graph()
    operators = check_placement(pipeline)
    places = [place for name, place in operators if name.lower().startswith("decoders")]
    assert places
    assert set(places) <= {"gpu", "mixed"}
    assert [node.device for node in pipeline._graph_outputs] == ["gpu"]


@pytest.mark.parametrize("resident", [False, True])
def test_the_cache_of_one_size(tmp_path, resident):
    manifest = write_set(tmp_path, ("bmp",))
    images = [photo(SIZE, SIZE) // (1 + row % 3) for row in range(len(manifest))]
    stream = train_stream(manifest)
    with open_loader(manifest, pixels=cache_of(images, resident=resident), stream=stream) as loader:
        check(loader, expected(manifest, stream, 1, images), 1)


def test_the_cache_of_the_images_own_sizes(tmp_path):
    manifest = write_set(tmp_path, ("bmp",))
    images, stream = decoded(manifest), train_stream(manifest)
    with open_loader(manifest, pixels=cache_of(images), stream=stream) as loader:
        check(loader, expected(manifest, stream, 1, images), 1)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2e-3), ("bfloat16", 2e-2)])
def test_images_in_the_networks_precision(tmp_path, dtype, tolerance):
    manifest = write_set(tmp_path, ("bmp",))
    stream = train_stream(manifest)
    with open_loader(manifest, dtype=dtype, stream=stream) as loader:
        assert next(loader.epoch()).images.dtype == getattr(torch, dtype)
        check(loader, expected(manifest, stream, 0, decoded(manifest)), 0, 2.5 * tolerance)


def test_a_batch_does_not_depend_on_how_many_are_drawn_together(tmp_path, monkeypatch):
    manifest = write_set(tmp_path, ("bmp",))
    stream = train_stream(manifest, batch_size=2)
    found = []
    for together in (1, 5, 512):
        monkeypatch.setattr("fastleuk.loading.gpu.draws.TOGETHER", together)
        with open_loader(manifest, stream=stream) as loader:
            found.append(torch.cat([batch.images for batch in loader.epoch(1, 2)]))
    assert len(found[0]) == 8
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("harm", ["shorter", "gone", "other", "text"])
def test_a_file_that_changes_is_named(tmp_path, harm):
    manifest = write_set(tmp_path, ("bmp",))
    file = manifest.file(4)
    if harm == "shorter":
        file.write_bytes(file.read_bytes()[:-5])
    elif harm == "text":
        file.write_text("no picture")
    elif harm == "gone":
        file.unlink()
    stream = EvalStream(np.arange(len(manifest)), batch_size=4)
    with open_loader(manifest, stream=stream) as loader:
        batches = loader.epoch()
        if harm == "other":  # between its header and its pixels
            loader._source._one = lambda row, one=loader._source._one: meddled(one(row), file)
        with pytest.raises(DataError, match=rf"not any more:\n\s+.*{file.name}.*"):
            list(batches)


def meddled(found, file):
    if getattr(found[1], "file", None) == file:
        file.write_bytes(bmp(photo(*SHAPES[0])) + bytes(100_000))
    return found


def test_an_epoch_left_midway_and_another_at_once(tmp_path):
    manifest = write_set(tmp_path, ("bmp",))
    stream = train_stream(manifest)
    wanted = expected(manifest, stream, 1, decoded(manifest))
    with open_loader(manifest, stream=stream) as loader:
        first = loader.epoch(1)
        next(first)
        check(loader, wanted, 1)
        first.close()
        check(loader, wanted, 1)


def test_pixels_on_another_device_are_refused():
    with pytest.raises(ConfigError, match="on cpu, but the batches are made on cuda:0"):
        Resident(torch.zeros((1, 8, 8, 3), dtype=torch.uint8), torch.device("cuda:0"))


def test_only_the_kernels_make_half_precision(tmp_path):
    from fastleuk.loading import make_loader

    manifest = write_set(tmp_path, ("bmp",))
    with pytest.raises(ConfigError, match="dtype float16"):
        make_loader(
            manifest=manifest, stream=train_stream(manifest), policy=NONE, mean=MEAN, std=STD,
            config=LoaderConfig(loader="torchvision", size=SIZE, workers=1), dtype="float16",
            device=torch.device("cpu"),
        )  # fmt: skip
