"""The command line's options of how data are read, and targets that can't be written."""

import shlex
import shutil

import pytest

from fastleuk.config import read_config
from tests.makers.cells import write_cells
from tests.makers.training_runs import small_options


@pytest.fixture
def parts(tmp_path):
    """Return a set with the folders TRAIN and TEST, and a copy across them."""
    cells = write_cells(tmp_path / "cells", subjects=6, per_subject=2)
    for file in sorted(cells.glob("*/*")):
        part = "TEST" if int(file.name[1]) < 2 else "TRAIN"
        target = tmp_path / "set" / part / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    shutil.copy(tmp_path / "set/TRAIN/large/l5_0.bmp", tmp_path / "set/TEST/large/copy.bmp")
    return tmp_path / "set"


@pytest.mark.slow
def test_part_folders_from_the_manifest_to_the_test(fastleuk, parts, tmp_path):
    code, _, error = fastleuk("data", parts)
    assert (code, "--split folders" in error) == (2, True)
    table = tmp_path / "elsewhere" / "m.csv"
    table.parent.mkdir()
    code, said, _ = fastleuk("data", parts, "--split", "folders", "--manifest", table)
    assert code == 0
    assert ["test", "5", "4", "9"] in [line.split() for line in said.splitlines()]
    out = tmp_path / "run"
    code, said, error = fastleuk(
        "train", "--data", table, "--root", parts, "--split", "folders", "--out", out,
        "--epochs", 1, *small_options(), "--val-fraction", "0.3", "--subject-regex", "",
    )  # fmt: skip
    assert (code, error) == (0, "")
    assert "drawn from train" in said
    assert "split 'folders'" in said
    config = read_config(out / "config.toml")
    assert (config.data.root, config.data.split) == (str(parts), "folders")
    rows = (out / "split.csv").read_text().splitlines()[1:]
    assert len(rows) == 24
    for row in rows:
        assert ("TEST/" in row) == (",test," in row)
    code, said, _ = fastleuk("evaluate", out)
    assert code == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--manifest", "none/m.csv"], "no folder none"),
        (["--manifest", "."], "ends in .csv"),
        (["--manifest", "m.txt"], "ends in .csv"),
        (["--contact-sheet", "x.xyz"], "ends in .png"),
        (["--contact-sheet", "none/x.png"], "no folder none"),
        (["--manifest", "/proc/m.csv"], "/proc/m.csv"),
        (["--contact-sheet", "/proc/x.png"], "/proc/x.png"),
        (["--layout", "folder"], "did you mean folders?"),
        (["--layout", "folders", "--split", "folders"], "contradict"),
    ],
)
def test_targets_and_readings_that_cannot_be(fastleuk, cells, options, says):
    code, _, error = fastleuk("data", cells, *options)
    assert code == 2
    assert says in error
    assert "Traceback" not in error


def test_pack_says_before_it_reads_that_its_folder_is_there(fastleuk, tmp_path):
    code, _, error = fastleuk("pack", tmp_path, "--data", "/no/such")
    assert (code, "is there already" in error) == (2, True)
    code, _, error = fastleuk(
        "pack", "/proc/out", "--data", write_cells(tmp_path / "s", subjects=2)
    )
    assert (code, "Can't write the shards" in error) == (2, True)


def test_shards_have_no_manifest(fastleuk, tmp_path):
    cells = write_cells(tmp_path / "s", subjects=2)
    assert fastleuk("pack", tmp_path / "out", "--data", cells)[0] == 0
    code, _, error = fastleuk("data", tmp_path / "out/*.tar", "--manifest", tmp_path / "m.csv")
    assert (code, "no manifest CSV" in error) == (2, True)
    assert not (tmp_path / "m.csv").exists()


def test_commands_take_the_levels_of_classes_and_subjects(fastleuk, tmp_path):
    cells = write_cells(tmp_path / "cells", subjects=4, per_subject=2)
    for file in sorted(cells.glob("*/*")):
        target = tmp_path / "set" / f"P{file.name[1]}" / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    levels = ("--class-level", 2, "--subject-level", 1)
    for command in (
        ["data", tmp_path / "set"],
        ["prepare", "--size", 32, "--data", tmp_path / "set"],
    ):
        code, _, error = fastleuk(*command)
        assert (code, "--class-level 2 --subject-level 1: 2 classes" in error) == (2, True)
        assert fastleuk(*command, *levels)[0] == 0
    code, said, _ = fastleuk("pack", tmp_path / "shards", "--data", tmp_path / "set", *levels)
    assert code == 0
    command = shlex.split(
        said.partition("Use them with: fastleuk train --data ")[2].splitlines()[0]
    )
    code, said, _ = fastleuk("data", *command)
    assert code == 0
    assert "Subjects by class" in said
    for command in ("train", "cv", "paper", "evaluate", "explain"):
        code, said, _ = fastleuk(command, "--help")
        assert "--class-level" in said
        assert "--subject-level" in said
