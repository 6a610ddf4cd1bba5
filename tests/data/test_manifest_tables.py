"""Manifests as spreadsheets, pandas and R leave them: read as meant, or refused with the reason."""

import dataclasses

import numpy as np
import pytest

from fastleuk.data.discover import discover
from fastleuk.data.manifest_csv import parse_manifest, read_manifest
from fastleuk.data.split.draw_parts import TEST, UNUSED
from fastleuk.data.split.ready_made import hold_out_folders
from fastleuk.errors import DataError
from tests.makers.data_trees import put

FOUR = ("x/1.png", "x/2.png", "y/3.png", "y/4.png")


@pytest.fixture
def table(tmp_path):
    put(tmp_path, *FOUR)

    def write(*lines):
        (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
        return tmp_path / "m.csv"

    return write


def rows(*cells, head="path,label,subject"):
    """A line for each of the four images: its path, and ``cells[i]``."""
    return [head, *(f"{path},{cell}" for path, cell in zip(FOUR, cells, strict=True))]


def test_columns_are_known_in_any_case_and_paths_of_windows_are_folders(table):
    plain = read_manifest(table(*rows("a,p1", "a,p2", "b,p3", "b,p4")))
    lines = rows("a,p1", "a,p2", "b,p3", "b,p4", head="PATH,Label,subject ")
    other = read_manifest(table(*(line.replace("/", "\\") for line in lines)))
    assert other.paths == plain.paths == FOUR
    assert other.subjects == plain.subjects
    assert other.class_names == plain.class_names


def test_a_backslash_that_is_part_of_a_name_stays_one(tmp_path):
    put(tmp_path, "x/1.png", "x\\1.png", "y.png")
    (tmp_path / "m.csv").write_text("path,label,subject\nx\\1.png,a,p\nx/1.png,a,q\ny.png,b,r\n")
    manifest = read_manifest(tmp_path / "m.csv")
    assert dict(zip(manifest.paths, manifest.subjects, strict=True))["x\\1.png"] == "p"


def test_windows_paths_do_not_leave_the_root(table, tmp_path):
    put(tmp_path.parent, "outside.png")
    path = table("path,label,subject", "..\\outside.png,a,p", "x/1.png,a,p", "y/3.png,b,q")
    _, _, bad, _ = parse_manifest(path)
    assert [name for name, _ in bad] == ["..\\outside.png"]
    assert "outside the root" in bad[0][1]


@pytest.mark.parametrize(
    ("cells", "head", "says"),
    [
        (("0,p1", "0.0,p2", "1,p3", "1.0,p4"), "", r"0 / 0\.0\n +1 / 1\.0"),
        (("01,p1", "1,p2", "2,p3", "2,p4"), "", "01 / 1"),
        (("a,nan", "a,nan", "b,p3", "b,p4"), "", r"'nan': 2 images, such as x/1\.png"),
        (("a,p1", "a,NA", "b,NA", "b,p4"), "", "only that the subject isn't known"),
        (("nan,p1", "nan,p2", "NA,p3", "NULL,p4"), "", "'unlabelled' for such an image"),
        (("a,p1,b", "a,p2,", "b,p3,", "b,p4,"), ",label", "more than once: label"),
    ],
)  # fmt: skip
def test_one_value_in_two_spellings_and_words_for_missing_are_refused(table, cells, head, says):
    with pytest.raises(DataError, match=says):
        discover(table(*rows(*cells, head="path,label,subject" + head)))


def test_one_image_alone_may_be_of_nobody(table):
    manifest = read_manifest(table(*rows("a,p1", "a,unknown", "b,p3", "b,p4")))
    assert manifest.subjects == ("p1", "unknown", "p3", "p4")


def test_more_cells_than_columns_are_a_bad_row(table):
    path = table(*rows("a,p1", "a,p2,,", "b,p3", "b,p4"), "x/1,2.png,a,p1")
    manifest, _, bad, _ = parse_manifest(path)
    assert manifest.paths == FOUR  # empty cells at the end are no cells
    assert "more cells than the first line names" in bad[0][1]
    assert "line 6" in bad[0][1]


@pytest.mark.parametrize("again", ["b,p1", "a,p9"])
def test_an_image_that_is_listed_with_two_labels_or_subjects_is_refused(table, again):
    path = table(*rows("a,p1", "a,p2", "b,p3", "b,p4"), f"./x/1.png,{again}")
    with pytest.raises(DataError, match=r"x/1\.png: (label|subject) .*line 2.*line 6") as caught:
        parse_manifest(path)
    assert "Keep the right row" in str(caught.value)
    path = table(*rows("a,p1", "a,p2", "b,p3", "b,p4"), "./x/1.png,a,p1")
    _, _, bad, _ = parse_manifest(path)
    assert [reason for _, reason in bad] == ["listed more than once (line 6 of m.csv)"]


def test_a_column_that_is_not_used_is_told_and_a_split_in_it_can_be_kept(table):
    cells = ("a,p1,1,training", "a,p2,2,Test", "b,p3,3,training", "b,p4,4,Test")
    found = discover(table(*rows(*cells, head="path,label,subject,age,set")))
    (remark,) = found.remarks
    assert "columns not used: 'age', 'set'" in remark
    assert "'set' (Test, training)" in remark
    assert "name the column 'source' and give --split folders" in remark
    named = discover(table(*rows(*cells, head="path,label,subject,age,Source"))).manifest
    for layout in ("csv", "webdataset"):  # shards that were packed of it
        parts = np.full(4, UNUSED, dtype=np.int8)
        packed = dataclasses.replace(named, layout=layout)
        trained, validated = hold_out_folders(packed, np.arange(4), parts)
        assert [named.paths[i] for i in trained] == ["x/1.png", "y/3.png"]
        assert parts.tolist() == [UNUSED, TEST, UNUSED, TEST]
        assert not validated
