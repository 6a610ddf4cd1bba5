import dataclasses

import numpy as np
import pytest

from fastleuk.data.discover import discover
from fastleuk.data.manifest import natural_key
from fastleuk.data.manifest_csv import read_manifest
from fastleuk.errors import ConfigError, DataError
from tests.makers.data_trees import manifest_of, put, small_cnmc


def write(root, *lines):
    path = root / "m.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def same(a, b):
    for name in ("paths", "class_names", "subjects", "sources"):
        assert getattr(a, name) == getattr(b, name), name
    for name in ("labels", "folds", "crops"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_written_and_read_back_is_the_same(tmp_path):
    first = discover(small_cnmc(tmp_path)).manifest
    first.write_csv(tmp_path / "m.csv")
    same(first, read_manifest(tmp_path / "m.csv"))
    same(first, discover(tmp_path / "m.csv").manifest)
    first.write_csv(tmp_path.parent / "elsewhere.csv")
    same(first, read_manifest(tmp_path.parent / "elsewhere.csv", root=tmp_path))


def test_short_form_with_bom_spaces_and_absolute_path(tmp_path):
    put(tmp_path, "x/10.png", "x/2.png")
    text = f"\ufeffpath, label ,subject\n{tmp_path / 'x/10.png'},ALL,7\n./x/2.png, hem ,H7\n"
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    manifest = read_manifest(tmp_path / "m.csv")
    assert manifest.paths == ("x/2.png", "x/10.png")
    assert manifest.class_names == ("hem", "ALL")
    assert manifest.labels.tolist() == [0, 1]
    assert manifest.subjects == ("H7", "7")
    assert manifest.folds.tolist() == [-1, -1]
    assert manifest.sources == ("csv", "csv")
    assert manifest.layout == "csv"


def test_every_bad_row_is_listed_at_once(tmp_path):
    root = tmp_path / "set"
    put(root, "1.png", "2.png", "3.png", "4.png")
    put(tmp_path, "secret.png")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    path = write(
        root,
        "path,label,subject,fold",
        "1.png,a,s1,0",
        "2.png,b,s2,1",
        "gone.png,a,s1,0",
        "../secret.png,a,s1,0",
        f"{tmp_path}/secret.png,a,s1,0",
        "link.png,a,s1,0",
        "3.png,,s1,0",
        "3.png,a,,0",
        "./1.png,a,s1,0",
        "4.png,a,s1,x",
        ",a,s1,0",
    )
    with pytest.raises(DataError) as caught:
        read_manifest(path)
    text = str(caught.value)
    for line, said in {
        4: "no such file",
        5: "outside the root",
        6: "outside the root",
        7: "leads outside",
        8: "empty label",
        9: "empty subject",
        10: "more than once",
        11: "fold 'x'",
        12: "empty path",
    }.items():
        row = next(r for r in text.splitlines() if f"(line {line} of m.csv)" in r)
        assert said in row
    assert "line 2 " not in text
    found = discover(path)
    assert len(found.bad) == 9
    assert found.manifest.paths == ("1.png", "2.png")


def test_missing_columns(tmp_path):
    with pytest.raises(DataError, match=r"label, subject.*'path,klass'"):
        read_manifest(write(tmp_path, "path,klass", "1.png,a"))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "no row"),
        (["1.png,a,s"], "only one class, 'a'"),
        (["1.png,a,s", "2.png,A,s"], "differ only by case"),
        (["1.png,\u00e9,s", "2.png,e\u0301,s"], "Unicode's forms"),
        (["1.png,unlabelled,s"], "no class"),
        (["9.png,a,s"], "Paths are read relative to"),
    ],
)
def test_manifests_that_cannot_be_used(tmp_path, rows, said):
    put(tmp_path, "1.png", "2.png")
    with pytest.raises(DataError, match=said):
        read_manifest(write(tmp_path, "path,label,subject", *rows))


def test_missing_manifest(tmp_path):
    with pytest.raises(DataError, match="no such manifest"):
        read_manifest(tmp_path / "m.csv")


def test_no_subject_at_all_makes_each_image_its_own(tmp_path):
    put(tmp_path, "1.png", "2.png")
    manifest = read_manifest(write(tmp_path, "path,label,subject", "1.png,a,", "2.png,b,"))
    assert manifest.subjects == manifest.paths
    assert manifest.subject_is_image


def test_take_keeps_rows_together(tmp_path):
    whole = discover(small_cnmc(tmp_path)).manifest
    part = whole.take(np.array([5, 0, 30]))
    assert len(part) == 3
    for i, j in enumerate((5, 0, 30)):
        assert part.paths[i] == whole.paths[j]
        assert part.subjects[i] == whole.subjects[j]
        assert part.labels[i] == whole.labels[j]
        assert part.file(i) == tmp_path / whole.paths[j]
    assert part.label_name(2) == whole.label_name(30)


def test_construction_refuses_what_makes_no_sense(tmp_path):
    good = manifest_of(tmp_path, [0, 1], ["a", "b"])
    fields = {name: getattr(good, name) for name in good.__dataclass_fields__}
    for change in (
        {"labels": np.array([0, 2])},
        {"labels": np.array([0, 1], dtype=np.int32)},
        {"folds": np.array([0])},
        {"subjects": ("a", "")},
        {"layout": "other"},
    ):
        with pytest.raises(AssertionError):
            type(good)(**{**fields, **change})
    for paths in (("a", "a"), ("../a", "b"), ("/a", "b")):
        with pytest.raises(DataError):
            type(good)(**{**fields, "paths": paths})


def test_natural_order():
    names = ["10.bmp", "9.bmp", "a2b10", "a2b9", "a10", "1.bmp"]
    assert sorted(names, key=natural_key) == ["1.bmp", "9.bmp", "10.bmp", "a2b9", "a2b10", "a10"]


# Any place, encoding and line end


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_encodings_line_ends_and_delimiters_of_spreadsheets(tmp_path, encoding, end, sign):
    put(tmp_path, "é.png", "2.png")
    rows = [["path", "label", "subject"], ["é.png", "gr\xfcn", "Zoë"], ["2.png", "b", "s2"]]
    text = end.join(sign.join(row) for row in rows) + end
    (tmp_path / "m.csv").write_bytes(text.encode(encoding))
    found = discover(tmp_path / "m.csv")
    assert found.bad == ()
    assert found.manifest.paths == ("2.png", "é.png")
    assert found.manifest.class_names == ("b", "grün")
    assert found.manifest.subjects == ("s2", "Zoë")
    told = any("read as Windows-1252" in remark for remark in found.remarks)
    assert told == (encoding == "cp1252")


def test_file_names_that_are_not_utf8_keep_their_bytes(tmp_path):
    import os

    put(tmp_path, "b.png")
    odd = os.fsencode(tmp_path) + b"/\xe9.png"
    with open(odd, "wb") as stream:
        stream.write((tmp_path / "b.png").read_bytes())
    (tmp_path / "m.csv").write_bytes(b"path,label,subject\n\xe9.png,a,1\nb.png,b,2\n")
    found = discover(tmp_path / "m.csv")
    assert found.manifest.paths == ("b.png", "\udce9.png")
    assert found.bad == ()


ODD_NAMES = [
    "x/a\rb.png",
    "x/a\nb.png",
    "x/a,b.png",
    'x/a"b.png',
    "x/ a.png",
    "x/a .png",
    "x/é.png",
]


def test_odd_names_come_back_from_the_manifest_written(tmp_path):
    root = tmp_path / "set"
    put(root, *ODD_NAMES, "y/1.png")
    first = discover(root).manifest
    assert len(first) == len(ODD_NAMES) + 1
    first.write_csv(root / "m.csv")
    same(first, discover(root / "m.csv").manifest)


@pytest.mark.parametrize("place", [".", "..", "set", "set/x", "other"])
def test_a_manifest_works_where_it_lies(tmp_path, place):
    root = tmp_path / "here" / "set"
    put(root, "x/1.png", "y/1.png")
    folder = tmp_path / "here" / place
    folder.mkdir(exist_ok=True)
    first = discover(root).manifest
    first.write_csv(folder / "m.csv")
    found = discover(folder / "m.csv")
    same(first, found.manifest)
    assert found.manifest.root == root
    moved = tmp_path / "moved"
    (tmp_path / "here").rename(moved)
    with_root = discover(moved / place / "m.csv", manifest_root=moved / "set").manifest
    assert with_root.file(0) == moved / "set" / "x/1.png"
    if place in (".", "set"):  # above the images: both move together
        assert discover(moved / place / "m.csv").manifest.root == moved / "set"
    elif place != "..":
        with pytest.raises(DataError, match=r"no such folder, which the column root.*--root"):
            discover(moved / place / "m.csv")


def test_root_names_the_folder_and_nothing_leaves_it(tmp_path):
    root = tmp_path / "set"
    put(root, "1.png", "2.png")
    put(tmp_path, "secret.png")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    table = write(
        tmp_path, "path,label,subject", "1.png,a,1", "2.png,b,2", "link.png,a,3",
        "../secret.png,a,4", f"{tmp_path}/secret.png,a,5",
    )  # fmt: skip
    found = discover(table, manifest_root=root)
    assert found.manifest.paths == ("1.png", "2.png", "link.png")
    assert ["outside the root" in reason for _, reason in found.bad] == [True, True]
    assert any("1 images are links that lead outside" in remark for remark in found.remarks)
    with pytest.raises(DataError, match="--root names another"):
        discover(write(root, "path,label,subject", "../secret.png,a,1"))
    with pytest.raises(DataError, match=r"none: no such folder, which --root names"):
        discover(table, manifest_root=tmp_path / "none")
    with pytest.raises(ConfigError, match="--root"):
        discover(root, manifest_root=root)


def test_a_set_of_links_comes_back_from_its_manifest(tmp_path):
    put(tmp_path / "store", "1.png", "2.png")
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / "set" / name).parent.mkdir(parents=True)
        (tmp_path / "set" / name).symlink_to(tmp_path / "store" / name[2:])
    first = discover(tmp_path / "set").manifest
    first.write_csv(tmp_path / "m.csv")
    found = discover(tmp_path / "m.csv")
    same(first, found.manifest)
    assert found.bad == ()


def test_a_link_to_a_manifest_finds_the_images_of_either_place(tmp_path):
    for folder in ("set", "snapshot", "store", "desk"):
        (tmp_path / folder).mkdir()
    put(tmp_path, "set/1.png", "set/2.png", "snapshot/1.png", "snapshot/2.png")
    for folder in ("set", "store"):
        write(tmp_path / folder, "path,label,subject", "1.png,a,1", "2.png,b,2")
    (tmp_path / "desk/m.csv").symlink_to(tmp_path / "set/m.csv")
    (tmp_path / "snapshot/m.csv").symlink_to(tmp_path / "store/m.csv")
    assert discover(tmp_path / "desk/m.csv").manifest.root == tmp_path / "set"
    assert discover(tmp_path / "snapshot/m.csv").manifest.root == tmp_path / "snapshot"


def test_two_roots_are_refused(tmp_path):
    put(tmp_path, "1.png", "2.png")
    table = write(tmp_path, "path,label,subject,root", "1.png,a,1,.", "2.png,b,2,/")
    with pytest.raises(DataError, match="must be the same in every row"):
        discover(table)


def test_a_class_called_unlabelled_and_unknown_labels_stay_apart(tmp_path):
    put(tmp_path, "unlabelled/1.png", "x/1.png", "x/2.png", "y/1.png")
    first = discover(tmp_path).manifest
    assert first.class_names == ("unlabelled", "x", "y")
    first = dataclasses.replace(first, labels=np.array([0, -1, 1, 2]))
    first.write_csv(tmp_path / "m.csv")
    same(first, discover(tmp_path / "m.csv").manifest)
    rows = ("unlabelled/1.png,unlabelled,", "x/1.png,x,", "y/1.png,y,")
    assert discover(write(tmp_path, "path,label,subject", *rows)).manifest.labels.tolist() == [
        -1, 0, 1
    ]  # fmt: skip


def test_the_list_of_bad_rows_stops_at_twenty_and_comes_last(tmp_path):
    put(tmp_path, "1.png", "2.png")
    rows = [f"gone{k}.png,a,{k}" for k in range(30)]
    with pytest.raises(DataError) as caught:
        read_manifest(write(tmp_path, "path,label,subject", "1.png,a,1", "2.png,b,2", *rows))
    lines = str(caught.value).splitlines()
    assert "30 rows" in lines[0]
    assert len(lines) == 22
    assert lines[-1] == "  … and 10 more"
