"""Networks of a protocol against each other: by what is in the tables, and as a page shows it."""

import itertools
import re

import numpy as np
import pytest

from fastleuk.evaluation.intervals.figures import figures
from fastleuk.protocols.comparisons import (
    answers_of,
    compare_all,
    compare_ensemble,
    format_comparisons,
    mean_intervals,
)
from fastleuk.protocols.cv.run import cross_validate
from fastleuk.protocols.paper.run import run_paper
from fastleuk.protocols.predictions import average, make_table
from fastleuk.report.run import report_run
from fastleuk.tracking.paired import holm
from tests.makers.cells import SUBJECT_REGEX
from tests.makers.page import parse
from tests.makers.protocol_runs import read_json, tiny_config
from tests.makers.training_runs import quiet

NAMES = ("hem", "ALL")


def _table(seed, *, subjects=12, each=8, first=0, apart=1.2):
    rng = np.random.default_rng(seed)
    owners = np.repeat(np.arange(first, first + subjects), each)
    labels = owners % 2
    logit = apart * (2 * labels - 1) + rng.normal(0, 1, subjects)[owners - first]
    score = 1 / (1 + np.exp(-logit - rng.normal(0, 1, len(owners))))
    paths = [f"{number:02}-{k}" for k, number in enumerate(owners)]
    chances = np.stack([1 - score, score], axis=1)
    return make_table(paths, [f"P{s:02}" for s in owners], labels, chances, NAMES)


def test_intervals_of_one_seed_are_those_of_evaluate():
    table = _table(0)
    ours = mean_intervals([table], subject_is_image=False)
    theirs = figures(table.labels, table.probabilities, table.subjects, NAMES)
    for name, each in ours["figures"].items():
        assert each == pytest.approx(theirs["figures"][name]), name
    assert ours["clusters_by_class"] == theirs["clusters_by_class"] == {"hem": 6, "ALL": 6}


def test_of_several_seeds_it_is_the_mean_and_narrower_than_one():
    tables = [_table(seed) for seed in range(4)]
    found = mean_intervals(tables, subject_is_image=False)["figures"]
    for name in ("f1_macro", "auc", "sensitivity"):
        values = [table.figures()[name] for table in tables]
        assert found[name]["estimate"] == pytest.approx(np.mean(values))
    alone = [mean_intervals([table], subject_is_image=False)["figures"] for table in tables]
    width = [each["auc"]["high"] - each["auc"]["low"] for each in alone]
    assert found["auc"]["high"] - found["auc"]["low"] < np.mean(width)


def test_every_network_meets_every_other_in_the_same_resamples():
    tables = {"a": [_table(0)], "b": [_table(1)], "copy of a": [_table(0)]}
    found = compare_all(tables, subject_is_image=False)
    pairs = {(pair["first"], pair["second"]): pair for pair in found["pairs"]}
    assert list(pairs) == list(itertools.combinations(tables, 2))
    same, forth, back = pairs["a", "copy of a"], pairs["a", "b"], pairs["b", "copy of a"]
    assert all(each["estimate"] == 0 for each in same["differences"].values())
    # No subject differs, of 6 a class: the exact bound of those that may.
    share = 1 - 0.025 ** (1 / 6)
    assert same["differences"]["f1_macro"]["low"] == pytest.approx(-share)
    assert same["differences"]["auc"]["high"] == pytest.approx(share)
    for name, each in forth["differences"].items():
        mirrored = back["differences"][name]
        assert each["estimate"] == pytest.approx(-mirrored["estimate"])
        assert (each["low"], each["high"]) == pytest.approx((-mirrored["high"], -mirrored["low"]))
    raw = [pair["test"]["p"] for pair in found["pairs"]]
    assert [pair["test"]["p_holm"] for pair in found["pairs"]] == pytest.approx(holm(raw))
    assert "A class has 6 subjects only" in format_comparisons(found)
    assert compare_all({"a": [_table(0)]}, subject_is_image=False) is None


def test_a_subject_that_several_seeds_test_is_one():
    several = [_table(0, first=0), _table(1, first=6)]
    answers = answers_of(*several)
    assert len(answers.labels) == 192
    assert answers.groups.max() + 1 == 18
    subjects = np.array([s for table in several for s in table.subjects])
    for group in range(18):
        assert len(set(subjects[answers.groups == group])) == 1


def test_an_ensemble_is_compared_with_its_members_and_their_mean():
    members = {f"seed {seed}": _table(seed, apart=0.6) for seed in range(3)}
    together = average(list(members.values()))
    found = compare_ensemble(together, members, subject_is_image=False)
    assert [pair["first"] for pair in found["pairs"]] == list(members)
    assert {pair["second"] for pair in found["pairs"]} == {"ensemble"}
    mean = np.mean([table.figures()["auc"] for table in members.values()])
    gain = found["from_mean"]["auc"]
    assert gain["estimate"] == pytest.approx(together.figures()["auc"] - mean)
    assert 0 < gain["low"] < gain["high"]


@pytest.mark.usefixtures("pretended", "undrawn_charts")
def test_cv_and_its_page_show_the_same_comparisons(cells, tmp_path):
    pytest.importorskip("jinja2")
    config = tiny_config(cells, SUBJECT_REGEX)
    result = cross_validate(config, folds="2", seeds=3, out=tmp_path, report=quiet)
    for name, each in result["pooled"]["figures"].items():
        interval = result["pooled"]["intervals"]["figures"][name]
        assert interval["estimate"] == pytest.approx(each["mean"])
        shown = f"{interval['low']:.3f} to {interval['high']:.3f} |"
        assert shown in (tmp_path / "cv.md").read_text()
    assert result["comparisons"] == read_json(tmp_path / "cv.json")["comparisons"]
    found = _shown(report_run(tmp_path, report=quiet))
    told = [*result["comparisons"]["pairs"], *result["ensemble"]["comparisons"]["pairs"]]
    _agree(found, told, (tmp_path / "cv.md").read_text())
    # A folder of an older version has none of this, and still has its page.
    old = read_json(tmp_path / "cv.json")
    del old["comparisons"], old["ensemble"]["comparisons"]
    import json

    (tmp_path / "cv.json").write_text(json.dumps(old))
    assert _shown(report_run(tmp_path, report=quiet)) == {}


@pytest.mark.slow
@pytest.mark.usefixtures("pretended", "undrawn_charts")
def test_paper_compares_its_rows_and_colours_alone(demo, tmp_path):
    pytest.importorskip("jinja2")
    names = ["test_efficientnet", "test_resnet"]
    result = run_paper(tiny_config(demo), out=tmp_path, backbones=names, seeds=2, report=quiet)
    every = [*names, result["shortcut"]["name"]]
    for found in result["comparisons"].values():
        assert [(p["first"], p["second"]) for p in found["pairs"]] == [
            *itertools.combinations(every, 2)
        ]
    runs = {run["name"]: run for run in result["runs"]}
    tested = sum(runs[f"test_resnet-subject-seed-{seed}"]["samples"] for seed in range(2))
    gain = result["comparisons"]["subject"]["pairs"][0]["differences"]["accuracy"]["estimate"]
    right = [
        sum(run["accuracy"] * run["samples"] for key, run in runs.items()
            if key.startswith(f"{name}-subject"))
        for name in names
    ]  # fmt: skip
    assert gain == pytest.approx((right[1] - right[0]) / tested)
    found = _shown(report_run(tmp_path, report=quiet))
    told = [pair for split in result["comparisons"].values() for pair in split["pairs"]]
    _agree(found, told, (tmp_path / "paper.md").read_text())


@pytest.fixture
def undrawn_charts(monkeypatch):
    def save(_, file, format=None, **__):
        if format == "svg":
            file.write(b'<svg viewBox="0 0 1 1"></svg>')

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", save)


def _shown(page):
    """The cells of each comparison's row on a page, by its title; several rows may have one."""
    found = {}
    for row in re.findall(r"<tr data-compared=.*?</tr>", page.read_text(), re.DOTALL):
        (title,), cells = (re.findall(f"<{tag}[^>]*>(.*?)</{tag}>", row) for tag in ("th", "td"))
        found.setdefault(title, []).append(cells)
    assert parse(page.read_text()) is not None
    return found


def _agree(found, told, markdown):
    assert sum(map(len, found.values())) == len(told)
    for pair in told:
        title, each = f"{pair['second']} − {pair['first']}", pair["differences"]["f1_macro"]
        assert f"| {title} |" in markdown
        shown = f"{each['estimate']:+.3f} ({each['low']:+.3f} to {each['high']:+.3f})"
        assert shown in markdown
        rows = found[title]
        assert shown.replace("-", "−") in [cells[0] for cells in rows]
        p, corrected = (
            "&lt; 0.001" if value < 0.001 else f"{value:.3f}"
            for value in (pair["test"]["p"], pair["test"]["p_holm"])
        )
        assert (p, corrected) in [tuple(cells[-2:]) for cells in rows]
