"""The decoded cache, written: whole or not there, whatever ends the process or fills the disk."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from fastleuk.data.dataset import load_dataset
from fastleuk.data.decoded import write as decoded_write
from fastleuk.data.decoded.read import (
    PIXELS,
    SOURCE,
)
from fastleuk.data.decoded.write import write_cache
from fastleuk.errors import DataError
from fastleuk.loading.prepare import find_cache, open_pixels
from tests.makers.cells import SUBJECT_REGEX, write_cells
from tests.makers.decoded_caches import (
    CPU,
    SIZE,
    build,
    flip_bit,
    loader_config,
    names_in,
    reference_decode,
)
from tests.makers.skips import needs_dali


@needs_dali
def test_own_sizes_and_centre_crops_are_kept(tmp_path):
    from dataclasses import replace

    from PIL import Image

    root = write_cells(tmp_path / "set", subjects=2, per_subject=1, side=40)
    wide = np.random.default_rng(0).integers(0, 255, (30, 50, 3), dtype=np.uint8)
    Image.fromarray(wide).save(root / "large" / "wide.png")
    dataset = load_dataset(root)
    row = dataset.manifest.paths.index("large/wide.png")
    crops = np.where(np.arange(5) == 0, 20, 0)
    dataset = replace(dataset, manifest=replace(dataset.manifest, crops=crops))
    for loader in ("dali", "torchvision"):
        cache = build(dataset, tmp_path / loader, loader, SOURCE)
        assert np.array_equal(cache.image(row), wide)
        pixels = np.asarray(Image.open(dataset.manifest.file(0)))[10:30, 10:30]
        assert np.array_equal(cache.image(0), pixels)
        assert cache.damage() == ""


def test_a_killed_build_is_no_cache_and_goes_on_where_it_was(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(decoded_write, "CHUNK", 16)
    with pytest.raises(KeyboardInterrupt):
        write_cache(
            dataset,
            tmp_path,
            reference_decode(dataset, stop_after=2),
            size=SIZE,
            backend="torchvision",
        )
    assert find_cache(dataset, tmp_path, size=SIZE, backend="torchvision") is None
    partial = next(tmp_path.glob("*.partial"))
    calls, seen = [], []
    write_cache(
        dataset,
        tmp_path,
        reference_decode(dataset, calls),
        size=SIZE,
        backend="torchvision",
        progress=lambda done, _: seen.append(done),
    )
    assert sum(calls) == 64 - 2 * 16
    assert seen[0] == 32
    assert not partial.exists()
    resumed = find_cache(dataset, tmp_path, size=SIZE, backend="torchvision", check=True)
    whole = build(dataset, tmp_path / "other")
    assert np.array_equal(resumed.pixels, whole.pixels)
    assert np.array_equal(resumed.index["mean_rgb"], whole.index["mean_rgb"])


def test_a_restart_decodes_again_what_was_torn(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(decoded_write, "CHUNK", 16)
    options = {"size": SIZE, "backend": "torchvision"}
    with pytest.raises(KeyboardInterrupt):
        write_cache(dataset, tmp_path, reference_decode(dataset, stop_after=3), **options)
    file = next(tmp_path.glob("*.partial")) / PIXELS
    flip_bit(file, 128 + 16 * SIZE * SIZE * 3 + 5)  # in the second chunk
    calls = []
    write_cache(dataset, tmp_path, reference_decode(dataset, calls), **options)
    assert sum(calls) == 16 + 16
    found = find_cache(dataset, tmp_path, size=SIZE, backend="torchvision", check=True)
    assert np.array_equal(found.pixels, build(dataset, tmp_path / "other").pixels)


@pytest.mark.slow
def test_a_build_that_is_killed_outright_can_be_restarted(cells, tmp_path):
    script = f"""
import os, signal
from fastleuk.data.decoded import write as decoded_write
decoded_write.CHUNK = 16
from fastleuk.data.dataset import load_dataset
from fastleuk.loading.decode.torchvision import decode_rows
from pathlib import Path
dataset = load_dataset({str(cells)!r}, subject_regex={SUBJECT_REGEX!r})
def die(done, total):
    if done >= 32: os.kill(os.getpid(), signal.SIGKILL)
decoded_write.write_cache(dataset, Path({str(tmp_path)!r}),
    lambda rows: decode_rows(dataset, rows, size={SIZE}, workers=1),
    size={SIZE}, backend="torchvision", progress=die)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    dataset = load_dataset(cells, subject_regex=SUBJECT_REGEX)
    assert find_cache(dataset, tmp_path, size=SIZE, backend="torchvision") is None
    found = build(dataset, tmp_path)
    assert found.damage() == ""
    assert names_in(tmp_path) == [found.folder.name]


def test_a_disk_without_room_is_refused_before_work_starts(dataset, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(decoded_write.shutil, "disk_usage", lambda _: usage)
    calls = []
    with pytest.raises(DataError, match="too little room"):
        write_cache(
            dataset, tmp_path, reference_decode(dataset, calls), size=SIZE, backend="torchvision"
        )
    assert not calls
    assert not names_in(tmp_path)


def test_a_disk_that_fills_up_midway_leaves_nothing(dataset, tmp_path, monkeypatch):
    """The file's own limit stands for the disk's: writing beyond it raises as a full disk does."""
    import errno

    def full(file, start, array):
        if start > 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_at(file, start, array)

    write_at = decoded_write._write_at
    monkeypatch.setattr(decoded_write, "_write_at", full)
    with pytest.raises(DataError, match="Nothing was left there"):
        build(dataset, tmp_path)
    assert not names_in(tmp_path)
    lines = []
    monkeypatch.setattr("fastleuk.loading.prepare.decoded_root", lambda: tmp_path)
    assert open_pixels(dataset, loader_config(), CPU, report=lines.append) is None
    assert "reading the files" in lines[0]


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small tmpfs")
def test_a_really_full_disk(dataset, tmp_path, monkeypatch):
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a tmpfs here")
    try:
        monkeypatch.setattr(decoded_write, "MARGIN", -(1 << 30))  # let it begin
        with pytest.raises(DataError, match="too little room"):
            build(dataset, place)
        assert not names_in(place)
    finally:
        subprocess.run(["umount", str(place)], check=True)
