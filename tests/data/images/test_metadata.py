"""Metadata never make an image unusable: what PIL can't read of them is passed over."""

import dataclasses
import struct
import zlib

import numpy as np
import pytest

from fastleuk.data.dataset import DataSet, load_dataset
from fastleuk.data.decoded.read import SOURCE
from fastleuk.data.discover import discover
from fastleuk.data.images.decode import decode_rgb, examine
from fastleuk.data.images.metadata import NOTE, without_metadata
from fastleuk.data.verify import verify_files
from fastleuk.loading.decode.pil import decode
from fastleuk.loading.prepare import build_cache
from tests.makers.data_trees import put
from tests.makers.image_files import photo, save, turned
from tests.makers.skips import needs_dali

PIXELS = photo(3)
MB = 1 << 20


def chunk(name, body, checksum=None):
    found = zlib.crc32(name + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", found)


def in_png(*chunks, last=False, **options):
    """Insert chunks behind the header of a PNG, or before its end."""
    data = save(PIXELS, "PNG", **options)
    place = len(data) - 12 if last else 33
    return data[:place] + b"".join(chunks) + data[place:]


def in_jpeg(marker, body, encode=None):
    data = encode(PIXELS) if encode else save(PIXELS, "JPEG", quality=95)
    return data[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + data[2:]


def in_tiff(tag, kind, count, value, compression=None):
    """Add an entry to the only directory of a TIFF."""
    data = save(PIXELS, "TIFF", compression=compression)
    (start,) = struct.unpack_from("<I", data, 4)
    (number,) = struct.unpack_from("<H", data, start)
    entries = [data[start + 2 + 12 * i : start + 14 + 12 * i] for i in range(number)]
    entries.append(struct.pack("<HHII", tag, kind, count, value))
    entries.sort(key=lambda entry: struct.unpack("<H", entry[:2]))
    table = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + table


ZERO = zlib.compress(bytes(3 * MB))
TEXT = zlib.compress(b"a" * (MB - 10))
ODD = {
    "zTXt beyond MAX_TEXT_CHUNK": in_png(chunk(b"zTXt", b"Comment\0\0" + ZERO)),
    "zTXt behind the pixels": in_png(chunk(b"zTXt", b"Comment\0\0" + ZERO), last=True),
    "iTXt beyond MAX_TEXT_CHUNK": in_png(chunk(b"iTXt", b"XML\0\1\0\0\0" + ZERO)),
    "texts beyond MAX_TEXT_MEMORY": in_png(*[chunk(b"zTXt", b"k\0\0" + TEXT)] * 66),
    "iCCP beyond MAX_TEXT_CHUNK": in_png(chunk(b"iCCP", b"icc\0\0" + ZERO)),
    "iCCP of an unknown method": in_png(chunk(b"iCCP", b"icc\0\7" + ZERO)),
    "tEXt with a wrong checksum": in_png(chunk(b"tEXt", b"a\0b", 1)),
    "pHYs too short": in_png(chunk(b"pHYs", b"\0")),
    "gAMA too short": in_png(chunk(b"gAMA", b"")),
    "JFIF cut short": in_jpeg(0xE0, b"JFIF\0"),
    "Adobe cut short": in_jpeg(0xEE, b"Adobe\0"),
    "TIFF description that is a number": in_tiff(270, 3, 1, 7),
    "TIFF packet of XMP that is a number": in_tiff(700, 4, 1, 7),
    "TIFF color space that is a text": in_tiff(40961, 2, 1, 0x41),
    "TIFF color space, compressed": in_tiff(40961, 2, 1, 0x41, "tiff_lzw"),
}


def clean(data):
    return save(PIXELS, "JPEG", quality=95) if data[:2] == b"\xff\xd8" else save(PIXELS, "PNG")


@pytest.mark.parametrize("kind", ODD)
def test_what_pil_cannot_read_of_the_metadata_costs_no_pixel(kind):
    found = examine(ODD[kind])
    assert found.error == ""
    assert found.pixels == examine(clean(ODD[kind])).pixels
    expected = np.asarray(decode_rgb(clean(ODD[kind])))
    np.testing.assert_array_equal(np.asarray(decode_rgb(ODD[kind])), expected)
    if found.note:  # it had to be removed: no other decoder is asked for these pixels
        assert found.note == NOTE
        assert found.needs_pil


def test_a_sound_orientation_is_kept_beside_metadata_that_are_not():
    for data in (
        in_jpeg(0xEE, b"Adobe\0", turned(6, "JPEG", quality=95)),
        in_png(chunk(b"zTXt", b"Comment\0\0" + ZERO), exif=turned_exif(6)),
    ):
        found = examine(data)
        assert (found.error, found.height, found.width) == ("", PIXELS.shape[1], PIXELS.shape[0])
        assert NOTE in found.note


def turned_exif(orientation):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_damaged_pixels_stay_damaged_and_no_cut_raises_another_error(kind):
    data = {"PNG": in_png(chunk(b"zTXt", b"k\0\0" + ZERO)),
            "JPEG": in_jpeg(0xE0, b"JFIF\0"), "TIFF": in_tiff(270, 3, 1, 7)}[kind]  # fmt: skip
    for end in range(0, len(data), max(1, len(data) // 60)):
        list(without_metadata(data[:end]))
    assert examine(data[: len(data) * 2 // 3]).error


def test_every_tag_of_a_tiff_may_be_nonsense():
    rng = np.random.default_rng(0)
    expected = examine(save(PIXELS, "PNG")).pixels
    tags = (269, 270, 271, 272, 282, 283, 296, 305, 306, 315, 532, 700, 33432, 34377, 34665,
            34675, 34853, 37724, 40961, 65000)  # fmt: skip
    for _ in range(300):
        tag, kind = int(rng.choice(tags)), int(rng.integers(1, 14))
        count, value = int(rng.choice([0, 1, 2, 9, 2**31])), int(rng.integers(2**32))
        found = examine(in_tiff(tag, kind, count, value))
        assert (found.error, found.pixels) == ("", expected), (tag, kind, count, value)


@needs_dali
@pytest.mark.parametrize("backend", ["dali", "torchvision"])
def test_every_loader_has_the_same_pixels(tmp_path, monkeypatch, backend):
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path / "cache"))
    root = tmp_path / "set"
    put(root, "a/0.png", "b/0.png")
    for number, data in enumerate(ODD.values()):
        (root / f"{'ab'[number % 2]}/{number}.png").write_bytes(data)
    found = discover(root).manifest
    result = verify_files(found)
    assert not result.errors
    manifest = dataclasses.replace(found, needs_pil=result.needs_pil)
    dataset = DataSet(
        manifest, np.arange(len(found)), result.sha256, result.sizes, (), (), (), found,
        pixels=result.pixels,
    )  # fmt: skip
    cache = build_cache(dataset, tmp_path / "decoded", size=SOURCE, backend=backend, workers=2)
    for row in range(len(manifest)):
        reference = decode(manifest.file(row)).astype(int)
        assert np.abs(cache.image(row) - reference).max() <= 1, manifest.paths[row]


def test_such_files_are_no_bad_files_of_a_data_set(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path / "cache"))
    root = tmp_path / "set"
    put(root, *(f"{c}/{i}.png" for c in "ab" for i in range(3)))
    (root / "a/odd.png").write_bytes(ODD["iCCP beyond MAX_TEXT_CHUNK"])
    dataset = load_dataset(root)
    assert len(dataset.manifest) == 7
    assert dataset.notes == (("a/odd.png", NOTE),)
