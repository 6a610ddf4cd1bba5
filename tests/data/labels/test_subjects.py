"""Subjects: what the expression is matched against, and spellings of one person."""

import pytest

from fastleuk.data.discover import discover
from fastleuk.errors import DataError
from tests.makers.data_trees import put


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FASTLEUK_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


@pytest.mark.parametrize(
    ("regex", "subjects", "what"),
    [
        (r"^p(\d+)_", ["1", "2", "1"], "file name"),
        (r"p(\d+)_(\w)", ["1", "2", "1"], "path"),
        (r"(\w)_(?P<subject>\w)\.", ["x", "y", "z"], "path"),
        (r"^q(\d)|^p(\d+)", ["1", "2", "1"], "file name"),
    ],
)
def test_what_the_regex_is_matched_against(tmp_path, regex, subjects, what):
    put(tmp_path, "a/p1_x.png", "a/p2_y.png", "b/p1_z.png")
    found = discover(tmp_path, subject_regex=regex)
    assert list(found.manifest.subjects) == subjects
    assert f"matched against the {what}" in found.remarks[0]


def test_a_regex_that_misses_names_twenty_files(tmp_path):
    put(tmp_path, *(f"{c}/{i}.png" for c in "ab" for i in range(15)))
    with pytest.raises(DataError) as caught:
        discover(tmp_path, subject_regex=r"p(\d+)_")
    cause, *lines = str(caught.value).splitlines()
    assert "30 of 30" in cause
    assert "each file name" in cause
    assert len(lines) == 21
    assert lines[-1] == "  … and 10 more"


@pytest.mark.parametrize(
    ("one", "other"),
    [("12", "12.0"), ("12", "012"), ("p1", "P1"), ("ma\N{LATIN SMALL LETTER SHARP S}", "mass")],
)  # fmt: skip
def test_two_spellings_of_a_subject_are_refused_with_both(tmp_path, one, other):
    put(tmp_path, "1.png", "2.png")
    table = tmp_path / "m.csv"
    table.write_text(f"path,label,subject\n1.png,a,{one}\n2.png,b,{other}\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        discover(table)
    for spelling, path in ((one, "1.png"), (other, "2.png")):
        assert f"{spelling!r} ({path})" in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("12", "\N{FULLWIDTH DIGIT ONE}\N{FULLWIDTH DIGIT TWO}"),
        ("12", " 12 "),
        ("12", "\N{ZERO WIDTH NO-BREAK SPACE}12"),
        ("é", "e\N{COMBINING ACUTE ACCENT}"),
        ("a b", "a\N{NO-BREAK SPACE}b"),
    ],
)
def test_spellings_that_are_surely_one_subject_become_one(tmp_path, one, other):
    put(tmp_path, "1.png", "2.png")
    table = tmp_path / "m.csv"
    table.write_text(f"path,label,subject\n1.png,a,{one}\n2.png,b,{other}\n", encoding="utf-8")
    assert discover(table).manifest.subjects == (one, one)


def test_healthy_and_ill_subjects_of_one_number_stay_apart(tmp_path):
    put(tmp_path, "ALL/UID_1_1_1_all.png", "hem/UID_H1_1_1_hem.png", "hem/UID_h1_2_1_hem.png")
    assert set(discover(tmp_path).manifest.subjects) == {"1", "H1", "h1"}


def test_images_that_are_their_own_subject_keep_their_path(tmp_path):
    names = ("a/\N{FULLWIDTH DIGIT ONE}.png", "a/1.png", "a/01.png", "b/ 1.png", "b/e\u0301.png")
    put(tmp_path, *names)
    manifest = discover(tmp_path).manifest
    assert manifest.subjects == manifest.paths
