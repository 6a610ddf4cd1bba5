import numpy as np
import pytest
from data_trees import manifest_of, put, small_cnmc

from fastleuk.data.discover import discover
from fastleuk.data.manifest import natural_key
from fastleuk.data.manifest_file import read_manifest
from fastleuk.errors import DataError


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
