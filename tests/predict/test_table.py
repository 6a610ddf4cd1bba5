"""The table of predictions in a spreadsheet and as a manifest, and exit codes."""

import csv
import errno
import fcntl
import os
import shutil

import pytest

from fastleuk import locks
from fastleuk.csv_files import BOM
from fastleuk.errors import CheckpointError, ConfigError
from fastleuk.predict.inputs import Inputs
from fastleuk.predict.run import predict_files
from fastleuk.predict.table import Table, read_rows
from tests.makers.training_runs import quiet
from tests.makers.untrained_runs import untrained_run

NAMES = [
    "=1+1.png",
    "-2.png",
    "@x.png",
    "+3.png",
    "'=4.png",
    "a.png",
    " b.png",
    "\t5.png",
    "Zürich.png",
]


@pytest.fixture
def odd(pictures, tmp_path, monkeypatch):
    """Images in the working folder whose names begin like formulas, and a run of such classes."""
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in NAMES:
        shutil.copy(next(pictures.glob("4.*")), folder / name)
    monkeypatch.chdir(folder)
    return untrained_run(tmp_path / "run", classes=("-b", "=a"))


def cells_of(path):
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("excel", [False, True])
def test_no_cell_begins_a_formula_and_the_table_names_the_same_files(odd, tmp_path, excel):
    out = tmp_path / "odd" / "p.csv"
    predict_files([odd], NAMES, out, excel=excel, report=quiet)
    data = out.read_bytes()
    assert data.startswith(BOM) == excel
    for row in cells_of(out):
        assert not any(cell[0] in "=+-@\t\r" for cell in row if cell)
    rows = list(read_rows(out))
    assert [row["path"] for row in rows] == NAMES
    assert {row["predicted"] for row in rows} <= {"-b", "=a"}
    items = list(Inputs([str(out)]))
    assert [(os.path.basename(item.name), item.problem) for item in items] == [
        (n, "") for n in NAMES
    ]
    for share in (0, 2, 0.1, 0.5, 0.99, 1):
        out.write_bytes(data[: share if share in (0, 2) else int(share * len(data))])
        predict_files([odd], NAMES, out, excel=excel, resume=True, report=quiet)
        assert out.read_bytes() == data


def test_a_parquet_file_holds_the_names_themselves(odd, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "p.parquet"
    predict_files([odd], NAMES, out, report=quiet)
    assert parquet.read_table(out)["path"].to_pylist() == NAMES
    with pytest.raises(ConfigError, match=r"--excel needs a \.csv"):
        predict_files([odd], NAMES, tmp_path / "q.parquet", excel=True, report=quiet)


def test_a_mark_is_not_added_on_the_way(odd, tmp_path):
    out = tmp_path / "p.csv"
    predict_files([odd], NAMES, out, report=quiet)
    data = out.read_bytes()
    with pytest.raises(ConfigError, match=r"--excel: .*was begun without"):
        predict_files([odd], NAMES, out, excel=True, resume=True, report=quiet)
    assert out.read_bytes() == data


def test_exit_codes_tell_none_from_some(fastleuk, runs, pictures, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("1.png", "2.png", "3.png"):
        (folder / name).write_text("only text")
    table = tmp_path / "m.csv"
    table.write_text("path\n" + "".join(f"gone/{i}.png\n" for i in range(30)))
    code, _, error = fastleuk("predict", runs[0], table, "--out", tmp_path / "a.csv")
    assert code == 2
    assert "no row can be used. Paths are read relative to" in error
    assert "gone/19.png: no such file (line 21 of m.csv)" in error
    assert "Traceback" not in error
    assert not (tmp_path / "a.csv").exists()
    for again in ((), ("--resume",)):
        code, text, error = fastleuk(
            "predict", runs[0], folder, "--out", tmp_path / "b.csv", *again
        )
        assert code == 2
        assert "none of 3 images could be predicted" in error
        assert "images predicted" not in text
        assert len(list(read_rows(tmp_path / "b.csv"))) == 3
    (first,) = pictures.glob("3.*")
    shutil.copy(first, folder / f"9{first.suffix}")
    table.write_text(f"path\nset/1.png\nset/9{first.suffix}\ngone.png\nset/9{first.suffix},x\n")
    code, text, _ = fastleuk("predict", runs[0], table, "--out", tmp_path / "c.csv")
    assert code == 0
    assert "1 of 4 images predicted" in text
    assert "3 images can't be predicted; the column error has each reason:" in text
    assert "gone.png: no such file (line 4 of m.csv)" in text
    assert [row["error"][:12] for row in read_rows(tmp_path / "c.csv")] == [
        "not an image", "", "no such file", "more cells t",
    ]  # fmt: skip
    code, text, _ = fastleuk("predict", runs[0], table, "--out", tmp_path / "c.csv", "--resume")
    assert code == 0


def test_what_was_guessed_is_reported(fastleuk, runs, pictures, tmp_path):
    (first,) = pictures.glob("3.*")
    shutil.copy(first, tmp_path / "Cell.bmp")
    (tmp_path / "m.csv").write_text("PATH;other\nCELL.BMP;1\n")
    code, text, _ = fastleuk("predict", runs[0], tmp_path / "m.csv", "--out", tmp_path / "p.csv")
    assert code == 0
    assert "'CELL.BMP' for 'Cell.bmp': the one such file is used" in text
    (row,) = read_rows(tmp_path / "p.csv")
    assert row["path"] == str(tmp_path / "Cell.bmp")


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_table_is_written_where_files_have_no_locks(tmp_path, monkeypatch, capsys, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(locks, "_without_locks", set())
    for name in ("p.csv", "q.csv"):
        with Table(tmp_path / name, ("a", "b"), several=False) as table:
            table.begin()
        assert (tmp_path / name).read_text().startswith("path,predicted,p_a,p_b")
    assert capsys.readouterr().out.count("this file system has no locks") == 1


def test_a_table_that_is_being_written_is_refused(tmp_path):
    with (
        Table(tmp_path / "p.csv", ("a", "b"), several=False),
        pytest.raises(CheckpointError, match="being written by another process"),
    ):
        Table(tmp_path / "p.csv", ("a", "b"), several=False)
