"""WebDataset shards: written whole, read where they lie, and refused where they are hostile."""

import json
import os
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from fastleuk.augment import NONE
from fastleuk.config import LoaderConfig
from fastleuk.data import pack as pack_module
from fastleuk.data.dataset import load_dataset
from fastleuk.data.discover import discover
from fastleuk.data.pack import write_shards
from fastleuk.data.shards.read import image_bytes, open_shard
from fastleuk.errors import ConfigError, DataError
from fastleuk.loading import make_loader
from fastleuk.loading.prepare import build_cache
from fastleuk.loading.stream import EvalStream
from tests.makers.cells import write_cells
from tests.makers.skips import needs_dali
from tests.makers.tar_files import add_member


@pytest.fixture(scope="module")
def shards(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("shards") / "set"
    assert len(write_shards(dataset, out, shard_bytes=10**6)) == 2  # --shard-mb 1
    return out


def _by_name(dataset):
    """File hash and everything known of an image, by the file's own name."""
    m = dataset.manifest
    return {
        path.rpartition("/")[2]: (dataset.sha256[i], m.label_name(i), m.subjects[i], m.sources[i])
        for i, path in enumerate(m.paths)
    }


def _images(manifest, loader):
    made = make_loader(
        manifest=manifest,
        stream=EvalStream(np.arange(len(manifest)), batch_size=10),
        config=LoaderConfig(loader=loader, size=32, workers=2 if loader == "dali" else 0),
        policy=NONE,
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.3, 0.4),
        device=torch.device("cpu"),
    )
    images = torch.cat([batch.images.clone() for batch in made.epoch()])
    made.close()
    names = [path.rpartition("/")[2] for path in manifest.paths]
    return dict(zip(names, images, strict=True))


def test_shards_hold_the_same_data_set(dataset, shards):
    packed = load_dataset(shards / "*.tar")
    assert packed.manifest.packed
    assert packed.manifest.class_names == dataset.manifest.class_names
    assert _by_name(packed) == _by_name(dataset)
    assert {path.split("/")[0] for path in packed.manifest.paths} == {
        "shard-000000.tar",
        "shard-000001.tar",
    }
    first = [i for i, path in enumerate(packed.manifest.paths) if path.startswith("shard-000000")]
    assert len(set(packed.manifest.labels[first].tolist())) == 2


@pytest.mark.parametrize("loader", [pytest.param("dali", marks=needs_dali), "torchvision"])
def test_batches_from_shards_are_those_from_files(loader, dataset, shards):
    files = _images(dataset.manifest, loader)
    packed = _images(load_dataset(shards / "*.tar").manifest, loader)
    assert files.keys() == packed.keys()
    assert all(torch.equal(image, packed[name]) for name, image in files.items())


@needs_dali
def test_a_cache_can_be_built_from_shards(dataset, shards, tmp_path):
    packed = load_dataset(shards / "*.tar")
    caches = [
        build_cache(each, tmp_path / str(i), size=32, backend="dali", workers=2)
        for i, each in enumerate((dataset, packed))
    ]
    rows = [
        {path.rpartition("/")[2]: i for i, path in enumerate(each.manifest.paths)}
        for each in (dataset, packed)
    ]
    for name, row in rows[0].items():
        assert np.array_equal(caches[0].image(row), caches[1].image(rows[1][name]))


@needs_dali
def test_dalis_own_reader_takes_shards_and_indices(dataset, shards):
    from nvidia.dali import Pipeline, fn

    paths = sorted(map(str, shards.glob("*.tar")))
    pipeline = Pipeline(batch_size=64, num_threads=1, device_id=None)
    with pipeline:
        images, about = fn.readers.webdataset(
            paths=paths,
            index_paths=[path.replace(".tar", ".idx") for path in paths],
            ext=["bmp", "json"],
        )
        pipeline.set_outputs(images, about)
    pipeline.build()
    images, about = pipeline.run()
    seen = [np.asarray(images[i]).tobytes() for i in range(64)]
    manifest = dataset.manifest
    assert sorted(seen) == sorted(manifest.file(i).read_bytes() for i in range(64))
    named = json.loads(np.asarray(about[0]).tobytes())
    assert named["label"] in manifest.class_names


def test_subjects_stay_together_when_shards_are_split(dataset, shards):
    from fastleuk.data.split.make import make_split

    packed = load_dataset(shards / "*.tar")
    split = make_split(packed.manifest, packed.groups, seed=1)
    subjects = [
        {packed.manifest.subjects[i] for i in split.indices(part)}
        for part in ("train", "val", "test")
    ]
    assert len(set.union(*subjects)) == sum(map(len, subjects)) == 16
    assert len(set(dataset.manifest.subjects)) == 16


def test_a_foreign_shard_with_class_numbers_is_read(tmp_path):
    root = write_cells(tmp_path / "set", subjects=3, per_subject=1)
    with tarfile.open(tmp_path / "foreign.tar", "w") as tar:
        for number, file in enumerate(sorted(root.rglob("*.bmp"))):
            add_member(tar, f"{number:04d}.bmp", file.read_bytes())
            add_member(tar, f"{number:04d}.cls", str(7 + number // 3).encode())
            add_member(tar, f"{number:04d}.txt", b"remark")
    found = discover(tmp_path / "foreign.tar")
    assert found.manifest.class_names == ("7", "8")
    assert found.manifest.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.manifest.subject_is_image
    assert len(found.ignored) == 6


# What is refused


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("../out.bmp", {}, "leads out of the shard"),
        ("/etc/out.bmp", {}, "leads out of the shard"),
        ("a/../../out.bmp", {}, "leads out of the shard"),
        ("link.bmp", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "a link or a device"),
        ("hard.bmp", {"type": tarfile.LNKTYPE, "linkname": "x.bmp"}, "a link or a device"),
        ("fifo.bmp", {"type": tarfile.FIFOTYPE}, "a link or a device"),
        ("x.bmp", {}, "stands there twice"),
    ],
)
def test_members_that_escape_are_refused(tmp_path, name, fields, words):
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        add_member(tar, "x.bmp", b"1")
        add_member(tar, name, b"" if fields else b"2", **fields)
    with pytest.raises(DataError, match=words):
        discover(tmp_path / "bad.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tar"]


def test_members_that_are_no_images_are_named(shards, tmp_path):
    for file in shards.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with tarfile.open(tmp_path / "shard-000009.tar", "w") as tar:
        add_member(tar, "a.bmp", b"a text, not an image")
        add_member(tar, "a.json", b'{"label": "small", "subject": "s1"}')
        add_member(tar, "b.json", b'{"label": "small"}')
        add_member(tar, "c.bmp", b"")
        add_member(tar, "c.json", b'{"label": 3}')
        add_member(tar, "d.bmp", b"")
        add_member(tar, "e.bmp", b"")
        add_member(tar, "e.json", b"{torn")
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path / "*.tar")
    text = str(caught.value)
    for words in (
        "a.bmp: not an image",
        "b.json: no image(s)",
        "c.bmp: its .json has a value of the wrong kind: label",
        "d.bmp: neither a .json nor a .cls",
        "e.bmp: its label can't be read",
    ):
        assert words in text
    assert len(load_dataset(tmp_path / "*.tar", skip_bad=True).manifest) == 64


def test_torn_compressed_and_missing_shards(shards, tmp_path):
    whole = (shards / "shard-000000.tar").read_bytes()
    (tmp_path / "torn.tar").write_bytes(whole[: len(whole) // 2 + 100])
    with pytest.raises(DataError, match=r"torn\.tar"):
        discover(tmp_path / "torn.tar")
    import gzip

    (tmp_path / "zipped.tar").write_bytes(gzip.compress(whole))
    with pytest.raises(DataError, match="uncompressed tar"):
        discover(tmp_path / "zipped.tar")
    with pytest.raises(DataError, match=r"no such shard.*fastleuk pack"):
        discover(tmp_path / "none" / "*.tar")


def test_a_shard_that_changes_is_read_anew(shards, tmp_path):
    import os

    copy = tmp_path / "a.tar"
    copy.write_bytes((shards / "shard-000000.tar").read_bytes())
    name = next(n for n in open_shard(copy).members if n.endswith(".bmp"))
    before = image_bytes(copy / name).tobytes()
    os.replace(shards / "shard-000001.tar", tmp_path / "b.tar")
    (shards / "shard-000001.tar").write_bytes((tmp_path / "b.tar").read_bytes())
    os.replace(tmp_path / "b.tar", copy)
    with pytest.raises(DataError, match="has no member"):
        image_bytes(copy / name)
    assert before


# What packing refuses


def test_packing_leaves_nothing_behind_when_it_fails(dataset, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"--shard-mb 5e-06: give at least 1\."):
        write_shards(dataset, tmp_path / "out", shard_bytes=5)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pack_module, "_add", full)
    with pytest.raises(DataError, match="No space left"):
        write_shards(dataset, tmp_path / "out")
    monkeypatch.setattr(pack_module, "MARGIN", 1 << 60)
    with pytest.raises(DataError, match="GB are free"):
        write_shards(dataset, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [".out.pack.lock"]
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="is there already"):
        write_shards(dataset, tmp_path / "out")


def test_packing_refuses_a_file_that_changed(tmp_path):
    dataset = load_dataset(write_cells(tmp_path / "set", subjects=2, per_subject=1))
    file = dataset.manifest.file(0)
    file.write_bytes(file.read_bytes()[:-1] + b"\7")
    with pytest.raises(DataError, match="has changed since"):
        write_shards(dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_any_name_that_is_accepted_is_packed_and_read_back(tmp_path):
    """Names that meet in a shard, too long or odd for a tar, in no encoding, with no ending."""
    root = write_cells(tmp_path / "set", subjects=2, per_subject=1)
    odd = [b"a.b.bmp", b"a_b.bmp", b"a b.bmp", b"a\\b.bmp", b"a\rb.bmp", b"a\nb.bmp", b"\xe4.bmp",
           b"x" * 220 + b".bmp", b"a.b.png", b"..b.bmp"]  # fmt: skip
    pixels = np.random.default_rng(0).integers(0, 255, (len(odd), 9, 9, 3), np.uint8)
    for name, one in zip(odd, pixels, strict=True):
        Image.fromarray(one).save(tmp_path / "one.bmp")
        os.rename(tmp_path / "one.bmp", os.fsencode(root / "large") + b"/" + name)
    dataset = load_dataset(root)
    assert len(dataset.manifest) == 4 + len(odd) - 1  # one is hidden
    write_shards(dataset, tmp_path / "out")
    again = load_dataset(tmp_path / "out" / "*.tar")
    assert sorted(again.sha256) == sorted(dataset.sha256)


def test_a_manifests_images_of_any_ending_are_packed_as_what_they_are(tmp_path):
    root = write_cells(tmp_path / "set", subjects=2, per_subject=1)
    dataset = load_dataset(root)
    odd = ["large/l0_0", "large/l1_0.dat"]
    for name in odd:
        (root / f"{name.partition('.')[0]}.bmp").rename(root / name)
    rows = [*odd, "small/s0_0.bmp", "small/s1_0.bmp"]
    text = "".join(f"{name},{name.partition('/')[0]},\n" for name in rows)
    (root / "m.csv").write_text("path,label,subject\n" + text)
    write_shards(load_dataset(root / "m.csv"), tmp_path / "out")
    again = load_dataset(tmp_path / "out" / "*.tar")
    assert sorted(again.sha256) == sorted(dataset.sha256)
