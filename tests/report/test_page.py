"""The page of a run: its figures are evaluation's and scikit-learn's, and it stands alone."""

import itertools
import json
import re

import numpy as np
import pytest
from sklearn import metrics as sk

from fastleuk.evaluation.intervals.figures import figures as all_figures
from fastleuk.report.run import methods_run, report_run
from tests.makers.hand_runs import ODD
from tests.makers.page import figures_of, read_rows, report_page
from tests.makers.training_runs import quiet


@pytest.mark.parametrize("which", ["trained", "by hand"])
@pytest.mark.usefixtures("undrawn")
def test_every_figure_is_that_of_test_metrics_and_of_scikit_learn(which, run, page, by_hand):
    if which == "by hand":
        run, page = by_hand, report_page(by_hand, images=False)
    told = figures_of(page)
    kept = json.loads((run / "test_metrics.json").read_text())
    for name, (value, _, _) in told.items():
        if isinstance(kept.get(name), float):
            assert value == pytest.approx(kept[name], abs=1e-12), name
    rows = read_rows(run / "test_predictions.csv")
    positive = kept["positive_class"]
    true = np.array([row["label"] == positive for row in rows])
    said = np.array([row["predicted"] == positive for row in rows])
    score = np.array([float(row[f"p_{positive}"]) for row in rows])
    zero = {"zero_division": 0}
    expected = {
        "f1_macro": sk.f1_score(true, said, average="macro", **zero),
        "f1_positive": sk.f1_score(true, said, **zero),
        "precision_positive": sk.precision_score(true, said, **zero),
        "sensitivity": sk.recall_score(true, said),
        "specificity": sk.recall_score(~true, ~said),
        "balanced_accuracy": sk.balanced_accuracy_score(true, said),
        "accuracy": sk.accuracy_score(true, said),
        "mcc": sk.matthews_corrcoef(true, said),
        "auc": sk.roc_auc_score(true, score),
        "average_precision": sk.average_precision_score(true, score),
        "brier": sk.brier_score_loss(true, score),
        "log_loss": sk.log_loss(true, score),
    }
    assert set(expected) <= set(told)
    for name, value in expected.items():
        assert told[name][0] == pytest.approx(value, abs=1e-6), name


def test_every_interval_is_evaluations(run, page):
    split = {row["path"]: row for row in read_rows(run / "split.csv")}
    rows = read_rows(run / "test_predictions.csv")
    names = ("large", "small")
    expected = all_figures(
        np.array([names.index(row["label"]) for row in rows]),
        np.array([[float(row[f"p_{name}"]) for name in names] for row in rows]),
        [split[row["path"]]["group"] for row in rows],
        names,
        "large",
    )["figures"]
    told = figures_of(page)
    assert len(told) >= 15
    for name, figure in expected.items():
        value, low, high = told[name]
        assert (value, low, high) == pytest.approx(
            (figure["estimate"], figure["low"], figure["high"]), abs=1e-9
        )
        assert low <= value <= high


def test_what_is_shown_is_what_the_attributes_hold(page):
    for row in page.all("tr", data_figure=True):
        told = [row.attributes.get(f"data-{n}", "") for n in ("value", "low", "high")]
        cells = [cell.text for cell in row.all("td")]
        if not told[0]:
            assert re.search("one class|undefined|separate the classes", cells[0]), cells
            assert len(cells) == 2, "the reason stands once, across estimate and interval"
            continue
        if not all(told):
            assert re.search("undefined|one subject", cells[1]), cells
            continue
        value, *ends = map(float, told)
        assert cells[0].replace("−", "-") == f"{value:.3f}"
        shown = " to ".join(f"{end:.3f}" for end in ends)
        assert cells[1].replace("−", "-") == shown


def test_the_confusion_matrix_is_the_runs(run, page):
    kept = json.loads((run / "test_metrics.json").read_text())
    names = kept["class_names"]
    told = {
        (cell.attributes["data-true"], cell.attributes["data-said"]): float(
            cell.attributes["data-count"]
        )
        for cell in page.all("td", data_true=True)
    }
    for row, true in enumerate(names):
        for column, said in enumerate(names):
            assert told[true, said] == kept["confusion_matrix"][row][column]


def test_the_page_stands_alone(html, page):
    for element in page.all():
        for name in ("src", "href", "xlink:href", "action", "data", "poster"):
            value = element.attributes.get(name, "data:")
            assert value.startswith(("#", "data:")), (element.tag, name, value[:80])
    assert not re.search(r"@import|url\((?!#)", html)
    (policy,) = (e for e in page.all("meta") if "http-equiv" in e.attributes)
    assert policy.attributes["content"].startswith("default-src 'none'")
    assert len(html.encode()) < 3e6


def test_names_within_the_page_are_unique_and_lead_somewhere(page):
    ids = [element.attributes["id"] for element in page.all(id=True)]
    assert len(ids) == len(set(ids))
    wanted = [e.attributes["aria-labelledby"] for e in page.all(aria_labelledby=True)]
    wanted += [e.attributes["data-of"] for e in page.all(data_of=True)]
    for element in page.all("a") + page.all("use"):
        wanted += [v[1:] for k, v in element.attributes.items() if k.endswith("href")]
    assert len(wanted) > 20
    assert set(wanted) <= set(ids)


def test_every_picture_has_a_text(page):
    pictures = page.all("img") + page.all("svg")
    assert len(pictures) > 12
    for picture in pictures:
        text = picture.attributes.get("alt") or picture.attributes.get("aria-label", "")
        assert len(text) > 5, picture.attributes


def test_headings_skip_no_level(page):
    levels = [int(e.tag[1]) for e in page.all() if re.fullmatch(r"h[1-6]", e.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_the_cells_are_the_surest_hits_and_misses_with_their_heat(run, page):
    pytest.importorskip("pytorch_grad_cam")
    rows = {row["path"]: row for row in read_rows(run / "test_predictions.csv")}
    shown = page.all("figure", data_item=True)
    assert shown
    for figure in shown:
        images = figure.all("img")
        assert len(images) == 2
        row = rows[images[0].attributes["alt"].removeprefix("Cell ")]
        assert figure.attributes["data-label"] == row["label"]
        assert (figure.attributes["data-kind"] == "hit") == (row["label"] == row["predicted"])


def test_nothing_is_blank_and_no_value_slips_through(page):
    for cell in page.all("td") + page.all("dd") + page.all("figcaption"):
        assert cell.text or cell.all("span") or cell.parent.parent.tag == "thead", cell.attributes
    assert not re.search(r"\b(None|nan|NaN|undefined|Undefined)\b", page.text)


def test_the_parts_are_shown_to_share_nothing(run, page):
    pairs = page.all("tr", data_shared=True)
    assert len(pairs) == 3
    for pair in pairs:
        assert [cell.text for cell in pair.all("td")] == ["0", "0", "0"]
    (note,) = page.all("p", **{"class": "note good"})
    people = len({row["subject"] for row in read_rows(run / "split.csv")})
    assert f"{people} subjects and {len(read_rows(run / 'split.csv'))} files" in note.text


@pytest.mark.usefixtures("undrawn")
def test_names_are_text_and_never_markup(by_hand):
    page = report_page(by_hand, images=False)
    assert not page.all("b") or all(not element.text for element in page.all("b"))
    assert ODD[0] in page.text
    assert ODD[1] in page.text
    assert not page.all("i") or all(not element.text for element in page.all("i"))


def test_page_card_and_methods_hold_no_absolute_path(by_hand):
    config = (by_hand / "config.toml").read_text(encoding="utf-8")
    data = "/home/jane.doe/blood of patients/cells"
    config = config.replace('"/nowhere/cells"', f'"{data}"').replace(
        'weights = "none"', r'weights = "D:\\secret\\start.pth"'
    )
    (by_hand / "config.toml").write_text(config, encoding="utf-8")
    with (by_hand / "log.txt").open("a") as log:
        log.write(f"# fastleuk 0.1.0: fastleuk train --data '{data}' --out /srv/jane/x\n")
    html = report_run(by_hand, images=False, report=quiet).read_text(encoding="utf-8")
    texts = [html, methods_run(by_hand), (by_hand / "MODEL_CARD.md").read_text(encoding="utf-8")]
    for text in texts:
        for word in ("jane", "secret", str(by_hand.parent), "/home"):
            assert word not in text, text[max(0, text.find(word) - 80) :][:200]
    assert "cells" in html
    assert "start.pth" in html
