"""The decoded cache from plain BMPs, without DALI: the same pixels, to the last bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fastleuk.data.dataset import load_dataset
from fastleuk.data.decoded.read import INDEX, SOURCE
from fastleuk.errors import DataError
from fastleuk.loading.prepare import build_cache
from tests.makers.augment_images import needs_numba
from tests.makers.bmp_files import bmp, photo

pytestmark = needs_numba
pytest.importorskip("nvidia.dali")
SIDES = st.integers(8, 400)


def _by_dali(image, size):
    from nvidia.dali import Pipeline, fn

    from fastleuk.augment.appliers.exact import resize

    pipeline = Pipeline(batch_size=1, num_threads=1, device_id=None)
    with pipeline:
        pipeline.set_outputs(resize(fn.external_source(source=lambda: [image], batch=True), size))
    pipeline.build()
    (images,) = pipeline.run()
    return np.array(images[0])


def _by_kernel(image, size, **options):
    from fastleuk.augment.appliers.compiled.cpu_resize import level_sums, resize_bmp, resize_image

    output = np.zeros((size, size, 3), np.uint8)
    resize_bmp(output, np.frombuffer(bmp(image, **options), np.uint8))
    np.testing.assert_array_equal(level_sums(output), output.sum((0, 1), dtype=np.int64))
    np.testing.assert_array_equal(output, resize_image(image, size))
    return output


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (450, 450, 224),
        (448, 448, 224),  # many halves to round
        (448, 200, 224),
        (200, 448, 224),
        (112, 112, 230),
        (363, 360, 300),
        (224, 450, 224),
        (450, 224, 224),
    ],
)
def test_the_kernel_resizes_as_dali_does(height, width, size):
    image = photo(height, width)
    np.testing.assert_array_equal(_by_kernel(image, size), _by_dali(image, size))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(SIDES, SIDES, st.sampled_from([16, 64, 96, 224, 225]))
def test_the_kernel_resizes_any_image_as_dali_does(height, width, size):
    image = photo(height, width)
    top_down = bool(height % 2)
    np.testing.assert_array_equal(_by_kernel(image, size, top_down=top_down), _by_dali(image, size))


@pytest.fixture
def mixed(tmp_path):
    """More than one chunk: plain BMPs only, then some that must go through DALI."""
    root = tmp_path / "images"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
    for i in range(70):
        one, other = photo(30 + i, 40 + i % 5), photo(48, 48 + i)
        (root / "a" / f"{i:02}.bmp").write_bytes(bmp(one, top_down=i == 1, gap=84 * (i == 2)))
        (root / "b" / f"{i:02}.bmp").write_bytes(bmp(other))
    Image.fromarray(photo(33, 50)).save(root / "b" / "69.png")
    Image.fromarray(photo(33, 50)[..., 0]).save(root / "b" / "71.bmp")  # 8 bits
    return root


def _cache(root, folder, size):
    dataset = load_dataset(root)
    return build_cache(dataset, folder, size=size, backend="dali", workers=2)


@pytest.mark.parametrize("size", [48, SOURCE])
def test_a_cache_is_the_same_with_dali_alone(size, mixed, tmp_path, monkeypatch):
    from fastleuk.loading.decode import bmp as bmp_decode

    decided = []
    known = bmp_decode.uncompressed_cuts
    monkeypatch.setattr(
        bmp_decode, "uncompressed_cuts", lambda *a: decided.append(known(*a)) or decided[-1]
    )
    quick = _cache(mixed, tmp_path / "quick", size)
    assert decided == [[True, True, False]]
    monkeypatch.setattr(bmp_decode, "uncompressed_cuts", lambda _, cuts, __: [False] * len(cuts))
    slow = _cache(mixed, tmp_path / "slow", size)
    assert quick.info.checksums == slow.info.checksums
    rows = np.arange(len(quick))
    for one, other in zip(quick.images(rows), slow.images(rows), strict=True):
        np.testing.assert_array_equal(one, other)
    means = [np.load(cache.folder / INDEX)["mean_rgb"] for cache in (quick, slow)]
    np.testing.assert_allclose(*means, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-100]), "no whole BMP"),
        (lambda file: file.write_bytes(bmp(photo(20, 21))), "21x20 pixels now"),
        (lambda file: file.unlink(), "can't be read"),
    ],
)
def test_a_file_that_changes_while_the_cache_is_built_is_named(change, says, mixed):
    from fastleuk.loading.decode.bmp import decode_uncompressed

    dataset = load_dataset(mixed)
    change(mixed / "a" / "05.bmp")
    with pytest.raises(DataError, match=says) as caught:
        list(decode_uncompressed(dataset, [np.arange(20)], size=48, workers=2))
    assert "a/05.bmp" in str(caught.value)


def test_nothing_runs_on_when_the_building_stops(mixed):
    from fastleuk.loading.decode.bmp import decode_uncompressed

    cuts = np.split(np.arange(120), 12)
    decoded = decode_uncompressed(load_dataset(mixed), cuts, size=48, workers=2)
    images, means = next(decoded)
    assert images.shape == (10, 48, 48, 3)
    assert means.shape == (10, 3)
    decoded.close()
