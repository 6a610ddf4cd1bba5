"""Which class is the positive one: never the alphabet's last."""

import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastleuk.cli import main
from fastleuk.data.dataset import load_dataset
from fastleuk.data.labels.positive import HEALTHY, no_positive, positive_class
from fastleuk.errors import ConfigError
from fastleuk.evaluation.format import format_metrics
from fastleuk.evaluation.metrics import classification_metrics
from fastleuk.protocols import jobs
from fastleuk.protocols.cv import run as cv_protocol
from fastleuk.protocols.cv.run import cross_validate
from fastleuk.protocols.paper import run as paper_protocol
from fastleuk.protocols.paper.run import run_paper
from tests.makers.cells import SUBJECT_REGEX, write_cells
from tests.makers.protocol_runs import PretendedTraining, change, tiny_config
from tests.makers.training_runs import quiet


@pytest.mark.parametrize(
    ("names", "positive"),
    [
        ("hem ALL", "ALL"),
        ("leukemia normal", "leukemia"),
        ("AML healthy", "AML"),
        ("benign malignant", "malignant"),
        ("Infected Uninfected", "Infected"),
        ("control diseased", "diseased"),
        ("abnormal Normal", "abnormal"),
        ("Healthy_Cells Unhealthy_Cells", "Unhealthy_Cells"),
        ("cancer non-cancer", "cancer"),
        ("no_tumor tumor", "tumor"),
        ("nonAML AML", "AML"),
        ("normal not_normal", "not_normal"),
        ("negative positive", "positive"),
        ("gesund krank", "krank"),
        ("cas témoin", "cas"),
        ("正常 白血病", "白血病"),
        ("blast lymphocyte", None),
        ("benign normal", None),
        ("0 1", None),
        ("Hodgkin non-Hodgkin", None),
        ("small_cell non_small_cell", None),
        ("HER2 triple-negative", None),
        ("a b normal", None),
    ],
)
def test_names_tell_the_positive_class_or_nothing_does(names, positive):
    names = names.split()
    assert positive_class(names) == positive
    assert positive_class(names[::-1]) == positive
    for name in names:
        assert positive_class(names, name) == name


@settings(deadline=None)
@given(st.sampled_from(sorted(HEALTHY)), st.text("bcdfgkqx", min_size=4), st.booleans())
def test_a_healthy_class_is_never_the_positive_one(healthy, other, upper):
    name = healthy.upper() if upper else healthy
    assert positive_class([name, other]) == positive_class([other, name]) == other
    assert positive_class([name, other], name.swapcase()) == name


def test_an_unknown_positive_class_is_refused_with_the_names():
    with pytest.raises(ConfigError, match=r"leukemia, normal.*Did you mean leukemia"):
        positive_class(["leukemia", "normal"], "leukaemia")


def test_figures_follow_the_positive_class_whatever_its_place():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    scores = np.array([0.1, 0.2, 0.3, 0.6, 0.9, 0.8, 0.7, 0.55, 0.4, 0.35])
    first = classification_metrics(labels, np.stack([1 - scores, scores], 1), ("normal", "sick"))
    other = classification_metrics(1 - labels, np.stack([scores, 1 - scores], 1), ("cll", "normal"))
    for name in ("sensitivity", "specificity", "precision_positive", "f1_positive", "auc"):
        assert first[name] == other[name], name
    assert (other["positive_class"], other["sensitivity"]) == ("cll", 4 / 6)
    turned = classification_metrics(
        labels, np.stack([1 - scores, scores], 1), ("normal", "sick"), positive="normal"
    )
    assert (turned["sensitivity"], turned["specificity"]) == (3 / 4, 4 / 6)
    assert "cll (positive)" in format_metrics(other)


def test_without_a_positive_class_each_has_its_own_figures():
    labels = np.array([0, 0, 1, 1, 1])
    chances = np.eye(2)[[0, 1, 1, 1, 0]]
    figures = classification_metrics(labels, chances, ("blast", "lymphocyte"))
    assert not {"positive_class", "sensitivity", "specificity", "f1_positive"} & figures.keys()
    text = format_metrics(figures)
    head = text.splitlines()[0].split()
    assert head == ["blast", "lymphocyte", "macro", "weighted"]
    assert "sensitivity " not in text.replace("so sensitivity", "")
    assert "--positive blast or --positive lymphocyte" in text
    assert no_positive(("blast", "lymphocyte")) in text


def test_of_several_classes_the_positive_one_is_against_the_rest():
    labels = np.array([0, 0, 1, 1, 2, 2])
    chances = np.eye(3)[[0, 1, 1, 0, 2, 1]]
    plain = classification_metrics(labels, chances, ("a", "b", "normal"))
    assert "sensitivity" not in plain
    figures = classification_metrics(labels, chances, ("a", "b", "normal"), positive="b")
    assert figures["sensitivity"] == 1 / 2
    assert figures["specificity"] == 2 / 4  # neither a nor normal is taken for b
    assert {key: figures[key] for key in plain} == plain


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = write_cells(tmp_path_factory.mktemp("set") / "cells")
    (root / "large").rename(root / "leukemia")
    (root / "small").rename(root / "normal")
    return root


def test_cv_and_paper_follow_the_positive_class(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(jobs, "train", PretendedTraining())
    for module, picture in ((cv_protocol, "plot_cv"), (paper_protocol, "plot_leak")):
        monkeypatch.setattr(module, picture, lambda *_: None)
    config = change(tiny_config(folder, SUBJECT_REGEX), "data", test_fraction=0.25)

    def crossed(config):
        return cross_validate(config, folds="2", seeds=1, out=tmp_path / "cv", report=quiet)

    result = crossed(config)
    assert result["positive_class"] == "leukemia"
    means = {name: result["summary"][name]["mean"] for name in ("sensitivity", "specificity")}
    # The same runs, scored for the other class: the option changes figures, never the training.
    other = crossed(change(config, "data", positive="normal"))
    assert other["positive_class"] == "normal"
    assert other["summary"]["sensitivity"]["mean"] == means["specificity"]
    assert "F1 of normal" in (tmp_path / "cv" / "cv.md").read_text()
    (folder / "normal").rename(folder / "lymphocyte")
    try:
        paper, names = tmp_path / "paper", ["test_resnet"]
        result = run_paper(config, out=paper, backbones=names, report=quiet)
        assert result["positive_class"] is None
        text = (paper / "paper.md").read_text()
        assert "precision, recall and F1: macro" in text
        assert "--positive leukemia or --positive lymphocyte" in text
    finally:
        (folder / "lymphocyte").rename(folder / "normal")


def _run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["fastleuk", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code or 0


def test_the_data_set_says_its_positive_class(folder, monkeypatch, capsys):
    assert load_dataset(folder).positive == "leukemia"
    assert load_dataset(folder, positive="Normal").positive == "normal"
    assert _run(monkeypatch, "data", folder) == 0
    said = capsys.readouterr().out
    assert "labels: leukemia = 0, normal = 1" in said
    assert "positive class: leukemia\n" in said
    assert _run(monkeypatch, "data", folder, "--positive", "ill") == 2
    assert "leukemia, normal" in capsys.readouterr().err


@pytest.mark.slow
def test_train_and_evaluate_score_the_diseased(folder, monkeypatch, capsys, tmp_path):
    run = tmp_path / "run"
    assert not _run(
        monkeypatch, "train", "--data", folder, "--subject-regex", SUBJECT_REGEX, "--size", 48,
        "--backbone", "test_efficientnet", "--weights", "none", "--epochs", 1, "--batch-size", 8,
        "--val-fraction", 0.25, "--test-fraction", 0.25, "--workers", 1, "--device", "cpu",
        "--out", run,
    )  # fmt: skip
    capsys.readouterr()

    def metrics():
        return json.loads((run / "test_metrics.json").read_text())

    before, written = metrics(), (run / "test_metrics.json").read_bytes()
    assert before["positive_class"] == "leukemia"
    assert before["sensitivity"] == before["per_class"]["leukemia"]["recall"]
    assert not _run(monkeypatch, "evaluate", run)
    assert "had" not in capsys.readouterr().out
    assert (run / "test_metrics.json").read_bytes() == written
    assert not _run(monkeypatch, "evaluate", run, "--positive", "normal")
    assert "had 'leukemia' as the positive class, now it is 'normal'" in capsys.readouterr().out
    assert metrics()["sensitivity"] == before["specificity"]
    # A run of before there was the option: its configuration doesn't know it.
    config = run / "config.toml"
    config.write_text(config.read_text().replace('positive = ""\n', ""))
    assert not _run(monkeypatch, "evaluate", run)
    assert metrics() == before
