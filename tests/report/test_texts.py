"""Sentences of the page: names keep their letters, counts their grammar, choices their place."""

import dataclasses
import re

import pytest

from fastleuk.evaluation.decision import Decision
from fastleuk.report.answers import answers
from fastleuk.report.checklist import checklists
from fastleuk.report.facts import data, results, training
from fastleuk.report.facts.decision import decision_sentence
from fastleuk.report.run import card_run, methods_run
from fastleuk.report.source import read_source
from tests.makers.hand_runs import change_json, hand_run

NAMES = ("hem", "ALL")
CHOSEN = {
    "part": "val",
    "images": 126,
    "over": "subjects",
    "subjects_by_class": {"hem": 1, "ALL": 7},
}
WHERE = (
    "chosen on the validation part (126 images of 8 subjects: 1 hem and 7 ALL); the test part "
    "decided nothing."
)
NOTHING = {
    name: {"none": "Not computed here."} for name in ("cells", "external", "baselines", "subjects")
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return hand_run(tmp_path_factory.mktemp("runs") / "run", names=NAMES)


@pytest.fixture(scope="module")
def source(folder):
    return read_source(folder)


def _answers(source):
    return answers(source, {**NOTHING, "repeatable": {"versions": {}}})


@pytest.mark.parametrize(
    ("temperature", "threshold", "rule", "text"),
    [
        (1.0, None, "argmax", "An image is given its most probable class."),
        (1.0, 0.5, "0.5", "An image is called ALL from a probability of 0.5 on."),
        (1.0, 0.25, "sensitivity:0.95",
         "An image is called ALL from a probability of 0.25 on, the highest that keeps a "
         f"sensitivity of 0.95. The threshold was {WHERE}"),
        (0.75, 0.5, "0.5",
         "An image is called ALL from a probability of 0.5 on; logits are divided by a temperature "
         f"of 0.750 first. The temperature was {WHERE}"),
        (0.75, 0.6, "cost:1",
         "An image is called ALL from a probability of 0.6 on, where a missed ALL image counts as "
         "much as 1 false alarm; logits are divided by a temperature of 0.750 first. "
         f"Both were {WHERE}"),
    ],
)  # fmt: skip
def test_a_decision_is_told_with_where_it_was_chosen(source, temperature, threshold, rule, text):
    decision = Decision(temperature, threshold, rule, "ALL", CHOSEN, NAMES)
    assert decision_sentence(dataclasses.replace(source, decision=decision)) == text


def test_names_keep_their_letters(source, folder):
    told = [card_run(folder), methods_run(folder)]
    told += [text for _, text in _answers(source).values()]
    for text in told:
        assert "hem and all" not in text
        assert not re.search(r"\b(Hem|Test_efficientnet)\b", text)


def test_sentences_begin_with_a_capital_and_end_once(source, folder):
    told = [methods_run(folder), *(text for _, text in _answers(source).values())]
    for text in told:
        assert re.match(r"[A-Z0-9]", text), text
        assert not re.search(r"\.\.|\. [a-z](?!astleuk)", text), text


def test_one_is_singular(source):
    row = {"train": 0, "val": 1, "test": 2}
    split = [each for each in source.split if each["part"] in row][:3]
    few = dataclasses.replace(source, split=split, rows=source.rows[:1])
    assert data.part_sentence(few, split[0]["part"]).startswith(
        ("1 image", "3 images of 1 subject ")
    )
    assert "1 epoch was run" in training.training_sentence(few)
    told = ("Not one of 10 images was mistaken.", "1 of 10 images was mistaken.",
            "2 of 10 images were mistaken.")  # fmt: skip
    for wrong, text in enumerate(told):
        figures = {
            **source.figures,
            "confusion_matrix": [[5 - wrong, wrong], [0, 5]],
            "samples": 10,
        }
        few = dataclasses.replace(source, figures=figures)
        assert _answers(few)["failures"][1] == text


@pytest.mark.parametrize(
    ("fewest", "text"), [(0, "no subject:"), (1, "1 subject:"), (6, "6 subjects,")]
)
def test_few_subjects_are_told(source, fewest, text):
    found = {**source.intervals, "clusters_by_class": {"hem": 30, "ALL": fewest}}
    told = results.clusters_sentence(dataclasses.replace(source, intervals=found))
    assert f"A class has {text}" in told or f"a class has {text}" in told


def test_every_item_of_every_checklist_is_answered(source):
    for each in checklists(_answers(source)):
        assert len(each["items"]) > 40
        for item in each["items"]:
            assert len(item["text"]) > 10, item


def test_figures_are_told_in_cells_of_a_hundred(source):
    figures = source.intervals["figures"]
    told = results.plain_sentences(source)
    assert len(told) == 3
    for name, text in zip(("sensitivity", "specificity", "precision_positive"), told, strict=True):
        low, value, high = (results.hundred(figures[name][k]) for k in ("low", "estimate", "high"))
        assert f", {value} ({low} to {high}) are " in text
    assert "where 50 of 100 cells are ALL" in told[2]


def test_exact_bounds_are_named_where_there_are_some(source):
    assert "Clopper" not in results.clusters_sentence(source)
    sure = {**source.intervals["figures"]["auc"], "low": 0.54, "high": 1.0, "method": "exact"}
    found = {**source.intervals, "figures": {**source.intervals["figures"], "auc": sure}}
    text = results.clusters_sentence(dataclasses.replace(source, intervals=found))
    assert "exact binomial bounds" in text


def test_commands_are_code_and_everything_else_is_escaped():
    from fastleuk.report.page import _code_spans

    assert str(_code_spans("<b> `fastleuk <x>` & ")) == (
        "&lt;b&gt; <code>fastleuk &lt;x&gt;</code> &amp; "
    )
    assert _code_spans("a `single quote") == "a `single quote"


def test_warnings_name_unbeaten_baselines_and_a_small_validation_part(by_hand):
    gap = {"estimate": -0.157, "low": -0.3, "high": -0.02}
    change_json(
        by_hand / "test_metrics.json",
        baselines={"colours": {"title": "colors alone (forest)", "beaten": False,
                               "difference": {"auc": gap, "f1_macro": gap}}},
    )  # fmt: skip
    source = read_source(by_hand)
    found = results.warnings(source)
    (unbeaten,) = [text for text in found if "colors alone" in text]
    assert "−0.157 (−0.300 to −0.020)" in unbeaten
    assert "better than the network" in unbeaten
    groups = {row["group"] for row in source.part("val")}
    assert any("validation part" in text for text in found) == (len(groups) < 10)
    change_json(by_hand / "test_metrics.json", baselines={})
    assert not any("colors alone" in text for text in results.warnings(read_source(by_hand)))
