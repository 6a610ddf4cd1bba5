"""The decoded cache, read: whose its pixels are, where it lies, how it is removed."""

import pickle

import numpy as np
import pytest

from fastleuk.data.decoded import write as decoded_write
from fastleuk.data.decoded.read import (
    PIXELS,
    clear_caches,
    list_caches,
    open_decoded,
)
from fastleuk.data.decoded.write import write_cache
from fastleuk.errors import DataError
from tests.makers.decoded_caches import SIZE, build, names_in, reference_decode


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    return tmp_path_factory.mktemp("caches")


def test_the_index_says_whose_the_pixels_are(dataset, caches):
    cache = build(dataset, caches / "index")
    index, manifest = cache.index, dataset.manifest
    assert tuple(index["paths"]) == manifest.paths
    assert tuple(index["subjects"]) == manifest.subjects
    assert tuple(index["sha256"]) == dataset.sha256
    assert np.array_equal(index["labels"], manifest.labels)
    means = np.array([cache.image(row).mean(axis=(0, 1)) for row in range(len(manifest))])
    assert np.abs(index["mean_rgb"] - means).max() < 0.01
    assert np.array_equal(np.load(cache.folder / PIXELS)[7], cache.image(7))


def test_a_cache_pickles_as_its_folder(dataset, caches):
    cache = build(dataset, caches / "pickled")
    assert np.array_equal(cache.image(3), pickle.loads(pickle.dumps(cache)).image(3))
    assert len(pickle.dumps(cache)) < 2000


def test_caches_are_listed_and_cleared(dataset, tmp_path, monkeypatch):
    build(dataset, tmp_path)
    monkeypatch.setattr(decoded_write, "CHUNK", 16)
    with pytest.raises(KeyboardInterrupt):
        write_cache(
            dataset,
            tmp_path,
            reference_decode(dataset, stop_after=1, size=32),
            size=32,
            backend="torchvision",
        )
    found = list_caches(tmp_path)
    assert [info is None for _, info, _ in found].count(True) == 1
    (tmp_path / "mine.txt").write_text("not a cache")
    assert clear_caches(tmp_path) >= 64 * SIZE * SIZE * 3
    assert names_in(tmp_path) == ["mine.txt"]


def test_no_cache_there(tmp_path):
    with pytest.raises(DataError, match="no decoded cache"):
        open_decoded(tmp_path)
    assert list_caches(tmp_path / "missing") == []
