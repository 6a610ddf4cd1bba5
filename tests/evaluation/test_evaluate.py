"""What evaluating a run writes and prints."""

import csv
import json

import numpy as np
import pytest

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
