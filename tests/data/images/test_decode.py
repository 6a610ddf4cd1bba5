"""One decoding for every loader: what is accepted, by which rules, and equal pixels everywhere."""

import os

import numpy as np
import pytest
from PIL import Image

from fastleuk.data.dataset import load_dataset
from fastleuk.data.decoded.read import SOURCE
from fastleuk.data.images.decode import decode_rgb, encode_bmp, examine
from fastleuk.data.manifest import Manifest
from fastleuk.errors import DataError
from fastleuk.loading.decode.pil import cut_centre, decode
from fastleuk.loading.prepare import build_cache
from tests.makers.bmp_files import bmp
from tests.makers.cells import write_cells
from tests.makers.image_files import (
    ACCEPTED,
    REFUSED,
    bmp32,
    pages,
    photo,
    png16,
    save,
    tolerance,
    turned,
)
from tests.makers.skips import needs_dali


def every_kind(root):
    """Write an image of each kind, in two classes; a name tells the kind."""
    for number, (kind, encode) in enumerate(ACCEPTED.items()):
        folder = root / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{kind.replace('/', '')}.png").write_bytes(encode(photo(number)))
    return root


@needs_dali
@pytest.mark.parametrize("backend", ["dali", "torchvision"])
def test_every_kind_has_equal_pixels_on_every_loader(backend, tmp_path):
    dataset = load_dataset(every_kind(tmp_path / "set"))
    assert len(dataset.manifest) == len(ACCEPTED)
    cache = build_cache(dataset, tmp_path / "cache", size=SOURCE, backend=backend, workers=2)
    for row, path in enumerate(dataset.manifest.paths):
        reference = decode(dataset.manifest.file(row))
        assert reference.shape[1::-1] == tuple(dataset.sizes[row]), path
        difference = np.abs(cache.image(row).astype(int) - reference).max()
        assert difference <= tolerance(path.partition("/")[2]), path


@pytest.mark.parametrize("kind", REFUSED)
def test_what_no_loader_could_read_is_refused(kind):
    data = REFUSED[kind](photo(1))
    found = examine(data)
    assert found.error
    assert found.pixels == ""
    with pytest.raises(Exception, match=r".+"):
        decode_rgb(data)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_depth_is_refused_with_its_bits(channels):
    assert "16 bits a channel" in examine(png16(channels)(photo(1))).error


def test_transparent_parts_are_black_whatever_colour_hides_there():
    pixels = photo(1)
    clear = np.zeros(pixels.shape[:2], np.uint8)
    clear[:, 9:] = 255
    seen = []
    for hidden in (0, 200):
        under = np.where(clear[..., None] == 0, hidden, pixels).astype(np.uint8)
        for kind in ("PNG", "TIFF", "WEBP"):
            data = save(
                np.dstack([under, clear]), kind, **{"lossless": True} if kind == "WEBP" else {}
            )
            assert "transparent" in examine(data).note
            seen.append(np.asarray(decode_rgb(data)))
    for image in seen:
        np.testing.assert_array_equal(image, np.where(clear[..., None] == 0, 0, pixels))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_upright_size_is_told(kind):
    found = examine(turned(6, kind)(photo(1, height=20, width=33)))
    assert (found.width, found.height, found.error) == (20, 33, "")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_of_several_pages_the_first_is_used_and_that_is_told(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = pages(kind, **options)(photo(3))
    assert "2 pages" in examine(data).note
    np.testing.assert_array_equal(np.asarray(decode_rgb(data)), photo(3))


def test_the_pixels_are_one_image_in_any_container():
    pixels = photo(5)
    files = [bmp(pixels), bmp(pixels, top_down=True), bmp(pixels, gap=84), save(pixels, "PNG"),
             save(pixels, "TIFF"), save(pixels, "WEBP", lossless=True), bmp32()(pixels),
             save(Image.fromarray(pixels).convert("RGBA"), "PNG"),
             encode_bmp(Image.fromarray(pixels)).tobytes()]  # fmt: skip
    assert len({examine(data).pixels for data in files}) == 1
    other = pixels.copy()
    other[7, 9, 1] ^= 1
    others = [bmp(other), bmp(pixels[::-1].copy()), bmp(pixels[..., ::-1].copy())]
    others += [save(other, "PNG"), bmp(pixels.reshape(31, 24, 3))]
    assert len({examine(data).pixels for data in (files[0], *others)}) == 5


def test_copies_are_found_across_headers_and_formats(tmp_path):
    """C-NMC's training files have a header of 54 bytes, its preliminary files one of 138."""
    root = write_cells(tmp_path / "set", subjects=3, per_subject=2)
    for name in ("l0_0", "l1_1"):
        pixels = np.asarray(Image.open(root / "large" / f"{name}.bmp"))
        data = bmp(pixels, gap=84) if name == "l0_0" else save(pixels, "PNG")
        (root / "large" / f"copy_{name}.{'bmp' if name == 'l0_0' else 'png'}").write_bytes(data)
    dataset = load_dataset(root, subject_regex=r"([^/]+)_\d")
    assert [same.paths for same in dataset.identical] == [
        ("large/copy_l0_0.bmp", "large/l0_0.bmp"),
        ("large/copy_l1_1.png", "large/l1_1.bmp"),
    ]
    by_path = dict(zip(dataset.found.paths, dataset.found.subjects, strict=True))
    assert by_path["large/copy_l0_0.bmp"] != by_path["large/l0_0.bmp"]
    assert len(dataset.manifest) == 12
    assert len(set(dataset.groups.tolist())) == 6


@pytest.mark.parametrize("how", ["moved", "written"])
def test_a_file_of_equal_size_and_time_is_noticed(how, tmp_path):
    root = write_cells(tmp_path / "set", subjects=2, per_subject=1)
    files = sorted(root.rglob("*.bmp"))
    for file in files:
        os.utime(file, (10**9, 10**9))
    before = load_dataset(root)
    first, last = files[0].read_bytes(), files[-1].read_bytes()
    if how == "moved":
        (tmp_path / "new").write_bytes(last[:-1] + b"\1")
        os.utime(tmp_path / "new", (10**9, 10**9))
        os.replace(tmp_path / "new", files[0])
    else:
        files[0].write_bytes(first[:-1] + b"\1")
        os.utime(files[0], (10**9, 10**9))
    after = load_dataset(root)
    assert after.sha256[0] != before.sha256[0]
    with pytest.raises(DataError, match=files[0].name):
        before.require_unchanged()
    after.require_unchanged()


def test_a_touched_file_is_the_same(tmp_path):
    dataset = load_dataset(write_cells(tmp_path / "set", subjects=2, per_subject=1))
    dataset.manifest.file(0).touch()
    dataset.require_unchanged()


def test_no_cache_is_kept_of_files_that_were_exchanged(tmp_path):
    dataset = load_dataset(write_cells(tmp_path / "set", subjects=2, per_subject=1))
    file = dataset.manifest.file(0)
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    with pytest.raises(DataError, match=file.name):
        build_cache(dataset, tmp_path / "c", size=32, backend="torchvision", workers=1)
    assert not [f for f in (tmp_path / "c").iterdir() if f.is_dir()]


def test_a_name_that_lies_is_told(tmp_path):
    root = write_cells(tmp_path / "set", subjects=2, per_subject=1)
    (root / "large" / "x.jpg").write_bytes(save(photo(1), "PNG"))
    dataset = load_dataset(root)
    assert dataset.notes == (("large/x.jpg", "named otherwise, but by content a PNG"),)


def test_class_names_and_folders_that_are_not_utf8_are_refused(tmp_path):
    root = write_cells(tmp_path / "set", subjects=2, per_subject=1)
    os.rename(root / "large", os.fsencode(root) + b"/gro\xdf")
    with pytest.raises(DataError, match="not UTF-8"):
        load_dataset(root)


SIDES = [(20, 33), (21, 32), (8, 40), (17, 17)]


@needs_dali
@pytest.mark.parametrize("crop", [9, 12, 17, 30, 64])
def test_a_cut_is_one_for_every_loader(crop, tmp_path):
    """Odd differences, and crops larger than an image or one of its sides."""
    from fastleuk.loading.decode.dali import decode_rows

    for number, (height, width) in enumerate(SIDES):
        (tmp_path / f"{number}.png").write_bytes(save(photo(number, height, width), "PNG"))
    count = len(SIDES)
    text = "".join(f"{i}.png,{'ab'[i % 2]},,{crop if i else 0}\n" for i in range(count))
    (tmp_path / "m.csv").write_text("path,label,subject,crop\n" + text)
    dataset = load_dataset(tmp_path / "m.csv")
    rows = np.arange(count)
    images = [i for piece, _ in decode_rows(dataset, rows, size=SOURCE, workers=1) for i in piece]
    for number, (image, (height, width)) in enumerate(zip(images, SIDES, strict=True)):
        pixels = photo(number, height, width)
        top, left = (max(0, side - crop) // 2 for side in (height, width))
        cut = pixels[top:, left:][:crop, :crop] if number else pixels
        np.testing.assert_array_equal(image, cut)
        np.testing.assert_array_equal(cut_centre(pixels, crop if number else 0), cut)


@needs_dali
def test_a_loader_finds_out_itself_what_nobody_has_looked_at(tmp_path):
    from fastleuk.loading.decode.dali import by_bytes, rows_for_pil

    (tmp_path / "a.png").write_bytes(save(photo(1), "PNG"))
    (tmp_path / "b.png").write_bytes(save(photo(2), "TIFF"))
    manifest = Manifest(
        root=tmp_path,
        paths=("a.png", "b.png"),
        labels=np.array([0, 1]),
        class_names=("a", "b"),
        subjects=("a", "b"),
        folds=np.array([-1, -1]),
        sources=("csv",) * 2,
        crops=np.array([0, 0]),
        layout="csv",
    )
    assert rows_for_pil(manifest).tolist() == [False, True]
    assert by_bytes(manifest)
    assert not by_bytes(manifest.take([0]))
