"""Text tables: aligned columns, as wide as they must be, and nothing at the ends of lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastleuk.tables import markdown_records, markdown_table, text_lines, text_table

words = st.text("abc 1", max_size=6)
tables = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.lists(words, min_size=n, max_size=n), min_size=1, max_size=5)
)


@given(
    rows=tables, align=st.sampled_from(["l", "r", "lr", "rl"]), indent=st.sampled_from(["", "  "])
)
def test_every_cell_stands_in_its_column(rows, align, indent):
    lines = text_lines(rows, align=align, indent=indent)
    assert len(lines) == len(rows)
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for line, row in zip(lines, rows, strict=True):
        assert line == line.rstrip()
        padded, start = line.ljust(200), len(indent)
        assert padded[:start].strip() == ""
        for k, (cell, width) in enumerate(zip(row, widths, strict=True)):
            right = align[min(k, len(align) - 1)] == "r"
            assert padded[start : start + width] == (cell.rjust if right else cell.ljust)(width)
            assert padded[start + width : start + width + 2] == "  "
            start += width + 2


def test_a_rule_is_as_long_as_the_longest_line():
    text = text_table([("name", "n"), ("a", "10"), ("bcdef", "2")], rule=True)
    assert text.splitlines() == ["name    n", "---------", "a      10", "bcdef   2"]
    assert text_lines([("x", "y"), (1, 2)], rule=True, indent="  ")[1] == "  ----"


def test_columns_may_be_wider_than_their_cells():
    assert text_lines([("a", "b"), (1, 22)], least=[3, 4]) == ["a       b", "1      22"]
    assert text_lines([("a", "b")], least=[3]) == ["a    b"]


def test_a_row_with_a_cell_too_few_is_refused():
    with pytest.raises(ValueError, match="argument"):
        text_lines([("a", "b"), ("c",)])


def test_markdown_tells_the_side_of_each_column():
    lines = markdown_table(["a", "b", "c"], [["1", "2", "3"]], align="rl").splitlines()
    assert lines == ["| a | b | c |", "| ---: | --- | --- |", "| 1 | 2 | 3 |"]


def test_small_numbers_have_more_digits():
    text = markdown_records([{"what": "x", "share": 0.01234, "n": 3}, {"what": "y", "share": 2.0}])
    assert text.splitlines()[2:] == ["| x | 0.01234 | 3 |", "| y | 2.00 |  |"]
