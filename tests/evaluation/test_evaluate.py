"""What evaluating a run writes and prints."""

import csv
import json

import numpy as np
import pytest

from fastleuk.errors import ConfigError
from fastleuk.evaluation.evaluate import evaluate_run


def _quiet(text):
    pass


def _json(run, name="test_metrics.json"):
    return json.loads((run / name).read_text())


def _predictions(run, name="test_predictions.csv"):
    with (run / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_figure_stands_with_its_interval_beside_the_plain_ones(copy):
    said = []
    figures = evaluate_run(copy, positive="large", report=said.append)
    assert figures == _json(copy)
    found = figures["intervals"]
    assert (found["over"], found["clusters"], found["positive_class"]) == ("subjects", 4, "large")
    assert found["clusters_by_class"] == {"large": 2, "small": 2}
    for name, each in found["figures"].items():
        if name in figures:
            assert each["estimate"] == pytest.approx(figures[name], abs=1e-12), name
        assert each["low"] <= each["estimate"] <= each["high"], name
    assert figures["loss"] == pytest.approx(found["figures"]["log_loss"]["estimate"])
    macro_f1 = found["figures"]["f1_macro"]
    assert figures["interval"]["f1_macro"] == [macro_f1["low"], macro_f1["high"]]
    (text,) = [text for text in said if "confusion matrix" in text]
    assert "95% intervals over 4 subjects (2 large, 2 small)" in text
    auc = found["figures"]["auc"]
    assert f"{auc['estimate']:.4f} ({auc['low']:.3f}–{auc['high']:.3f})" in text


def test_the_figures_are_those_of_the_predictions_beside_them(copy):
    figures = evaluate_run(copy, report=_quiet)
    rows = _predictions(copy)
    right = np.array([row["label"] == row["predicted"] for row in rows])
    assert figures["accuracy"] == right.mean() == figures["intervals"]["figures"]["accuracy"][
        "estimate"]  # fmt: skip


def test_a_threshold_is_chosen_on_validation_kept_and_applied(copy):
    said = []
    wish = {"positive": "large", "threshold": "sensitivity:0.95", "calibrate": True}
    first = evaluate_run(copy, **wish, report=said.append)
    decision = _json(copy, "decision.json")
    assert first["decision"] == decision
    assert (decision["rule"], decision["positive"]) == ("sensitivity:0.95", "large")
    with (copy / "split.csv").open(newline="") as file:
        validation = [row for row in csv.DictReader(file) if row["part"] == "val"]
    assert decision["chosen_on"]["images"] == len(validation)
    assert any("--threshold sensitivity:0.95" in text and "validation part" in text
               for text in said)  # fmt: skip
    assert any("fewer than 5: a temperature and a threshold" in text for text in said)
    for row in _predictions(copy):
        assert (float(row["p_large"]) >= decision["threshold"]) == (row["predicted"] == "large")
    confusion = np.array(first["confusion_matrix"])
    assert first["sensitivity"] == confusion[0, 0] / confusion[0].sum()
    assert first["intervals"]["figures"]["sensitivity"]["estimate"] == first["sensitivity"]
    # Validation repeats the choice, and the next command needs no option.
    said.clear()
    on_validation = evaluate_run(copy, part="val", positive="large", report=said.append)
    assert on_validation["sensitivity"] >= 0.95
    assert "note: that was chosen on this very part (val): its figures flatter." in said
    assert evaluate_run(copy, positive="large", report=_quiet) == first
    assert (copy / "calibration.png").stat().st_size > 1000


def test_the_command_line_chooses_and_refuses(copy, fastleuk):
    code, out, err = fastleuk(
        "evaluate", copy, "--positive", "large", "--threshold", "cost:5", "--no-calibrate"
    )
    assert code == 0, err
    assert "label: large from a probability of" in out
    before = (copy / "decision.json").read_bytes()
    for words, says in (
        (["--threshold", "best", "--positive", "large"], "must be argmax, a number"),
        (["--threshold", "youden"], "needs a positive class"),
    ):
        code, _, err = fastleuk("evaluate", copy, *words)
        assert code == 2
        assert says in err
    assert (copy / "decision.json").read_bytes() == before
    code, _, err = fastleuk("evaluate", copy, "--positive", "large", "--threshold", "argmax")
    assert code == 0, err
    assert _json(copy, "decision.json")["threshold"] is None


def test_a_folder_of_ones_own_gets_the_decision_too(copy, tmp_path):
    before = {file.name for file in copy.iterdir()}
    evaluate_run(copy, positive="large", threshold="0.3", out=tmp_path / "mine", report=_quiet)
    assert {file.name for file in copy.iterdir()} == before
    assert _json(tmp_path / "mine", "decision.json")["threshold"] == 0.3
    again = evaluate_run(copy, positive="large", out=tmp_path / "mine", report=_quiet)
    assert again["decision"]["threshold"] == 0.3


def test_scores_that_are_no_numbers_are_refused(copy, monkeypatch):
    from fastleuk.evaluation.scorer import Scorer

    real = Scorer.predict

    def broken(self, *args, **options):
        found = real(self, *args, **options)
        found.logits[3] = np.nan
        return found

    monkeypatch.setattr(Scorer, "predict", broken)
    with pytest.raises(ConfigError, match="1 of 16 samples have scores that are no finite"):
        evaluate_run(copy, report=_quiet)


def test_a_table_of_the_subjects_stands_beside_the_images(copy):
    said = []
    figures = evaluate_run(copy, positive="large", report=said.append)
    rows = _predictions(copy)
    subjects = _predictions(copy, "test_subjects.csv")
    assert len(subjects) == figures["by_subject"]["subjects"] == 4
    for each in subjects:
        mine = [float(row["p_large"]) for row in rows if row["subject"] == each["subject"]]
        assert float(each["p_large"]) == pytest.approx(np.mean(mine))
        assert int(each["images"]) == len(mine)
    assert any("by subject (4)" in text and "majority vote" in text for text in said)
