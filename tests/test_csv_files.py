"""CSV tables: cells that no spreadsheet computes, and any encoding, delimiter or line end."""

import csv
import gzip
import io
import itertools
import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest

import fastleuk
from fastleuk.csv_files import (
    CsvReader,
    CsvWriter,
    escape_cell,
    is_table,
    is_table_name,
    read_table,
    table_stem,
    unescape_cell,
)
from fastleuk.errors import DataError
from fastleuk.files import read_rows, write_rows

FORMULA = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
ALPHABET = FORMULA + "'\"ab1,; é\udce9"


def texts(count=3000):
    """All short texts of the characters that matter, and longer ones by chance."""
    yield from map("".join, itertools.product("'=-a ", repeat=4))
    chance = random.Random(0)
    for _ in range(count):
        yield "".join(chance.choices(ALPHABET, k=chance.randrange(0, 7)))


def test_escaping_round_trips_and_no_text_begins_a_formula():
    for text in texts():
        escaped = escape_cell(text)
        assert escaped[:1] not in FORMULA or not escaped
        assert unescape_cell(escaped) == text
    for number in (-0.5, -3, 0, float("-inf"), None):
        assert escape_cell(number) is number


def test_written_tables_come_back_from_the_reader(tmp_path):
    rows = [
        {"path": f"x{i}{text}", "label": text, "p_=a": -i / 7} for i, text in enumerate(texts(500))
    ]
    write_rows(tmp_path / "t.csv", rows)
    found = read_rows(tmp_path / "t.csv", ("path", "label"))
    assert [(row["path"], row["label"], float(row["p_=a"])) for row in found] == [
        (row["path"], row["label"], row["p_=a"]) for row in rows
    ]
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        for cells in csv.reader(file):
            assert not any(cell[:1] in FORMULA for cell in cells[:2] if cell)


ROWS = [["é.png", "x; y|z, w", "Zoë"], ["b/2.png", "grün", " s2"], ["'=1", "", ""]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_any_encoding_delimiter_and_line_end(tmp_path, encoding, sign, end):
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=sign, lineterminator=end)
    writer.writerow([" PATH", "Label ", "\u00a0subject"])
    writer.writerows([[], *ROWS, ["", "", ""]])
    for head, packed in itertools.product(["", f"sep={sign}{end}", end], [False, True]):
        data = (head + text.getvalue()).encode(encoding)
        (tmp_path / "t.csv").write_bytes(gzip.compress(data) if packed else data)
        reader = CsvReader(tmp_path / "t.csv", required=("path",), known=("subject", "label"))
        assert reader.header == ["path", "label", "subject"]
        found = [list(row.cells.values()) for row in reader]
        assert found == [*ROWS[:2], ["=1", "", ""]]


def test_a_first_line_names_an_unusual_delimiter(tmp_path):
    (tmp_path / "t.csv").write_text('"sep=:"\npath:label\na,b.png:x\n')
    (row,) = CsvReader(tmp_path / "t.csv", required=("path", "label"))
    assert (row.cells, row.line) == ({"path": "a,b.png", "label": "x"}, 3)


@pytest.mark.parametrize("head", ["path, label", 'path, "label"', '"path", "label"'])
def test_quotes_behind_blanks_are_quotes(tmp_path, head):
    (tmp_path / "t.csv").write_text(f'{head}\n a.png, "x, ""y"""\nb.png, z\n')
    found = [list(row.cells.values()) for row in CsvReader(tmp_path / "t.csv", required=("path",))]
    assert [[cell.strip() for cell in cells] for cells in found] == [
        ["a.png", 'x, "y"'],
        ["b.png", "z"],
    ]


def test_bytes_of_other_encodings_are_kept(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"path,label\n\xe9.png,gr\xfcn\n")
    (row,) = CsvReader(tmp_path / "t.csv", required=("path",))
    assert row.cells == {"path": "\udce9.png", "label": "gr\udcfcn"}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", r"missing column\(s\) path; the file is empty"),
        (b"\xef\xbb\xbf", r"missing column\(s\) path; the file is empty"),
        (b"name,label\n1,2\n", "the first line reads 'name,label'"),
        (b"path,Path\n1,2\n", "more than once: path"),
        (b"path,x,x\n1,2,3\n", "more than once: x"),
        (b'path\n1\n"a\nb\n', "in the row that begins in line 3"),
        (b'path\n"a"b\n', "begins in line 2. Check the quotes"),
        (b"PK\x03\x04rest", "a workbook or a zip archive, not a text. Save the table as CSV"),
        (b"\xd0\xcf\x11\xe0rest", "an Excel workbook"),
        (b"PAR1rest", "a Parquet file"),
        (gzip.compress(b"path\n" * 99, mtime=0)[:-9], "can't be read: .*Check the file"),
        ("path\na\n".encode("utf-16")[:-1], "damaged utf-16.* text"),
        (bytes(range(256)), r"missing column\(s\) path"),
    ],
)  # fmt: skip
def test_what_is_no_table_says_why(tmp_path, data, says):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(DataError, match=says) as caught:
        list(CsvReader(tmp_path / "t.csv", required=("path",)))
    assert str(caught.value).startswith(f"{tmp_path / 't.csv'}: ")


@pytest.mark.parametrize(
    ("text", "says"), [("path,x\n", "no row"), ("path,x\n1\n", "line 2 has 1 cells"),
                       ("path,x\n1,2,3\n", "line 2 has 3 cells")],
)  # fmt: skip
def test_a_cut_table_of_our_own_is_refused(tmp_path, text, says):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=rf"^t\.csv: .*{says}"):
        read_table(tmp_path / "t.csv", ("path",))


def test_names_of_tables():
    assert all(map(is_table_name, ("a.csv", "a.TSV", "a.csv.gz", "a.Tsv.GZ")))
    assert not any(map(is_table_name, ("a.png", "a.gz", "csv", "a.tar.gz", "a.xlsx")))
    assert table_stem("set.v2.csv.gz") == "set.v2"


def test_a_folder_is_no_table(tmp_path):
    (tmp_path / "x.csv").mkdir()
    assert not is_table(tmp_path / "x.csv")
    assert is_table(tmp_path / "y.csv")
    assert is_table(tmp_path / "y.xlsx")


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
def test_the_page_writes_cells_as_the_package_does(tmp_path):
    page = Path(fastleuk.__file__).parent / "serve/page/script.js"
    script = page.read_text(encoding="utf-8")
    function = script[script.index("function quoted(") : script.index("function csv(")]
    cells = [
        text for text in texts(300) if text.isascii() or ("é" in text and "\udce9" not in text)
    ]
    (tmp_path / "cells.json").write_text(json.dumps([*cells, -0.5, None]))
    code = f"{function}\nconst cells = JSON.parse(require('fs').readFileSync(0, 'utf8'));\n"
    code += "console.log(JSON.stringify(cells.map(quoted)))"
    out = subprocess.run(
        ["node", "-e", code], input=(tmp_path / "cells.json").read_text(), check=True,
        capture_output=True, text=True, encoding="utf-8",
    ).stdout  # fmt: skip
    *found, number, nothing = json.loads(out)
    assert (number, nothing) == ("-0.5", "")
    line = io.StringIO(",".join(found), newline="")
    assert [unescape_cell(cell) for cell in next(csv.reader(line, strict=True))] == cells
    assert all(next(csv.reader(io.StringIO(cell, newline="")))[0][:1] not in FORMULA
               for cell in found if cell)  # fmt: skip


def test_blanks_in_front_and_carriage_returns_are_quoted():
    text = io.StringIO()
    CsvWriter(text).writerow([" a", "b\rc", -1])
    assert text.getvalue() == '" a","b\rc","-1"\n'
