"""``fastleuk explain``: what it writes, and what it refuses."""

import csv
import dataclasses
import json
import sys

import numpy as np
import pytest
from PIL import Image

from fastleuk.cli import main
from fastleuk.errors import CheckpointError, ConfigError, DataError, MissingDependencyError
from fastleuk.explain.choose import hits_and_misses, measured_rows, named_cells
from fastleuk.explain.run import ExplainOptions, explain_run
from tests.makers.cells import write_cells
from tests.makers.short_runs import short_run

pytest.importorskip("pytorch_grad_cam")


def _quiet(text):
    pass


@pytest.fixture(scope="module")
def run(cells, tmp_path_factory):
    return short_run(cells, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def explained(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "here"
    options = ExplainOptions(each=2, measure=10, out=str(out))
    return out, explain_run(run, options, report=_quiet)


def _rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_files_agree_with_each_other_and_with_the_runs_predictions(run, explained):
    out, figures = explained
    assert json.loads((out / "explain.json").read_text()) == figures
    table = _rows(out / "cells.csv")
    tested = {row["path"]: row for row in _rows(run / "test_predictions.csv")}
    assert len(table) >= 10
    for row in table:
        assert row["predicted"] == tested[row["path"]]["predicted"] == row["target"]
        assert float(row["p_large"]) == pytest.approx(float(tested[row["path"]]["p_large"]))
        assert 0 <= float(row["heat_inside"] or 0) <= 1
        assert row["cell_found_by"] == "not black"
    pictures = {file.name for file in out.glob("*.png")}
    shown = {row["shown"] for row in table if row["shown"]}
    assert pictures == {"heat_inside.png", *(f"{name}.png" for name in shown)}
    assert figures["drawn"] == figures["cells"] == 10


def test_hits_are_recognised_and_the_most_confident_ones(run, explained):
    out, figures = explained
    tested = _rows(run / "test_predictions.csv")
    for group in figures["groups"]:
        same = [
            row for row in tested
            if row["label"] == group["label"] and (row["predicted"] == row["label"]) == group["hit"]
        ]  # fmt: skip
        assert group["cells"] == len(same)
        sure = sorted((float(row[f"p_{row['predicted']}"]) for row in same), reverse=True)
        shown = [row for row in _rows(out / "cells.csv") if row["shown"] == group["name"]]
        found = sorted((float(row[f"p_{row['predicted']}"]) for row in shown), reverse=True)
        np.testing.assert_allclose(found, sure[:2], rtol=1e-5)


def test_the_figures_are_those_of_the_cells_that_were_drawn(explained):
    out, figures = explained
    drawn = [row for row in _rows(out / "cells.csv") if row["measured"] == "1"]
    assert len(drawn) == 10

    def median(name, rows):
        values = [float(row[name]) for row in rows if row[name]]
        return pytest.approx(np.median(values), abs=1e-6) if values else None

    for name in ("cell_area", "heat_inside", "random_heat_inside", "random_agreement",
                 "occlusion_inside", "occlusion_agreement"):  # fmt: skip
        assert figures[name]["median"] == median(name, drawn)
    for group in figures["groups"]:
        mine = [
            row for row in drawn
            if row["label"] == group["label"] and (row["predicted"] == row["label"]) == group["hit"]
        ]  # fmt: skip
        found = group["heat_inside"] or {"median": None}
        assert found["median"] == median("heat_inside", mine)


def test_the_share_of_the_cell_is_that_of_the_drawn_disc(explained):
    """The discs' radii are 0.36 and 0.2 of the side, give or take 15 %."""
    for row in _rows(explained[0] / "cells.csv"):
        radius = 0.36 if row["label"] == "large" else 0.2
        low, high = (np.pi * (radius * factor) ** 2 for factor in (0.8, 1.25))
        assert low < float(row["cell_area"]) < high


def test_named_cells_of_other_data(run, tmp_path, capsys, monkeypatch):
    other = write_cells(tmp_path / "other", subjects=2, per_subject=2)
    out = tmp_path / "out"
    argv = ["fastleuk", "explain", str(run), "--on", str(other), "--cell", "l1_0.bmp"]
    argv += ["--cell", "small/s0_1.bmp", "--no-occlusion", "--target", "small", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code, capsys.readouterr().err
    assert "2 cells" in capsys.readouterr().out
    rows = _rows(out / "cells.csv")
    assert [row["path"] for row in rows] == ["large/l1_0.bmp", "small/s0_1.bmp"]
    assert {row["target"] for row in rows} == {"small"}
    assert {row["occlusion_agreement"] for row in rows} == {""}
    assert {file.name for file in out.iterdir()} == {
        "cells.csv", "cells.png", "explain.json", "heat_inside.png", "log.txt",
    }  # fmt: skip
    with Image.open(out / "cells.png") as picture:
        assert picture.width >= 640


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"part": "tset"}, ConfigError, "--part"),
        ({"target": "medium"}, ConfigError, "large, small"),
        ({"each": 0}, ConfigError, "--each"),
        ({"layer": "block.1"}, ConfigError, "--layer"),
        ({"cells": ("l9_9.bmp",)}, DataError, "not among"),
        ({"on": "x", "data": "y"}, ConfigError, "--on"),
        ({"on": "/nowhere"}, DataError, "/nowhere"),
    ],
)
def test_what_makes_no_sense_is_refused(run, tmp_path, options, error, text):
    with pytest.raises(error, match=text):
        explain_run(run, ExplainOptions(out=str(tmp_path), **options), report=_quiet)
    assert not list(tmp_path.glob("*.json"))


def test_data_of_other_classes_are_refused_until_they_are_named(run, tmp_path):
    data = write_cells(tmp_path / "data", subjects=1, per_subject=2)
    for foreign, own in (("big", "large"), ("tiny", "small")):
        (data / own).rename(data / foreign)
    (data / "debris").mkdir()
    for number in range(2):
        Image.new("RGB", (64, 64), (90 * number, 30, 60)).save(data / "debris" / f"{number}.png")
    told = []
    options = {"on": str(data), "occlusion": False, "out": str(tmp_path / "out")}
    with pytest.raises(DataError, match=r"--classes big=CLASS,debris=CLASS,tiny=CLASS"):
        explain_run(run, ExplainOptions(**options), report=told.append)
    named = ExplainOptions(**options, classes="big=large,tiny=small,debris=")
    figures = explain_run(run, named, report=told.append)
    assert figures["of"] == 4
    assert {row["label"] for row in _rows(tmp_path / "out" / "cells.csv")} == {"large", "small"}
    assert "note: 2 images of debris are left out (--classes)." in told


def test_classes_are_renamed_of_other_data_only(run, tmp_path):
    options = ExplainOptions(classes="big=large", out=str(tmp_path))
    with pytest.raises(ConfigError, match="--on"):
        explain_run(run, options, report=_quiet)


def test_no_run_and_no_weights(run, tmp_path):
    with pytest.raises(CheckpointError, match="no run folder"):
        explain_run(tmp_path, ExplainOptions(), report=_quiet)
    (tmp_path / "config.toml").write_text((run / "config.toml").read_text())
    with pytest.raises(CheckpointError, match=r"best\.safetensors"):
        explain_run(tmp_path, ExplainOptions(), report=_quiet)


def test_without_the_package_the_remedy_is_named(run, monkeypatch):
    monkeypatch.setattr("fastleuk.explain.heat.has_grad_cam", lambda: False)
    with pytest.raises(MissingDependencyError, match=r"fastleuk\[explain\]"):
        explain_run(run, ExplainOptions(), report=_quiet)


def test_groups_count_everything_and_leave_the_unlabelled_out():
    labels = np.array([0, 0, 1, 1, -1, 0])
    chances = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3], [0.5, 0.5], [0.95, 0.05]])
    rows = np.array([10, 11, 12, 13, 14, 15])
    groups = hits_and_misses(
        rows, labels, chances.argmax(axis=1), chances, ("a b", "a/b"), each=1
    )  # fmt: skip
    assert [(group.rows, group.total) for group in groups] == [
        ((15,), 2), ((11,), 1), ((12,), 1), ((13,), 1),
    ]  # fmt: skip
    assert len({group.name for group in groups}) == 4  # "a b" and "a/b" have files of their own


def test_the_draw_holds_what_is_shown_and_repeats():
    rows = np.arange(50, 90)
    drawn = measured_rows(rows, [60, 61], count=12, seed=3)
    assert drawn[:2] == [60, 61]
    assert len(set(drawn)) == 12
    assert drawn == measured_rows(rows, [60, 61], count=12, seed=3)
    assert drawn != measured_rows(rows, [60, 61], count=12, seed=4)
    assert sorted(measured_rows(rows, [], count=99, seed=0)) == rows.tolist()


def test_a_name_that_several_cells_have_is_refused(cells):
    from fastleuk.data.load import load_dataset

    manifest = load_dataset(cells).manifest.take([0, 1, 2])
    paths = ("large/a/1.bmp", "large/b/1.bmp", "large/b/2.bmp")
    manifest = dataclasses.replace(manifest, paths=paths)
    rows = np.arange(3)
    assert named_cells(["b/1.bmp", "2.bmp", "large/b/1.bmp"], manifest, rows) == [1, 2]
    with pytest.raises(DataError, match=r"2 cells end so.*large/a/1\.bmp, large/b/1\.bmp"):
        named_cells(["1.bmp"], manifest, rows)
    with pytest.raises(DataError, match=r"near it: 2\.bmp"):
        named_cells(["22.bmp"], manifest, rows)
