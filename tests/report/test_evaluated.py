"""What the page shows of what ``fastleuk evaluate`` adds: all as test_metrics.json has it."""

import csv
import json
import shutil

import pytest

from fastleuk.evaluation.evaluate import evaluate_run
from fastleuk.report.run import report_run
from tests.makers.hand_runs import change_json
from tests.makers.page import parse
from tests.makers.short_runs import short_run

pytest.importorskip("jinja2")


def _quiet(text):
    pass


@pytest.fixture(scope="module")
def run(cells, tmp_path_factory):
    out = short_run(cells, tmp_path_factory.mktemp("runs") / "run", epochs=2)
    evaluate_run(out, positive="large", threshold="sensitivity:0.95", calibrate=True, report=_quiet)
    return out


@pytest.fixture(scope="module")
def kept(run):
    return json.loads((run / "test_metrics.json").read_text())


@pytest.fixture(scope="module")
def page(run):
    return _page(run)


def _page(run):
    return parse(report_run(run, report=_quiet, images=False).read_text(encoding="utf-8"))


def _section(page, name):
    (found,) = page.all("section", aria_labelledby=name)
    return found


def _shown(element, name):
    (row,) = element.all("tr", data_figure=name)
    ends = [row.attributes.get(f"data-{end}", "") for end in ("value", "low", "high")]
    return [float(text) if text else None for text in ends]


def test_calibration_before_and_after_is_that_of_the_figures(page, kept):
    section = _section(page, "calibration")
    for stage in ("before", "after"):
        for name, figure in kept["calibration"].get(stage, {}).get("figures", {}).items():
            value, low, high = _shown(section, f"{stage}.{name}")
            assert value == figure["estimate"]
            if figure["low"] is not None:
                assert (low, high) == (figure["low"], figure["high"])
    assert f"{kept['calibration']['temperature']:.3f}" in section.text or (
        "No temperature was fitted" in section.text
    )
    assert "the highest that keeps a sensitivity of 0.95" in section.text
    assert section.text.count("chosen on the validation part") == 1
    assert len(section.all("figure")) == 2


def test_what_needs_no_network_stands_beside_it(page, kept):
    section = _section(page, "results")
    for name, told in kept["baselines"].items():
        for key in ("auc", "f1_macro"):
            figure = told["intervals"]["figures"][key]
            assert _shown(section, f"{name}.{key}") == [
                figure["estimate"], figure["low"], figure["high"]
            ]  # fmt: skip
        gap = told["difference"]["auc"]
        shown = f"{gap['estimate']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})"
        assert shown.replace("-", "−") in section.text
    assert "size alone (logistic regression), AUC" in section.text


def test_subjects_have_their_figures_and_a_row_each(run, page, kept):
    section = _section(page, "subjects")
    auc = kept["by_subject"]["mean"]["intervals"]["figures"]["auc"]
    span = f"{auc['low']:.3f} to {auc['high']:.3f}"
    assert f"{auc['estimate']:.3f} ({span})" in section.text
    (table,) = section.all("details")
    rows = table.all("tbody")[0].all("tr")
    assert len(rows) == kept["by_subject"]["subjects"] == 4
    with (run / "test_subjects.csv").open(newline="") as file:
        for row, told in zip(rows, csv.DictReader(file), strict=True):
            cells = [cell.text for cell in row.all("td")]
            assert cells[:2] == [told["subject"], told["label"]]
            assert cells[-1] == f"{float(told['p_large']):.3f}"


def test_what_an_older_version_did_not_compute_is_said(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    change_json(tmp_path / "run" / "test_metrics.json", calibration=None, baselines=None)
    page = _page(tmp_path / "run")
    for name in ("calibration", "results"):
        section = _section(page, name)
        assert "Not computed. fastleuk evaluate RUN does it." in section.text
