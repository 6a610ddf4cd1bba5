"""The cache that fits is found, built, or done without, and what changed is noticed."""

import json
import os
import shutil

import numpy as np
import pytest
import torch

from fastleuk.data.dataset import load_dataset
from fastleuk.data.decoded.read import (
    INDEX,
    INFO,
    PIXELS,
    is_sound,
    list_caches,
)
from fastleuk.errors import DataError
from fastleuk.loading.prepare import open_pixels
from tests.makers.cells import write_cells
from tests.makers.decoded_caches import CPU, SIZE, build, flip_bit, loader_config, names_in


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    return tmp_path_factory.mktemp("caches")


def spoil(folder, what):
    if what == "pixel":
        flip_bit(folder / PIXELS, 128 + 40 * SIZE * SIZE)
    elif what == "index":
        flip_bit(folder / INDEX, 200)
    elif what == "truncated":
        os.truncate(folder / PIXELS, 5000)
    elif what == "no pixels":
        (folder / PIXELS).unlink()
    else:
        info = json.loads((folder / INFO).read_text())
        (folder / INFO).write_text(json.dumps({**info, "version": 0}))


@pytest.mark.parametrize("what", ["pixel", "index", "truncated", "no pixels", "version"])
def test_a_damaged_cache_is_built_anew(what, dataset, tmp_path):
    before = np.array(build(dataset, tmp_path).pixels)
    folder = list_caches(tmp_path)[0][0]
    spoil(folder, what)
    assert not is_sound(folder)
    lines = []
    pixels = open_pixels(dataset, loader_config(cache=tmp_path), CPU, report=lines.append)
    assert "built anew" in lines[0]
    assert np.array_equal(pixels.cache.pixels, before)
    assert is_sound(folder)


def test_changed_added_and_removed_files_are_noticed(tmp_path):
    root = write_cells(tmp_path / "set", subjects=3, per_subject=2)
    folder = tmp_path / "caches"

    def current():
        dataset = load_dataset(root)
        return open_pixels(dataset, loader_config(cache=folder), CPU, report=lambda _: None).cache

    first = current()
    assert current().folder == first.folder
    file = root / "large" / "l0_0.bmp"
    shutil.copy(root / "large" / "l1_0.bmp", root / "large" / "new.bmp")
    data = bytearray((root / "large" / "new.bmp").read_bytes())
    data[-1000] ^= 255
    (root / "large" / "new.bmp").write_bytes(data)
    added = current()
    assert len(added) == len(first) + 1
    data[-1000:-990] = bytes([7] * 10)
    (root / "large" / "new.bmp").write_bytes(data)
    changed = current()
    assert changed.folder != added.folder
    file.unlink()
    removed = current()
    assert len(removed) == len(first)
    assert "large/l0_0.bmp" not in removed.index["paths"]


def test_a_named_cache_must_be_this_data_sets(dataset, cells, tmp_path):
    cache = build(dataset, tmp_path)
    assert open_pixels(dataset, loader_config(cache=cache.folder), CPU).cache.folder == cache.folder
    with pytest.raises(DataError, match="images of 48 pixels, not 64"):
        open_pixels(dataset, loader_config(cache=cache.folder, size=64), CPU)
    with pytest.raises(DataError, match="--loader torchvision, not dali"):
        open_pixels(dataset, loader_config("dali", cache=cache.folder), CPU)
    other = load_dataset(write_cells(tmp_path / "set", subjects=2, per_subject=1))
    with pytest.raises(DataError, match=f"other images .of {cells}"):
        open_pixels(other, loader_config(cache=cache.folder), CPU)
    spoil(cache.folder, "version")
    with pytest.raises(DataError, match="format 0"):
        open_pixels(dataset, loader_config(cache=cache.folder), CPU)


def test_a_folder_that_cannot_be_written(dataset, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(DataError, match="Can't write the cache folder"):
        open_pixels(dataset, loader_config(cache=blocked), CPU)
    monkeypatch.setattr("fastleuk.loading.prepare.decoded_root", lambda: blocked)
    lines = []
    assert open_pixels(dataset, loader_config(), CPU, report=lines.append) is None
    assert "reading the files" in lines[0]


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user to be refused as")
def test_a_finished_cache_works_in_a_read_only_folder(dataset, tmp_path):
    cache = build(dataset, tmp_path / "caches")
    before = sorted(path.name for path in (tmp_path / "caches").iterdir())
    for path in (cache.folder, tmp_path / "caches"):
        path.chmod(0o555)
    pixels = open_pixels(dataset, loader_config(cache=tmp_path / "caches"), CPU)
    assert pixels.cache.folder == cache.folder
    assert sorted(path.name for path in (tmp_path / "caches").iterdir()) == before


def test_auto_refuses_what_is_too_large_and_says_what_builds_it(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("fastleuk.loading.prepare.AUTO_BYTES", 1000)
    monkeypatch.setattr("fastleuk.loading.prepare.decoded_root", lambda: tmp_path)
    lines = []
    assert open_pixels(dataset, loader_config(), CPU, report=lines.append) is None
    assert "fastleuk prepare" in lines[0]
    assert not names_in(tmp_path)
    cache = build(dataset, tmp_path)
    assert open_pixels(dataset, loader_config(), CPU).cache.folder == cache.folder


def test_off_reads_the_files(dataset):
    assert open_pixels(dataset, loader_config(cache="off"), CPU) is None


def test_a_cache_for_the_gpu_stays_mapped_without_one(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("fastleuk.loading.prepare.decoded_root", lambda: tmp_path)
    lines = []
    pixels = open_pixels(dataset, loader_config(cache="gpu"), CPU, report=lines.append)
    assert pixels.resident is None
    assert "memory-mapped" in lines[-1]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 2000))
    open_pixels(dataset, loader_config(cache="gpu"), torch.device("cuda", 0), report=lines.append)
    assert "more than 40%" in lines[-1]
