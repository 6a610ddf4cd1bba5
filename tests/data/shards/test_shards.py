"""Shards of others, a lost shard, two packs at once, and more shards than files may be open."""

import json
import resource
import tarfile
import threading

import numpy as np
import pytest

from fastleuk.data.dataset import load_dataset
from fastleuk.data.discover import discover
from fastleuk.data.pack import partial_folders, write_shards
from fastleuk.data.shards.maps import MAPS
from fastleuk.data.shards.read import image_bytes, open_shard
from fastleuk.errors import DataError
from tests.makers.cells import SUBJECT_REGEX, write_cells
from tests.makers.data_trees import picture
from tests.makers.tar_files import add_member


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = write_cells(
        tmp_path_factory.mktemp("cells") / "set", subjects=4, per_subject=3, side=220
    )
    return load_dataset(root, subject_regex=SUBJECT_REGEX)


@pytest.fixture
def shards(dataset, tmp_path):
    files = write_shards(dataset, tmp_path / "set", shard_bytes=1 << 20)
    assert len(files) > 2
    return tmp_path / "set"


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


def tar(path, *members):
    with tarfile.open(path, "w") as file:
        for name, data in members:
            add_member(file, name, data if isinstance(data, bytes) else json.dumps(data).encode())
    return path


def labels(found):
    manifest = found.manifest
    return {
        path.rpartition("/")[2]: manifest.label_name(i) for i, path in enumerate(manifest.paths)
    }


# The count beside the shards


def test_a_lost_shard_is_refused_by_name(shards):
    lost = shards / "shard-000001.tar"
    lost.unlink()
    with pytest.raises(DataError, match=r"(?s)1 of \d+ shards are missing.*shard-000001\.tar"):
        discover(shards / "*.tar")
    (shards / "shards.json").unlink()
    remarks = discover(shards / "*.tar").remarks
    assert any("whether any is missing isn't known" in remark for remark in remarks)


def test_shards_that_were_not_asked_for_are_told(shards):
    found = discover(shards / "shard-00000[01].tar")
    assert any("shards in" in r and "are not asked for" in r for r in found.remarks)


def test_a_shard_of_another_pack_is_refused(shards, tmp_path, dataset):
    other = write_shards(dataset, tmp_path / "other", shard_bytes=1 << 20, seed=5)
    (shards / "shard-000000.tar").write_bytes(other[0].read_bytes())
    with pytest.raises(DataError, match=r"(?s)not what was packed|other images.*shard-000000"):
        load_dataset(shards / "*.tar")


def test_images_that_were_exchanged_in_a_shard_are_noticed(shards):
    file = shards / "shard-000000.tar"
    member = next(name for name in open_shard(file).members if name.endswith(".bmp"))
    start, size = open_shard(file).members[member]
    data = bytearray(file.read_bytes())
    data[start + size - 1] ^= 1
    file.write_bytes(data)
    discover(shards / "*.tar")
    with pytest.raises(DataError, match=r"(?s)other images than were packed.*shard-000000"):
        load_dataset(shards / "*.tar")


@pytest.mark.parametrize("text", ["{torn", '{"format": "fastleuk shards 1"}', "[" * 100_000])
def test_a_damaged_index_is_said(shards, text):
    (shards / "shards.json").write_text(text)
    with pytest.raises(DataError, match=r"shards\.json: (can't be read|damaged)"):
        discover(shards / "*.tar")


# Two at once, and what the killed leave


def test_a_second_pack_of_the_same_name_is_refused_while_the_first_is_at_work(dataset, tmp_path):
    said = []

    def second(*_):
        if not said:
            try:
                write_shards(dataset, tmp_path / "out", shard_bytes=1 << 20)
            except DataError as error:
                said.append(str(error))

    def progress(*_):
        if not said:
            thread = threading.Thread(target=second)
            thread.start()
            thread.join()

    files = write_shards(dataset, tmp_path / "out", shard_bytes=1 << 20, progress=progress)
    assert "another fastleuk pack writes it" in said[0]
    assert len(load_dataset(tmp_path / "out/*.tar").manifest) == len(dataset.manifest)
    assert len(files) == len(list((tmp_path / "out").glob("*.tar")))


def test_litter_of_the_killed_is_removed_by_the_next_pack_of_that_name_only(dataset, tmp_path):
    mine, others = tmp_path / ".out.abcd_123.partial", tmp_path / ".out2.abcd_123.partial"
    for folder in (mine, others, tmp_path / ".out.partial"):
        folder.mkdir()
        (folder / "shard-000000.tar").write_bytes(b"torn")
    assert partial_folders(tmp_path / "out") == [mine, tmp_path / ".out.partial"]
    write_shards(dataset, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".out.pack.lock", others.name, "out"]


# Shards of others


def test_members_with_a_dot_and_slash(tmp_path):
    file = tar(tmp_path / "s.tar", *((f"./{k}{end}", data) for k in range(4) for end, data in
               ((".png", picture(k, kind="PNG")), (".cls", b"%d\n" % (k % 2)))))  # fmt: skip
    manifest = load_dataset(file).manifest
    assert manifest.paths == tuple(f"s.tar/{k}.png" for k in range(4))
    assert manifest.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({".json": {"width": 8, "key": "1"}, ".cls": b"3"}, "3"),
        ({".json": {"label": 3, "subject": 12, "fold": None}}, "3"),
        ({".json": {"label": 3.0}, ".txt": b"a long caption"}, "3"),
        ({".json": {"label": "x"}, ".cls": b"0"}, "x"),
        ({".json": {"label": None}, ".cls": b"3"}, "3"),
        ({".cls": b"blast\n"}, "blast"),
        ({".cls": b"07", ".txt": b"blast"}, "7"),
        ({".txt": b"blast\n"}, "blast"),
        ({".json": {"caption": "x"}, ".txt": b"blast"}, "blast"),
    ],
)
def test_where_a_label_is_found(tmp_path, about, expected):
    members = [("a.jpg", picture(1, kind="JPEG")), *(("a" + e, c) for e, c in about.items())]
    other = [("b.jpg", picture(2, kind="JPEG"))]
    other += [("b" + e, {**c, "label": _other(c["label"])} if "label" in c else c)
              if isinstance(c, dict) else ("b" + e, b"9") for e, c in about.items()]  # fmt: skip
    assert labels(discover(tar(tmp_path / "s.tar", *members, *other)))["a.jpg"] == expected


def _other(label):
    return label if label is None else "y" if isinstance(label, str) else 9


def test_json_and_cls_that_disagree_and_captions_are_refused(tmp_path):
    image = picture(1, kind="PNG")
    torn = []
    for k in range(4):
        torn += [(f"{k}.png", image), (f"{k}.json", {"label": "ab"[k % 2]})]
        torn += [(f"{k}.cls", b"%d" % (k // 2))]
    with pytest.raises(DataError, match=r"in \.json and in \.cls tell different classes"):
        discover(tar(tmp_path / "torn.tar", *torn))
    texts = [(f"{k}{e}", c) for k in range(20) for e, c in
             ((".png", image), (".txt", b"a cell, number %d" % k))]  # fmt: skip
    with pytest.raises(DataError, match="captions, not classes"):
        discover(tar(tmp_path / "texts.tar", *texts))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"label": "a", "crop": 1' + b"0" * 30 + b"}", "a crop of 1000"),
        (b'{"label": "a", "fold": -7}', "a fold of -7"),
        (b'{"label": "a", "fold": 1e300}', "wrong kind: fold"),
        (b'["label"]', "not an object"),
        (b'{"label": true}', "wrong kind: label"),
        (b"\xff\xfe", "can't be read"),
    ],
)
def test_absurd_json_is_bad_not_a_traceback(tmp_path, content, words):
    good = [(f"{k}{e}", c) for k in "xy" for e, c in
            ((".png", picture(1, kind="PNG")), (".json", {"label": k}))]  # fmt: skip
    file = tar(tmp_path / "s.tar", *good, ("z.png", picture(2, kind="PNG")), ("z.json", content))
    ((path, reason),) = discover(file).bad
    assert path == "s.tar/z.png"
    assert words in reason


def test_hidden_members_are_ignored(tmp_path):
    good = [(f"{k}{e}", c) for k in "xy" for e, c in
            ((".png", picture(1, kind="PNG")), (".json", {"label": k}))]  # fmt: skip
    found = discover(tar(tmp_path / "s.tar", *good, ("._x.png", b"mac"), (".DS_Store", b"")))
    assert [item.reason for item in found.ignored] == ["hidden file", "hidden file"]
    assert len(found.manifest) == 2


def test_unknown_labels_and_a_class_called_unlabelled_stay_apart(tmp_path):
    root = tmp_path / "set"
    for k, label in enumerate(("hem", "ALL", "unlabelled", "hem", "ALL", "unlabelled", "")):
        file = root / f"{k}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(picture(k, kind="PNG"))
        with open(root / "m.csv", "a") as table:
            table.write("path,label,subject,root\n" * (k == 0) + f"{k}.png,{label},s{k},.\n")
    dataset = load_dataset(root / "m.csv")
    assert dataset.manifest.class_names == ("ALL", "hem", "unlabelled")
    assert int((dataset.manifest.labels == -1).sum()) == 1
    write_shards(dataset, tmp_path / "out")
    manifest = load_dataset(tmp_path / "out/*.tar").manifest
    assert manifest.class_names == dataset.manifest.class_names
    got = dict(zip((p.rpartition("/")[2] for p in manifest.paths), manifest.labels, strict=True))
    assert got == dict(zip(dataset.manifest.paths, dataset.manifest.labels, strict=True))


def test_links_to_shards_keep_their_names(tmp_path):
    members = [(f"{k}{e}", c) for k in "xy" for e, c in
               ((".png", picture(1, kind="PNG")), (".json", {"label": k}))]  # fmt: skip
    tar(tmp_path / "0123abcd", *members)
    (tmp_path / "snapshot").mkdir()
    for name in ("a.tar", "b.tar"):
        (tmp_path / "snapshot" / name).symlink_to(tmp_path / "0123abcd")
    manifest = discover(tmp_path / "snapshot/*.tar").manifest
    assert manifest.paths == ("a.tar/x.png", "a.tar/y.png", "b.tar/x.png", "b.tar/y.png")
    assert image_bytes(manifest.file(3)).tobytes() == picture(1, kind="PNG")


# More shards than open files


def test_more_shards_than_files_may_be_open(tmp_path):
    count, room = 90, 64
    for k in range(count):
        tar(
            tmp_path / f"{k:03d}.tar", ("a.png", picture(k, kind="PNG")), ("a.cls", b"%d" % (k % 2))
        )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list((tmp_path / "/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + room, hard))
    try:
        manifest = load_dataset(tmp_path / "*.tar", workers=2).manifest
        views = [image_bytes(manifest.file(i)) for i in range(count)]
        assert MAPS.alive <= MAPS.limit
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for k, view in enumerate(views):
        assert view.tobytes() == picture(k, kind="PNG")
        assert not view.flags.writeable
    del views, view
    assert np.array_equal(
        image_bytes(manifest.file(0)), np.frombuffer(picture(0, kind="PNG"), "u1")
    )
