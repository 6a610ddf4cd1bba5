"""The page of a run: its figures are evaluation's and scikit-learn's, it stands alone, and what is
missing is said."""

import csv
import itertools
import json
import re
import sys

import numpy as np
import pytest
from sklearn import metrics as sk

from fastleuk.cli import main
from fastleuk.errors import CheckpointError, FastleukError, MissingDependencyError
from fastleuk.evaluation.intervals.figures import figures as all_figures
from fastleuk.report.run import report_run
from tests.makers.hand_runs import ODD, change_json, hand_run
from tests.makers.page import parse
from tests.makers.short_runs import short_run

pytest.importorskip("jinja2")


def _quiet(text):
    pass


def _rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(cells, tmp_path_factory):
    return short_run(cells, tmp_path_factory.mktemp("runs") / "run", epochs=2)


@pytest.fixture(scope="module")
def html(run):
    return report_run(run, report=_quiet).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html):
    return parse(html)


@pytest.fixture
def by_hand(tmp_path):
    return hand_run(tmp_path / "run")


def _page(run, **options):
    return parse(report_run(run, report=_quiet, **options).read_text(encoding="utf-8"))


def _figures(page):
    """Return (value, low, high) by name, each stated alike wherever it stands."""
    found = {}
    for element in page.all(data_figure=True):
        ends = [element.attributes.get(f"data-{end}", "") for end in ("value", "low", "high")]
        told = tuple(float(text) if text else None for text in ends)
        assert found.setdefault(element.attributes["data-figure"], told) == told
    return found


@pytest.mark.parametrize("which", ["trained", "by hand"])
def test_every_figure_is_that_of_test_metrics_and_of_scikit_learn(which, run, page, by_hand):
    if which == "by hand":
        run, page = by_hand, _page(by_hand, images=False)
    told = _figures(page)
    kept = json.loads((run / "test_metrics.json").read_text())
    for name, (value, _, _) in told.items():
        if isinstance(kept.get(name), float):
            assert value == pytest.approx(kept[name], abs=1e-12), name
    rows = _rows(run / "test_predictions.csv")
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
    split = {row["path"]: row for row in _rows(run / "split.csv")}
    rows = _rows(run / "test_predictions.csv")
    names = ("large", "small")
    expected = all_figures(
        np.array([names.index(row["label"]) for row in rows]),
        np.array([[float(row[f"p_{name}"]) for name in names] for row in rows]),
        [split[row["path"]]["group"] for row in rows],
        names,
        "large",
    )["figures"]
    told = _figures(page)
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
        if not all(told):
            assert re.search("one class|undefined|part the classes|one subject", cells[1]), cells
            continue
        value, *ends = map(float, told)
        assert cells[0].replace("−", "-") == f"{value:.3f}"
        assert cells[1].replace("−", "-") == " to ".join(f"{end:.3f}" for end in ends)


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
    rows = {row["path"]: row for row in _rows(run / "test_predictions.csv")}
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
    people = len({row["subject"] for row in _rows(run / "split.csv")})
    assert f"{people} subjects and {len(_rows(run / 'split.csv'))} files" in note.text


def test_a_subject_in_two_parts_is_told_in_red(by_hand):
    rows = _rows(by_hand / "split.csv")
    train = next(row for row in rows if row["part"] == "train")
    test = next(row for row in rows if row["part"] == "test")
    test["subject"], test["group"], test["sha256"] = (
        train["subject"], train["group"], train["sha256"],
    )  # fmt: skip
    with (by_hand / "split.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    page = _page(by_hand, images=False)
    assert not page.all("p", **{"class": "note good"})
    (note,) = page.all("p", **{"class": "note bad"})
    assert "1 subjects have images in training and test" in note.text
    (pair,) = page.all("tr", data_shared="training and test")
    assert [cell.text for cell in pair.all("td")] == ["1", "1", "1"]


def test_names_are_text_and_never_markup(by_hand):
    page = _page(by_hand, images=False)
    assert not page.all("b") or all(not element.text for element in page.all("b"))
    assert ODD[0] in page.text
    assert ODD[1] in page.text
    assert not page.all("i") or all(not element.text for element in page.all("i"))


def test_a_run_without_subjects_says_what_that_means(tmp_path):
    page = _page(hand_run(tmp_path / "run", known=False, names=("hem", "ALL")), images=False)
    assert "over images" in page.text
    assert "cannot be shown that training and test share no person" in page.text
    assert "the data name no subjects" in page.text


def test_one_class_in_the_test_leaves_the_rest(tmp_path):
    run = hand_run(tmp_path / "run", names=("hem", "ALL"))
    rows = [row for row in _rows(run / "test_predictions.csv") if row["label"] == "ALL"]
    with (run / "test_predictions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    change_json(run / "test_metrics.json", auc=None)
    page = _page(run, images=False)
    assert "one class only" in page.text
    assert _figures(page)["auc"] == (None, None, None)
    assert _figures(page)["sensitivity"][0] is not None


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("test_predictions.csv", "test_predictions.csv is not in the run folder"),
        ("metrics.csv", "metrics.csv is not in the run folder"),
        ("split.csv", "split.csv is not in the run folder"),
        ("policy.toml", "policy.toml is not in the run folder"),
    ],
)
def test_what_is_missing_is_said(by_hand, file, text):
    (by_hand / file).unlink()
    page = _page(by_hand, images=False)
    assert text in page.text
    assert not re.search(r"\b(None|nan)\b", page.text)
    assert "best.safetensors is missing" in page.text  # no run by hand has weights


def test_without_grad_cam_the_cells_are_shown_all_the_same(run, tmp_path, monkeypatch):
    monkeypatch.setattr("fastleuk.report.images.has_grad_cam", lambda: False)
    page = _page(run, out=tmp_path)
    shown = page.all("figure", data_item=True)
    assert shown
    assert all(len(figure.all("img")) == 1 for figure in shown)
    assert "pip install 'fastleuk[explain]'" in page.text


def test_data_that_have_gone_are_said_and_wrong_ones_refused(by_hand, tmp_path, cells):
    page = _page(by_hand)
    assert "/nowhere/cells" in page.text
    assert "No cells are shown" in page.text
    with pytest.raises(FastleukError, match="is no class"):
        report_run(by_hand, data=str(cells), out=tmp_path / "o", report=_quiet)


@pytest.mark.parametrize(
    ("break_it", "text"),
    [
        (lambda run: (run / "config.toml").unlink(), r"no run folder"),
        (lambda run: (run / "test_metrics.json").unlink(), r"fastleuk evaluate"),
        (lambda run: (run / "test_metrics.json").write_text("{"), r"test_metrics\.json"),
        (lambda run: (run / "test_metrics.json").write_text('{"f1_macro": 1.0}'), r"class_names"),
        (lambda run: (run / "split.csv").write_text("path\n"), r"split\.csv has no rows"),
        (lambda run: (run / "test_predictions.csv").write_text("path\na\n"), r"subject, label"),
        (lambda run: (run / "metrics.csv").write_text("epoch\nx\n"), r"metrics\.csv"),
    ],
)
def test_a_damaged_run_is_one_line_and_leaves_no_page(by_hand, break_it, text, monkeypatch, capsys):
    break_it(by_hand)
    with pytest.raises(CheckpointError, match=text):
        report_run(by_hand, report=_quiet)
    monkeypatch.setattr(sys, "argv", ["fastleuk", "report", str(by_hand)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not (by_hand / "report.html").exists()


def test_without_jinja_the_remedy_is_named(by_hand, monkeypatch):
    real = __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "jinja2" else real(name)
    )
    with pytest.raises(MissingDependencyError, match=r"fastleuk\[report\]"):
        report_run(by_hand, report=_quiet)
