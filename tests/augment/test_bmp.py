"""Plain BMPs are augmented from the bytes of the file, without a decoder."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from fastleuk.augment import NONE, PAPER, draw, param_arrays
from fastleuk.config import DataConfig, LoaderConfig
from fastleuk.data.from_config import open_dataset
from fastleuk.errors import DataError
from tests.makers.augment_images import needs_numba
from tests.makers.bmp_files import bmp, photo
from tests.makers.kernel_calls import kernel_levels

pytestmark = needs_numba
pytest.importorskip("nvidia.dali")
SIZE = 48


@pytest.mark.parametrize(("height", "width"), [(48, 48), (61, 50), (90, 101), (119, 30)])
@pytest.mark.parametrize("options", [{}, {"top_down": True}, {"gap": 84}], ids=str)
def test_the_kernel_reads_what_pil_reads(height, width, options):
    pixels, file = photo(height, width), bmp(photo(height, width), **options)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(file)).convert("RGB")), pixels)
    params = draw(PAPER, seed=1, epoch=0, indices=[3], size=SIZE)
    _, rows, kernels = param_arrays(params, "compiled")
    read, given = (kernel_levels(each, rows[0], kernels[0], SIZE) for each in (file, pixels))
    np.testing.assert_array_equal(read, given)


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
    params = draw(PAPER, seed=1, epoch=0, indices=[3], size=SIZE)
    _, rows, kernels = param_arrays(params, "compiled")
    data = damage(bmp(photo(50, 50)))
    assert np.isnan(kernel_levels(data, rows[0], kernels[0], SIZE)).all()


@pytest.fixture
def mixed(tmp_path):
    """Plain, top-down and large BMPs, JPEGs and PNGs in one set."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    for i in range(4):
        (tmp_path / "a" / f"{i}.bmp").write_bytes(bmp(photo(60 + i, 70), top_down=i == 1))
        (tmp_path / "b" / f"{i}.bmp").write_bytes(bmp(photo(200 + i, 150)))  # is resized first
        Image.fromarray(photo(50, 60 + i)).save(tmp_path / "a" / f"{i}.png")
        Image.fromarray(photo(80, 60 + i)).save(tmp_path / "b" / f"{i}.jpg")
    return tmp_path


def _loader(root, policy=PAPER, applier="compiled", batch_size=5):
    from fastleuk.loading import make_loader, resolve_loader
    from fastleuk.loading.stream import TrainStream

    dataset = open_dataset(DataConfig(data=str(root)), report=lambda _: None)
    rows = dataset.manifest.labelled
    stream = TrainStream(
        dataset.manifest.labels[rows], rows, per_class="off", originals=0.5, frozen=False, seed=3,
        batch_size=batch_size,
    )  # fmt: skip
    return make_loader(
        manifest=dataset.manifest,
        stream=stream,
        config=resolve_loader(LoaderConfig(loader="dali", size=SIZE, workers=2)),
        policy=policy,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        device=torch.device("cpu"),
        applier=applier,
    )


def test_a_mixed_set_is_the_same_read_and_decoded(mixed, monkeypatch):
    from fastleuk.loading.dali import feed as dali_feed

    def batches():
        loader = _loader(mixed)
        kept = [batch.images.clone() for batch in loader.epoch(1)]
        loader.close()
        return torch.cat(kept)

    plain = []
    known = dali_feed.is_plain_bmp
    monkeypatch.setattr(dali_feed, "is_plain_bmp", lambda *a: plain.append(known(*a)) or plain[-1])
    read = batches()
    assert sum(plain) == 4
    monkeypatch.setattr(dali_feed, "is_plain_bmp", lambda *_: False)
    assert torch.equal(read, batches())


def test_without_augmentation_nothing_is_read_by_the_kernel(mixed):
    images = torch.cat([b.images.clone() for b in _loader(mixed, policy=NONE).epoch()])
    again = torch.cat([b.images.clone() for b in _loader(mixed, NONE, "exact").epoch()])
    assert torch.equal(images, again)


def test_a_bmp_that_is_cut_off_in_the_middle_of_training_is_named(mixed):
    loader = _loader(mixed)
    list(loader.epoch(0))  # the headers are known now
    victim = mixed / "a" / "2.bmp"
    victim.write_bytes(victim.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"a/2\.bmp"):
        [list(loader.epoch(epoch)) for epoch in range(1, 8)]
