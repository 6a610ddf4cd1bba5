"""Plain BMPs are augmented from the bytes of the file, without a decoder."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from fastleuk.augment import NONE, PAPER, augment_batch
from fastleuk.config import DataConfig, LoaderConfig
from fastleuk.data.from_config import open_dataset
from fastleuk.errors import DataError
from fastleuk.loading.decode.pil import cut_centre
from tests.makers.augment_images import needs_numba
from tests.makers.bmp_files import bmp, photo

pytestmark = needs_numba
pytest.importorskip("nvidia.dali")
SIZE = 48


@pytest.mark.parametrize(("height", "width"), [(48, 48), (61, 50), (90, 101), (119, 30)])
@pytest.mark.parametrize("options", [{}, {"top_down": True}, {"gap": 84}], ids=str)
def test_the_kernel_reads_what_pil_reads(height, width, options):
    from fastleuk.augment.appliers.compiled.cpu_resize import resize_bmp, resize_image

    pixels, file = photo(height, width), bmp(photo(height, width), **options)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(file)).convert("RGB")), pixels)
    for crop in (0, 40, 55):
        read = np.zeros((SIZE, SIZE, 3), np.uint8)
        resize_bmp(read, np.frombuffer(file, np.uint8), crop)
        np.testing.assert_array_equal(read, resize_image(cut_centre(pixels, crop), SIZE))


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:-1],
        lambda b: b[:53],
        lambda b: b"PM" + b[2:],
        lambda b: b[:28] + b"\x20" + b[29:],  # 32 bits
        lambda b: b[:30] + b"\x01" + b[31:],  # run lengths
        lambda b: b[:18] + b"\xff\xff\xff\x7f" + b[22:],
        lambda b: b[:22] + b"\0\0\0\x80" + b[26:],
        lambda b: b[:10] + b"\xff\xff\xff\xff" + b[14:],
    ],
)
def test_the_kernel_reads_nothing_else(damage):
    from fastleuk.augment.appliers.compiled.cpu_resize import resize_bmp

    data = np.frombuffer(damage(bmp(photo(50, 50))), np.uint8)
    with pytest.raises(DataError, match="no whole uncompressed BMP"):
        resize_bmp(np.zeros((SIZE, SIZE, 3), np.uint8), data)


@pytest.fixture
def mixed(tmp_path):
    """Plain, top-down and large BMPs, JPEGs and PNGs in one set."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    for i in range(4):
        (tmp_path / "a" / f"{i}.bmp").write_bytes(bmp(photo(60 + i, 70), top_down=i == 1))
        (tmp_path / "b" / f"{i}.bmp").write_bytes(bmp(photo(200 + i, 150)))
        Image.fromarray(photo(50, 60 + i)).save(tmp_path / "a" / f"{i}.png")
        Image.fromarray(photo(80, 60 + i)).save(tmp_path / "b" / f"{i}.jpg")
    return tmp_path


def _stream(dataset, batch_size=5):
    from fastleuk.loading.stream import TrainStream

    rows = dataset.manifest.labelled
    return TrainStream(
        dataset.manifest.labels[rows], rows, per_class="off", originals=0.5, frozen=False, seed=3,
        batch_size=batch_size,
    )  # fmt: skip


def _loader(root, policy=PAPER, applier="auto", batch_size=5, loader="dali"):
    from fastleuk.loading import make_loader, resolve_loader

    dataset = open_dataset(DataConfig(data=str(root)), report=lambda _: None)
    return make_loader(
        manifest=dataset.manifest,
        stream=_stream(dataset, batch_size),
        config=resolve_loader(LoaderConfig(loader=loader, size=SIZE, workers=2)),
        policy=policy,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        device=torch.device("cpu"),
        applier=applier,
    )


@pytest.mark.parametrize("policy", [PAPER, NONE], ids=["paper", "none"])
@pytest.mark.parametrize("applier", ["compiled", "fused"])
def test_a_mixed_set_is_the_same_read_and_decoded(applier, policy, mixed, monkeypatch):
    from fastleuk.loading.dali import loader as dali_loader

    def batches():
        loader = _loader(mixed, policy, applier)
        names = [op._op.schema.Name() for op in _built(loader)._ops]
        kept = [batch.images.clone() for batch in loader.epoch(1)]
        loader.close()
        return torch.cat(kept), len([name for name in names if "PythonFunction" in name])

    read, functions = batches()
    monkeypatch.setattr(dali_loader, "has_kernel", lambda: False)
    decoded, others = batches()
    assert functions == others + 1
    assert torch.equal(read, decoded)


def _built(loader):
    pipeline = loader.build()
    pipeline._build_graph()
    return pipeline


@pytest.mark.parametrize("applier", ["compiled", "fused", "exact", "reference"])
def test_files_and_arrays_give_equal_pixels(applier, mixed):
    """The loader from files, and ``augment_batch`` of what PIL decodes, at equal parameters."""
    from fastleuk.loading.stream import draw_plan

    options = {"loader": "torchvision"} if applier == "reference" else {"applier": applier}
    loader = _loader(mixed, batch_size=16, **options)
    (batch,) = loader.epoch(1)
    dataset = open_dataset(DataConfig(data=str(mixed)), report=lambda _: None)
    (plan,) = _stream(dataset, 16).batches(1)
    files = [dataset.manifest.file(int(row)) for row in plan.indices]
    lossless = np.array([file.suffix != ".jpg" for file in files])  # decoders differ by a level
    assert lossless.sum() == 12
    assert 3 < plan.augmented[lossless].sum() < 9
    arrays = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    params = draw_plan(PAPER, plan, seed=0, size=SIZE)
    wanted = augment_batch(
        arrays, params, applier=applier, layout="CHW", mean=(0.5,) * 3, std=(0.25,) * 3
    )
    rounding = 1e-6 if applier == "reference" else 0.0  # it normalizes in another order
    np.testing.assert_allclose(
        batch.images.numpy()[lossless], wanted[lossless], rtol=0, atol=rounding
    )
    loader.close()


@pytest.mark.parametrize("applier", ["compiled", "fused", "exact", "torchvision"])
def test_a_flip_of_a_file_changes_nothing_but_the_order_of_pixels(applier, mixed):
    from fastleuk.loading.stream import draw_plan

    def images(policy):
        options = {"loader": applier} if applier == "torchvision" else {"applier": applier}
        loader = _loader(mixed, policy, batch_size=16, **options)
        (batch,) = loader.epoch(1)
        kept = batch.images.clone()
        loader.close()
        return kept

    policy = NONE.replace(p_hflip=0.5, p_vflip=0.5)
    dataset = open_dataset(DataConfig(data=str(mixed)), report=lambda _: None)
    (plan,) = _stream(dataset, 16).batches(1)
    params = draw_plan(policy, plan, seed=0, size=SIZE)
    assert 3 < (params.hflip | params.vflip).sum() < 12
    for plain, flipped, across, down in zip(
        images(NONE), images(policy), params.hflip, params.vflip, strict=True
    ):
        assert torch.equal(
            flipped, plain.flip([axis for axis in (1, 2) if (down, across)[axis - 1]])
        )


def test_a_bmp_that_is_cut_off_in_the_middle_of_training_is_named(mixed):
    loader = _loader(mixed)
    list(loader.epoch(0))  # the headers are known now
    victim = mixed / "a" / "2.bmp"
    victim.write_bytes(victim.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"a/2\.bmp"):
        [list(loader.epoch(epoch)) for epoch in range(1, 8)]
