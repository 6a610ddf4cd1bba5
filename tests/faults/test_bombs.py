"""Small files that claim to be huge are refused by their header, with no memory taken."""

import io
import struct
import subprocess
import sys
import zlib

import pytest
from PIL import Image

from tests.makers.cells import PROJECT
from tests.makers.image_files import photo, png_chunk, save


def png(width, height):
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(10**7), 9)
    chunks = ((b"IHDR", head), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def bmp(width, height, bits=24, compression=0):
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return struct.pack("<2sIHHI", b"BM", 100, 0, 0, 54) + info + bytes(100)


def jpeg(width, height):
    data = bytearray(save(photo(1), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def tiff(width, height):
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1),
            (262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height),
            (279, 4, 1, 50)]  # fmt: skip
    table = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<I", 60) + bytes(52) + struct.pack("<H", 9) + table + bytes(4)


def webp(width, height):
    chunk = b"VP8X" + struct.pack("<I", 10) + bytes(4)
    chunk += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def turned(width, height):
    """Turned by EXIF as well, which decoders look at first."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.new("L", (8, 8)).save(stream, "PNG", exif=exif)
    data = bytearray(stream.getvalue())
    struct.pack_into(">II", data, 16, width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


BOMBS = {
    "PNG": png(60_000, 60_000),
    "PNG, long": png(10_000_000, 8),
    "PNG, turned": turned(50_000, 50_000),
    "BMP": bmp(60_000, 60_000),
    "BMP, 1 bit": bmp(2**20, 2**20, bits=1),
    "BMP, run lengths": bmp(40_000, 40_000, bits=8, compression=1),
    "BMP, negative": bmp(60_000, -60_000),
    "JPEG": jpeg(65_535, 65_535),
    "TIFF": tiff(100_000, 100_000),
    "WEBP": webp(16_383, 16_383),
}

ASK = """
import resource, sys
from fastleuk.data.images.decode import decode_rgb, examine
data = sys.stdin.buffer.read()
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
limit = 1 << 30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(examine(data).error)
try:
    decode_rgb(data)
except Exception as error:
    print(type(error).__name__)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) * 1024)
"""


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_by_its_header(name):
    done = subprocess.run(
        [sys.executable, "-c", ASK], input=BOMBS[name], capture_output=True, timeout=60, cwd=PROJECT
    )
    assert done.returncode == 0, done.stderr.decode()
    error, refusal, grown = done.stdout.decode().splitlines()
    assert error
    assert refusal
    assert "MemoryError" not in refusal + error
    assert int(grown) < 64e6


def test_a_data_set_with_bombs_is_read_and_they_are_listed(cells, tmp_path):
    import shutil

    from tests.faults.commands import give

    data = shutil.copytree(cells, tmp_path / "set")
    for name, content in BOMBS.items():
        (data / "large" / f"{name.replace(',', '')}.bmp").write_bytes(content)
    outcome = give("data", data)
    assert outcome.code == 2, outcome.text
    for name in BOMBS:
        assert f"{name.replace(',', '')}.bmp" in outcome.text
