"""The decoded cache: the same pixels, whole or not there, noticed when anything changes."""

import json
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from fastleuk.augment import NONE, PAPER
from fastleuk.config import LoaderConfig
from fastleuk.data.decoded import write as decoded_write
from fastleuk.data.decoded.read import (
    INDEX,
    INFO,
    PIXELS,
    SOURCE,
    clear_caches,
    is_sound,
    list_caches,
    open_decoded,
)
from fastleuk.data.decoded.write import write_cache
from fastleuk.data.load import load_dataset
from fastleuk.errors import DataError
from fastleuk.loading import has_dali, make_loader
from fastleuk.loading.prepare import build_cache, find_cache, open_pixels
from fastleuk.loading.stream import EvalStream, TrainStream
from tests.makers.cells import SUBJECT_REGEX, write_cells

needs_dali = pytest.mark.skipif(not has_dali(), reason="NVIDIA DALI is not installed")
LOADERS = [pytest.param("dali", marks=needs_dali), "torchvision"]
CPU = torch.device("cpu")
SIZE = 48


@pytest.fixture(scope="module")
def dataset(cells):
    return load_dataset(cells, subject_regex=SUBJECT_REGEX)


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    return tmp_path_factory.mktemp("caches")


def _names(folder):
    """What lies there but the locks, which stay for those who wait on them."""
    return [path.name for path in folder.iterdir() if path.suffix != ".lock"]


def _config(loader="torchvision", cache="auto", workers=2, size=SIZE):
    return LoaderConfig(loader=loader, size=size, workers=workers, cache=str(cache))


def _build(dataset, folder, loader="torchvision", size=SIZE):
    return build_cache(dataset, folder, size=size, backend=loader, workers=2)


def _images(dataset, loader, pixels, policy, stream, applier="auto"):
    made = make_loader(
        manifest=dataset.manifest,
        stream=stream,
        config=_config(loader, workers=2 if loader == "dali" else 0),
        policy=policy,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.4),
        device=CPU,
        seed=3,
        applier=applier,
        pixels=pixels,
    )
    batches = [(batch.images.clone(), batch.indices.clone()) for batch in made.epoch(1)]
    made.close()
    return [torch.cat(parts) for parts in zip(*batches, strict=True)]


# Pixels


@pytest.mark.parametrize("size", [SIZE, SOURCE])
@pytest.mark.parametrize("loader", LOADERS)
def test_batches_are_equal_with_and_without_the_cache(loader, size, dataset, caches):
    """Bit for bit, but for what compiled and fused sample from an image of another size."""
    cache = _build(dataset, caches / f"{loader}{size}", loader, size)
    pixels = open_pixels(dataset, _config(loader, cache.folder), CPU)
    assert pixels.cache.size == size
    rows = np.arange(5, 60)
    train = TrainStream(
        dataset.manifest.labels[rows], rows, per_class=40, frozen=False, seed=3, batch_size=9
    )
    for policy, stream, applier in (
        (NONE, EvalStream(rows[::-1], batch_size=16), "auto"),
        (PAPER, train, "exact"),
        (PAPER, train, "fused"),
        (PAPER, train, "auto"),
    ):
        cached = _images(dataset, loader, pixels, policy, stream, applier)
        files = _images(dataset, loader, None, policy, stream, applier)
        assert torch.equal(cached[1], files[1])
        if size == SOURCE or loader != "dali" or policy is NONE or applier == "exact":
            assert torch.equal(cached[0], files[0])
        else:
            assert (cached[0] - files[0]).abs().mean() < 0.05 * cached[0].std()
            assert not torch.equal(cached[0], files[0])


def test_the_index_says_whose_the_pixels_are(dataset, caches):
    cache = _build(dataset, caches / "index")
    index, manifest = cache.index, dataset.manifest
    assert tuple(index["paths"]) == manifest.paths
    assert tuple(index["subjects"]) == manifest.subjects
    assert tuple(index["sha256"]) == dataset.sha256
    assert np.array_equal(index["labels"], manifest.labels)
    means = np.array([cache.image(row).mean(axis=(0, 1)) for row in range(len(manifest))])
    assert np.abs(index["mean_rgb"] - means).max() < 0.01
    assert np.array_equal(np.load(cache.folder / PIXELS)[7], cache.image(7))


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
        cache = _build(dataset, tmp_path / loader, loader, SOURCE)
        assert np.array_equal(cache.image(row), wide)
        pixels = np.asarray(Image.open(dataset.manifest.file(0)))[10:30, 10:30]
        assert np.array_equal(cache.image(0), pixels)
        assert cache.damage() == ""


def test_a_cache_pickles_as_its_folder(dataset, caches):
    cache = _build(dataset, caches / "pickled")
    assert np.array_equal(cache.image(3), pickle.loads(pickle.dumps(cache)).image(3))
    assert len(pickle.dumps(cache)) < 2000


# Whole or not there


def _reference_decode(dataset, calls=None, stop_after=None, size=SIZE):
    from fastleuk.loading.decode.torchvision import decode_rows

    def decode(rows):
        for piece, decoded in enumerate(decode_rows(dataset, rows, size=size, workers=1)):
            if stop_after is not None and piece >= stop_after:
                raise KeyboardInterrupt
            if calls is not None:
                calls.append(len(decoded[0]))
            yield decoded

    return decode


def test_a_killed_build_is_no_cache_and_goes_on_where_it_was(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(decoded_write, "CHUNK", 16)
    with pytest.raises(KeyboardInterrupt):
        write_cache(
            dataset,
            tmp_path,
            _reference_decode(dataset, stop_after=2),
            size=SIZE,
            backend="torchvision",
        )
    assert find_cache(dataset, tmp_path, size=SIZE, backend="torchvision") is None
    partial = next(tmp_path.glob("*.partial"))
    calls, seen = [], []
    write_cache(
        dataset,
        tmp_path,
        _reference_decode(dataset, calls),
        size=SIZE,
        backend="torchvision",
        progress=lambda done, _: seen.append(done),
    )
    assert sum(calls) == 64 - 2 * 16
    assert seen[0] == 32
    assert not partial.exists()
    resumed = find_cache(dataset, tmp_path, size=SIZE, backend="torchvision", check=True)
    whole = _build(dataset, tmp_path / "other")
    assert np.array_equal(resumed.pixels, whole.pixels)
    assert np.array_equal(resumed.index["mean_rgb"], whole.index["mean_rgb"])


def test_a_restart_decodes_again_what_was_torn(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(decoded_write, "CHUNK", 16)
    options = {"size": SIZE, "backend": "torchvision"}
    with pytest.raises(KeyboardInterrupt):
        write_cache(dataset, tmp_path, _reference_decode(dataset, stop_after=3), **options)
    file = next(tmp_path.glob("*.partial")) / PIXELS
    _flip(file, 128 + 16 * SIZE * SIZE * 3 + 5)  # in the second chunk
    calls = []
    write_cache(dataset, tmp_path, _reference_decode(dataset, calls), **options)
    assert sum(calls) == 16 + 16
    found = find_cache(dataset, tmp_path, size=SIZE, backend="torchvision", check=True)
    assert np.array_equal(found.pixels, _build(dataset, tmp_path / "other").pixels)


def test_a_build_that_is_killed_outright_can_be_restarted(cells, tmp_path):
    script = f"""
import os, signal
from fastleuk.data.decoded import write as decoded_write
decoded_write.CHUNK = 16
from fastleuk.data.load import load_dataset
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
    found = _build(dataset, tmp_path)
    assert found.damage() == ""
    assert _names(tmp_path) == [found.folder.name]


# Changes and damage


def _flip(file, position):
    with open(file, "r+b") as stream:
        stream.seek(position)
        byte = stream.read(1)
        stream.seek(position)
        stream.write(bytes([byte[0] ^ 1]))


def _break(folder, what):
    if what == "pixel":
        _flip(folder / PIXELS, 128 + 40 * SIZE * SIZE)
    elif what == "index":
        _flip(folder / INDEX, 200)
    elif what == "truncated":
        os.truncate(folder / PIXELS, 5000)
    elif what == "no pixels":
        (folder / PIXELS).unlink()
    else:
        info = json.loads((folder / INFO).read_text())
        (folder / INFO).write_text(json.dumps({**info, "version": 0}))


@pytest.mark.parametrize("what", ["pixel", "index", "truncated", "no pixels", "version"])
def test_a_damaged_cache_is_built_anew(what, dataset, tmp_path):
    before = np.array(_build(dataset, tmp_path).pixels)
    folder = list_caches(tmp_path)[0][0]
    _break(folder, what)
    assert not is_sound(folder)
    lines = []
    pixels = open_pixels(dataset, _config(cache=tmp_path), CPU, report=lines.append)
    assert "built anew" in lines[0]
    assert np.array_equal(pixels.cache.pixels, before)
    assert is_sound(folder)


def test_changed_added_and_removed_files_are_noticed(tmp_path):
    root = write_cells(tmp_path / "set", subjects=3, per_subject=2)
    folder = tmp_path / "caches"

    def current():
        dataset = load_dataset(root)
        return open_pixels(dataset, _config(cache=folder), CPU, report=lambda _: None).cache

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
    cache = _build(dataset, tmp_path)
    assert open_pixels(dataset, _config(cache=cache.folder), CPU).cache.folder == cache.folder
    with pytest.raises(DataError, match="images of 48 pixels, not 64"):
        open_pixels(dataset, _config(cache=cache.folder, size=64), CPU)
    with pytest.raises(DataError, match="--loader torchvision, not dali"):
        open_pixels(dataset, _config("dali", cache=cache.folder), CPU)
    other = load_dataset(write_cells(tmp_path / "set", subjects=2, per_subject=1))
    with pytest.raises(DataError, match=f"other images .of {cells}"):
        open_pixels(other, _config(cache=cache.folder), CPU)
    _break(cache.folder, "version")
    with pytest.raises(DataError, match="format 0"):
        open_pixels(dataset, _config(cache=cache.folder), CPU)


# Room, permissions


def test_a_disk_without_room_is_refused_before_work_starts(dataset, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(decoded_write.shutil, "disk_usage", lambda _: usage)
    calls = []
    with pytest.raises(DataError, match="too little room"):
        write_cache(
            dataset, tmp_path, _reference_decode(dataset, calls), size=SIZE, backend="torchvision"
        )
    assert not calls
    assert not _names(tmp_path)


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
        _build(dataset, tmp_path)
    assert not _names(tmp_path)
    lines = []
    monkeypatch.setattr("fastleuk.loading.prepare.decoded_root", lambda: tmp_path)
    assert open_pixels(dataset, _config(), CPU, report=lines.append) is None
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
            _build(dataset, place)
        assert not _names(place)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_folder_that_cannot_be_written(dataset, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(DataError, match="Can't write the cache folder"):
        open_pixels(dataset, _config(cache=blocked), CPU)
    monkeypatch.setattr("fastleuk.loading.prepare.decoded_root", lambda: blocked)
    lines = []
    assert open_pixels(dataset, _config(), CPU, report=lines.append) is None
    assert "reading the files" in lines[0]


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user to be refused as")
def test_a_finished_cache_works_in_a_read_only_folder(dataset, tmp_path):
    cache = _build(dataset, tmp_path / "caches")
    before = sorted(path.name for path in (tmp_path / "caches").iterdir())
    for path in (cache.folder, tmp_path / "caches"):
        path.chmod(0o555)
    pixels = open_pixels(dataset, _config(cache=tmp_path / "caches"), CPU)
    assert pixels.cache.folder == cache.folder
    assert sorted(path.name for path in (tmp_path / "caches").iterdir()) == before


# Choosing


def test_auto_refuses_what_is_too_large_and_says_what_builds_it(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("fastleuk.loading.prepare.AUTO_BYTES", 1000)
    monkeypatch.setattr("fastleuk.loading.prepare.decoded_root", lambda: tmp_path)
    lines = []
    assert open_pixels(dataset, _config(), CPU, report=lines.append) is None
    assert "fastleuk prepare" in lines[0]
    assert not _names(tmp_path)
    cache = _build(dataset, tmp_path)
    assert open_pixels(dataset, _config(), CPU).cache.folder == cache.folder


def test_off_reads_the_files(dataset):
    assert open_pixels(dataset, _config(cache="off"), CPU) is None


def test_a_cache_for_the_gpu_stays_mapped_without_one(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("fastleuk.loading.prepare.decoded_root", lambda: tmp_path)
    lines = []
    pixels = open_pixels(dataset, _config(cache="gpu"), CPU, report=lines.append)
    assert pixels.resident is None
    assert "memory-mapped" in lines[-1]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 2000))
    open_pixels(dataset, _config(cache="gpu"), torch.device("cuda", 0), report=lines.append)
    assert "more than 40%" in lines[-1]


@needs_dali
@pytest.mark.parametrize("where", ["mapped", "resident"])
def test_the_gpu_graph_of_a_cache_uploads_once_and_decodes_nothing(where, dataset, tmp_path):
    """Traced without CUDA, see DESIGN 8; a CPU tensor stands for the one in GPU memory."""
    from fastleuk.loading.prepare import Pixels

    cache = _build(dataset, tmp_path, "dali")
    resident = torch.zeros(1) if where == "resident" else None
    made = make_loader(
        manifest=dataset.manifest,
        stream=EvalStream(np.arange(64), batch_size=16),
        config=_config("dali"),
        policy=PAPER,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.4),
        device=torch.device("cuda", 0),
        pixels=Pixels(cache, resident),
    )
    pipeline = made.build()
    pipeline._build_graph()
    placed = [(op._op.schema.Name(), str(op.spec.OutputDevice(0)).lower()) for op in pipeline._ops]
    names = [name for name, _ in placed]
    assert not [name for name in names if "ecode" in name or name == "Resize"]
    sources = [device for name, device in placed if name == "ExternalSource"]
    assert ["gpu" in device for device in sources].count(True) == (where == "resident")
    assert [node.device for node in pipeline._graph_outputs] == ["gpu"] * 3


@pytest.mark.gpu
@pytest.mark.parametrize("cache", ["auto", "gpu"])
def test_batches_from_the_cache_on_the_gpu_equal_those_from_the_files(
    cache, dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr("fastleuk.loading.prepare.decoded_root", lambda: tmp_path)
    device, images = torch.device("cuda", 0), []
    pixels = open_pixels(dataset, _config("dali", cache), device)
    assert (pixels.resident is not None) == (cache == "gpu")
    for given in (pixels, None):
        made = make_loader(
            manifest=dataset.manifest,
            stream=EvalStream(np.arange(64), batch_size=16),
            config=_config("dali"),
            policy=NONE,
            mean=(0.5, 0.4, 0.3),
            std=(0.2, 0.3, 0.4),
            device=device,
            pixels=given,
        )
        images.append(torch.cat([batch.images.clone() for batch in made.epoch()]))
        made.close()
    # The cache was resized on the CPU, the files on the GPU: at most a level apart (DESIGN 8.9).
    levels = 255 * torch.tensor([0.2, 0.3, 0.4], device=device)[:, None, None]
    assert float(((images[0] - images[1]) * levels).abs().max()) < 1.01


def test_caches_are_listed_and_cleared(dataset, tmp_path, monkeypatch):
    _build(dataset, tmp_path)
    monkeypatch.setattr(decoded_write, "CHUNK", 16)
    with pytest.raises(KeyboardInterrupt):
        write_cache(
            dataset,
            tmp_path,
            _reference_decode(dataset, stop_after=1, size=32),
            size=32,
            backend="torchvision",
        )
    found = list_caches(tmp_path)
    assert [info is None for _, info, _ in found].count(True) == 1
    (tmp_path / "mine.txt").write_text("not a cache")
    assert clear_caches(tmp_path) >= 64 * SIZE * SIZE * 3
    assert _names(tmp_path) == ["mine.txt"]


def test_no_cache_there(tmp_path):
    with pytest.raises(DataError, match="no decoded cache"):
        open_decoded(tmp_path)
    assert list_caches(tmp_path / "missing") == []


# Verifying BMPs without decoding them


@pytest.mark.parametrize("header", ["", "v5"])
@pytest.mark.parametrize("cut", [0, 1, 2, 3, 5, 400, 4000])
def test_a_plain_bmp_is_judged_as_pil_judges_it(header, cut, monkeypatch):
    import io

    from PIL import Image

    from fastleuk.data import scan
    from fastleuk.data.images import decode as image

    pixels = np.random.default_rng(1).integers(0, 255, (30, 41, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "BMP")
    data = stream.getvalue()
    if header:  # as the preliminary set has it: 138 bytes before the pixels
        info = (124).to_bytes(4, "little") + data[18:54] + bytes(84)
        data = data[:10] + (138).to_bytes(4, "little") + info + data[54:]
    data = data[: len(data) - cut]
    quick = scan.decode_check(data)
    hashed = image.examine(data).pixels
    monkeypatch.setattr(image, "read_layout", lambda _: None)
    slow = scan.decode_check(data)
    assert quick == slow
    assert image.examine(data).pixels == hashed
    assert (slow[2] == "") == (cut <= 1)
