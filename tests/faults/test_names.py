"""Names that file systems allow and programs forget; links in circles; large folders."""

import os
import resource
import shutil

import pytest

from tests.faults.commands import TINY, give
from tests.makers.bmp_files import bmp, photo

NAMES = {
    "newline": b"two\nlines",
    "carriage return": b"a\rb",
    "comma and quotes": b'a,"b",c',
    "not UTF-8": b"caf\xe9-\xff\xfe",
    "255 bytes": b"x" * 251,
    "right to left": "صورة‮gpj".encode(),
    "emoji": "🩸🔬".encode(),
    "spaces": b"  two  spaces  ",
    "leading dash": b"--data",
    "percent and braces": b"%s{0}$HOME`id`",
    "backslash": b"a\\nb",
    "combining": "é".encode(),
    "star": b"*?[a]",
}


def write_named(root, per_class=10):
    """Two classes whose images bear these names among others."""
    for number, folder in enumerate((b"alpha", b"beta")):
        there = os.path.join(os.fsencode(root), folder)
        os.makedirs(there)
        names = [*NAMES.values(), *(b"plain%d" % i for i in range(per_class))]
        for i, name in enumerate(names):
            with open(os.path.join(there, name + b".bmp"), "wb") as file:
                file.write(bmp((photo(24, 31 + i) // 2 + 100 * number).astype("uint8")))
    return root


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    return write_named(tmp_path_factory.mktemp("named") / "set")


def test_every_name_goes_through_training_and_back(named, tmp_path):
    outcome = give("train", "--data", named, *TINY, "--epochs", 1, "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.text
    again = give("evaluate", tmp_path / "run")
    assert again.code == 0, again.text


def test_every_name_goes_through_a_manifest(named):
    outcome = give("data", named, "--manifest", named / "m.csv")
    assert outcome.code == 0, outcome.text
    back = give("data", named / "m.csv")
    assert back.code == 0, back.text
    assert f"{2 * (len(NAMES) + 10)} used" in back.text
    (named / "m.csv").unlink()


def test_every_name_goes_through_shards(named, tmp_path):
    outcome = give("pack", tmp_path / "shards", "--data", named)
    assert outcome.code == 0, outcome.text
    back = give("data", tmp_path / "shards" / "*.tar")
    assert back.code == 0, back.text
    assert f"{2 * (len(NAMES) + 10)} used" in back.text


def test_a_bad_file_of_such_a_name_is_named_on_one_line(named, tmp_path):
    data = shutil.copytree(named, tmp_path / "set")
    bad = os.path.join(os.fsencode(data), b"alpha", b"two\nlines.bmp")
    with open(bad, "wb") as file:
        file.write(b"no image")
    outcome = give("data", data)
    assert outcome.code == 2, outcome.text
    (line,) = [line for line in outcome.text.splitlines() if "lines.bmp" in line]
    assert "two\\nlines.bmp" in line


def test_links_in_a_circle(cells, tmp_path):
    data = shutil.copytree(cells, tmp_path / "set")
    (data / "large" / "again").symlink_to(data)
    (data / "small" / "itself").symlink_to(data / "small" / "itself")
    (data / "small" / "up").symlink_to("..")
    outcome = give("data", data)
    assert outcome.code in (0, 2), outcome.text
    assert "circle" in outcome.text or "loop" in outcome.text or "link" in outcome.text, (
        outcome.text
    )


@pytest.mark.slow
def test_a_folder_of_100_000_files(tmp_path):
    """Listing and scanning keep their memory in bounds and lose nothing."""
    for name in "ab":
        (tmp_path / "set" / name).mkdir(parents=True)
    data = bmp(photo(8, 8))
    for i in range(100_000):
        changed = bytearray(data)
        changed[54:57] = i.to_bytes(3, "little")
        (tmp_path / "set" / "ab"[i % 2] / f"{i}.bmp").write_bytes(changed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = give("data", tmp_path / "set")
    assert outcome.code == 0, outcome.text
    assert "100000 used" in outcome.text.replace(",", "")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 1e9
