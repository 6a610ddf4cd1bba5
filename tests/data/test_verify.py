import hashlib
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from fastleuk.data import verify as verifying
from fastleuk.data.dataset import load_dataset
from fastleuk.data.discover import discover
from fastleuk.data.shards.read import ImageReader
from fastleuk.data.user_cache.folder import cache_root
from fastleuk.data.verify import decode_check, verify_files
from fastleuk.errors import DataError
from tests.makers.data_trees import picture, put, small_cnmc


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(folder))
    return folder


def huge_bmp() -> bytes:
    data = bytearray(picture(0))
    data[18:26] = (30000).to_bytes(4, "little") * 2
    return bytes(data)


def spoil(root):
    """Write one file of each bad kind; return name -> what is said of it."""
    put(root, "a/1.png", "a/2.bmp", "b/1.jpg", "b/2.bmp")
    kinds = {
        "a/zero.bmp": (b"", "0 bytes"),
        "a/text.bmp": (b"patient,label\n1,2\n", "text"),
        "a/truncated.bmp": (picture(1, 64)[:5000], "truncated"),
        "b/truncated.png": (picture(2, 64, "PNG")[:2000], "truncated"),
        "b/truncated.jpg": (picture(3, 64, "JPEG")[:700], "truncated"),
        "b/header.bmp": (b"BM" + bytes(60), "damaged"),
        "b/huge.bmp": (huge_bmp(), "not a cell crop"),
        "b/dot.bmp": (picture(4, 1), "1x1 pixels"),
        "b/gif.png": (b"GIF89a" + bytes(40), "not an image"),
    }
    for name, (data, _) in kinds.items():
        (root / name).write_bytes(data)
    deep = Image.fromarray(np.zeros((16, 16), dtype=np.uint16))
    deep.save(root / "a/deep.png")
    return {name: said for name, (_, said) in kinds.items()} | {"a/deep.png": "convert it"}


def test_every_kind_of_bad_file_is_found_and_said(tmp_path):
    expected = spoil(tmp_path)
    manifest = discover(tmp_path).manifest
    result = verify_files(manifest, workers=2)
    found = {manifest.paths[i]: reason for i, reason in result.errors.items()}
    assert set(found) == set(expected)
    for name, said in expected.items():
        assert said in found[name], (name, found[name])


def test_hashes_and_sizes(tmp_path):
    put(tmp_path, "a/1.png", "b/1.bmp")
    (tmp_path / "b/2.bmp").write_bytes(picture(5, 12))
    manifest = discover(tmp_path).manifest
    result = verify_files(manifest)
    for i in range(len(manifest)):
        assert result.sha256[i] == hashlib.sha256(manifest.file(i).read_bytes()).hexdigest()
    assert result.sizes.tolist() == [[8, 8], [8, 8], [12, 12]]
    assert result.errors == {}


def test_a_pixel_bomb_is_an_error_of_that_file_only(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    put(tmp_path, "a/1.bmp", "b/1.bmp")
    (tmp_path / "b/2.bmp").write_bytes(picture(5, 12))
    (tmp_path / "b/3.bmp").write_bytes(picture(6, 32))
    result = verify_files(discover(tmp_path).manifest)
    assert set(result.errors) == {2, 3}
    assert all("absurdly many" in reason for reason in result.errors.values())


def test_second_scan_reads_no_file_but_changed_ones(tmp_path, cache, monkeypatch):
    spoil(tmp_path)
    manifest = discover(tmp_path).manifest
    first = verify_files(manifest)
    read = []
    examine = verifying._examine
    monkeypatch.setattr(verifying, "_examine", lambda f, r: (read.append(f), examine(f, r))[1])
    again = verify_files(manifest)
    assert read == []
    assert again.sha256 == first.sha256
    assert again.errors == first.errors
    np.testing.assert_array_equal(again.sizes, first.sizes)
    changed = manifest.file(0)
    changed.write_bytes(picture(77, 9))
    third = verify_files(manifest)
    assert read == [str(changed)]
    assert third.sha256[0] != first.sha256[0]
    assert third.sha256[1:] == first.sha256[1:]
    assert len(list((cache / "scan").iterdir())) == 1


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"version": 1}', '{"version": "V", "files": {"a": [1]}}',
               '{"version": "V", "files": {"a": ["x", 1, 1, ""]}}', '{"version": "V", "files": 3}']
)  # fmt: skip
def test_a_damaged_cache_is_rebuilt(tmp_path, cache, damage):
    put(tmp_path, "a/1.png", "b/1.bmp")
    manifest = discover(tmp_path).manifest
    first = verify_files(manifest)
    store = next((cache / "scan").iterdir())
    store.write_text(damage.replace('"V"', json.dumps(verifying._CACHE_VERSION)))
    assert verify_files(manifest).sha256 == first.sha256
    assert len(json.loads(store.read_text())["files"]) == 2


def test_an_unwritable_cache_is_no_error(tmp_path):
    put(tmp_path / "set", "a/1.png", "b/1.bmp")
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    result = verify_files(discover(tmp_path / "set").manifest, cache_dir=blocked)
    assert all(result.sha256)


def test_progress_counts_up_to_the_total(tmp_path):
    put(tmp_path, "a/1.png", "a/2.png", "b/1.bmp")
    manifest = discover(tmp_path).manifest
    calls = []
    verify_files(manifest, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(0, 3), (1, 3), (2, 3), (3, 3)]
    calls.clear()
    verify_files(manifest, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(3, 3)]


def test_an_interrupted_scan_keeps_what_it_read(tmp_path, monkeypatch):
    put(tmp_path, *(f"{c}/{i}.png" for c in "ab" for i in range(8)))
    manifest = discover(tmp_path).manifest

    def stop(done, _total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify_files(manifest, workers=1, progress=stop)
    read = []
    examine = verifying._examine
    monkeypatch.setattr(verifying, "_examine", lambda f, r: (read.append(f), examine(f, r))[1])
    verify_files(manifest)
    assert len(read) == 11


def test_vanished_file_is_an_error_of_that_file(tmp_path):
    put(tmp_path, "a/1.png", "b/1.bmp")
    manifest = discover(tmp_path).manifest
    manifest.file(1).unlink()
    result = verify_files(manifest)
    assert "No such file" in result.errors[1]
    assert result.sha256[1] == ""


def test_cache_root(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path / "c"))
    assert cache_root() == tmp_path / "c"
    monkeypatch.delenv("FASTLEUK_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root().name == "fastleuk"


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_modes_that_convert_to_rgb_pass(mode, tmp_path):
    path = tmp_path / "x.tif"
    Image.new("RGB", (9, 10)).convert(mode).save(path)
    assert decode_check(path.read_bytes()) == (9, 10, "")


def test_load_refuses_naming_every_bad_file(tmp_path):
    expected = spoil(tmp_path)
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path)
    text = str(caught.value)
    assert "--skip-bad" in text
    for name, said in expected.items():
        assert any(name in line and said in line for line in text.splitlines()), name


def test_load_can_skip_bad_files(tmp_path):
    expected = spoil(tmp_path)
    dataset = load_dataset(tmp_path, skip_bad=True)
    assert dataset.manifest.paths == ("a/1.png", "a/2.bmp", "b/1.jpg", "b/2.bmp")
    assert {path for path, _ in dataset.bad} == set(expected)
    assert len(dataset.groups) == len(dataset.sha256) == 4


def test_load_refuses_a_class_that_skipping_empties(tmp_path):
    put(tmp_path, "a/1.png", "b/1.bmp")
    (tmp_path / "b/1.bmp").write_bytes(b"")
    with pytest.raises(DataError, match=r"no usable image of: b\."):
        load_dataset(tmp_path, skip_bad=True)


def test_load_refuses_bad_rows_and_names_together_with_bad_files(tmp_path):
    root = small_cnmc(tmp_path)
    put(root, "C-NMC_training_data/fold_0/all/notes.bmp")
    (root / "C-NMC_test_prelim_phase_data/2.bmp").unlink()
    (root / "C-NMC_test_prelim_phase_data/1.bmp").write_bytes(b"")
    with pytest.raises(DataError, match=r"2 file\(s\)"):
        load_dataset(root)
    assert len(load_dataset(root, skip_bad=True).manifest) == 29


def test_content_hash_follows_content_label_and_name_only(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    put(one, "a/1.png", "a/2.png", "b/1.png")
    shutil.copytree(one, two)
    os.utime(two / "a/1.png", (1, 1))
    first = load_dataset(one).content_hash
    assert load_dataset(two).content_hash == first
    (two / "a/1.png").rename(two / "b/9.png")
    moved = load_dataset(two).content_hash
    assert moved != first
    (two / "b/9.png").write_bytes(picture(99))
    assert load_dataset(two).content_hash not in (first, moved)


def test_real_files_decode(shared_dir):
    dataset = load_dataset(shared_dir / "data" / "cnmc")
    assert len(dataset.manifest) == 11
    with open(shared_dir / "data" / "cnmc-names-sha256.csv") as stream:
        known = {row.split(",")[0].rsplit("/", 1)[-1]: row.split(",")[1] for row in stream}
    for path, digest in zip(dataset.manifest.paths, dataset.sha256, strict=True):
        assert known[path.rsplit("/", 1)[-1]] == digest


def test_a_reader_gives_each_file_whole_and_nothing_of_the_one_before(tmp_path):
    reader = ImageReader()
    for length in (0, 10, 3, 1 << 20, (1 << 20) + 1, 3 << 20, 7):
        data = np.random.default_rng(length).bytes(length)
        file = tmp_path / f"{length}.bin"
        file.write_bytes(data)
        assert reader.read(file).tobytes() == data
    with pytest.raises(FileNotFoundError):
        reader.read(tmp_path / "missing")
