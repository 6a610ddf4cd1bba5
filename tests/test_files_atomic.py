"""Files that are never half-written: what every promise about kills rests on."""

import os

import pytest

from fastleuk.files import write_atomically, write_json, write_rows, write_text


def test_a_write_that_fails_midway_leaves_the_old_content_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")

    def failing(file):
        file.write(b"half of the ne")
        file.flush()
        assert path.read_text() == "old"
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_atomically(path, failing)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_reader_finds_the_old_content_or_the_new_never_a_part(tmp_path):
    path = tmp_path / "file"
    seen = []

    def look(content):
        def write(file):
            for start in range(0, len(content), 1000):
                file.write(content[start : start + 1000])
                file.flush()
                seen.append(path.read_bytes() if path.exists() else None)

        return write

    write_atomically(path, look(b"a" * 5000))
    assert set(seen) == {None}
    seen.clear()
    opened = path.open("rb")  # began to read before, and reads on
    write_atomically(path, look(b"b" * 5000))
    assert set(seen) == {b"a" * 5000}
    assert path.read_bytes() == b"b" * 5000
    with opened:
        assert opened.read() == b"a" * 5000


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_atomically(path, lambda file: file.write(b"x" * 100)),
        lambda path: write_text(path, "x"),
        lambda path: write_json(path, {"x": 1}),
        lambda path: write_rows(path, [{"x": 1}]),
    ],
)
def test_the_content_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch, write):
    """Else a power cut could leave the new name with nothing in it."""
    path, events = tmp_path / "file", []
    fsync, replace = os.fsync, os.replace

    def syncing(descriptor):
        events.append(("fsync", os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))
        fsync(descriptor)

    def replacing(source, target):
        events.append(("replace", os.stat(source).st_ino, os.stat(source).st_size))
        assert target == path
        replace(source, target)

    monkeypatch.setattr("os.fsync", syncing)
    monkeypatch.setattr("os.replace", replacing)
    write(path)
    (first, *synced), (second, *replaced) = events
    assert (first, second) == ("fsync", "replace")
    assert synced == replaced == [path.stat().st_ino, path.stat().st_size]
    assert path.stat().st_size > 0
