"""What the page says of a run that lacks something, and what it refuses."""

import re

import pytest

from fastleuk.errors import FastleukError, MissingDependencyError
from fastleuk.report.run import report_run
from tests.makers.hand_runs import change_json, hand_run
from tests.makers.page import figures_of, read_rows, report_page, write_table
from tests.makers.training_runs import quiet

pytestmark = pytest.mark.usefixtures("undrawn")
pytest.importorskip("jinja2")


def test_a_subject_in_two_parts_is_told_in_red(by_hand):
    rows = read_rows(by_hand / "split.csv")
    train = next(row for row in rows if row["part"] == "train")
    test = next(row for row in rows if row["part"] == "test")
    test["subject"], test["group"], test["sha256"] = (
        train["subject"], train["group"], train["sha256"],
    )  # fmt: skip
    write_table(by_hand / "split.csv", rows)
    page = report_page(by_hand, images=False)
    assert not page.all("p", **{"class": "note good"})
    (note,) = page.all("p", **{"class": "note bad"})
    assert "training and test share 1 subject and 1 file." in note.text
    (pair,) = page.all("tr", data_shared="training and test")
    assert [cell.text for cell in pair.all("td")] == ["1", "1", "1"]


def test_a_run_without_subjects_says_what_that_means(tmp_path):
    page = report_page(hand_run(tmp_path / "run", known=False, names=("hem", "ALL")), images=False)
    assert "over images" in page.text
    assert "cannot be shown that training and test share no person" in page.text
    assert "the data name no subjects" in page.text


def test_one_class_in_the_test_leaves_the_rest(tmp_path):
    run = hand_run(tmp_path / "run", names=("hem", "ALL"))
    rows = [row for row in read_rows(run / "test_predictions.csv") if row["label"] == "ALL"]
    write_table(run / "test_predictions.csv", rows)
    change_json(run / "test_metrics.json", auc=None)
    page = report_page(run, images=False)
    assert "one class only" in page.text
    assert figures_of(page)["auc"] == (None, None, None)
    assert figures_of(page)["sensitivity"][0] is not None


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
    page = report_page(by_hand, images=False)
    assert text in page.text
    assert not re.search(r"\b(None|nan)\b", page.text)
    assert "best.safetensors is missing" in page.text  # no run by hand has weights


def test_without_grad_cam_the_cells_are_shown_all_the_same(run, tmp_path, monkeypatch):
    monkeypatch.setattr("fastleuk.report.images.has_grad_cam", lambda: False)
    page = report_page(run, out=tmp_path)
    shown = page.all("figure", data_item=True)
    assert shown
    assert all(len(figure.all("img")) == 1 for figure in shown)
    assert "pip install 'fastleuk[explain]'" in page.text


def test_data_that_have_gone_are_said_and_wrong_ones_refused(by_hand, tmp_path, cells):
    notes: list[str] = []
    report_run(by_hand, out=tmp_path / "page", report=notes.append)
    assert any("/nowhere/cells" in note for note in notes), "the terminal names the whole path"
    page = report_page(by_hand)
    assert "/nowhere" not in page.text
    assert "No cells are shown" in page.text
    with pytest.raises(FastleukError, match="is no class"):
        report_run(by_hand, data=str(cells), out=tmp_path / "o", report=quiet)


def test_a_file_to_write_to_is_refused(by_hand, tmp_path, fastleuk):
    code, _, error = fastleuk("report", by_hand, "--out", tmp_path / "page.html")
    assert code == 2
    assert "page.html: name a folder" in error
    assert not (tmp_path / "page.html").exists()


def test_without_jinja_the_remedy_is_named(by_hand, monkeypatch):
    real = __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "jinja2" else real(name)
    )
    with pytest.raises(MissingDependencyError, match=r"fastleuk\[report\]"):
        report_run(by_hand, report=quiet)


@pytest.mark.parametrize(
    ("break_it", "text"),
    [
        (lambda run: (run / "config.toml").unlink(), r"no run folder"),
        (lambda run: (run / "test_metrics.json").unlink(), r"fastleuk evaluate"),
        (lambda run: (run / "test_metrics.json").write_text("{"), r"test_metrics\.json"),
        (lambda run: (run / "test_metrics.json").write_text('{"f1_macro": 1.0}'), r"class_names"),
        (lambda run: (run / "split.csv").write_text("path\n"), r"split\.csv: missing column"),
        (lambda run: (run / "test_predictions.csv").write_text("path\na\n"), r"subject, label"),
        (lambda run: (run / "metrics.csv").write_text("epoch\nx\n"), r"metrics\.csv"),
    ],
)
def test_a_damaged_run_is_one_line_and_leaves_no_page(by_hand, break_it, text, fastleuk):
    break_it(by_hand)
    code, _, told = fastleuk("report", by_hand)
    assert code == 2
    assert re.search(text, told)
    assert "Traceback" not in told
    assert not list(by_hand.glob("report*"))
