"""Classifiers on the same samples: what is paired, and how often equal ones are called unequal."""

import functools
import json

import numpy as np
import pytest

from fastleuk.errors import CheckpointError, ConfigError
from fastleuk.evaluation.intervals.metric_table import METRICS
from fastleuk.evaluation.intervals.resampling import interval, replicate
from fastleuk.evaluation.intervals.totals import Answers
from fastleuk.tracking import compared
from fastleuk.tracking.compare import compare_runs
from fastleuk.tracking.compared import HEADLINE, compare_classifiers, plan_of, resampled
from fastleuk.tracking.paired import holm
from fastleuk.tracking.tested import read_records
from tests.makers.tracking_folders import write_run

SIMULATIONS = 400


def _cells(subjects, each=20):
    return np.repeat(np.arange(subjects) % 2, each), np.repeat(np.arange(subjects), each)


def _classifier(rng, labels, groups, *, hard=0.0, apart=1.2):
    """Scores with a shift of each subject that is the classifier's own, beside that of ``hard``."""
    own = rng.normal(0, 0.8, groups.max() + 1)[groups]
    logit = apart * (2 * labels - 1) + own + hard + rng.normal(0, 1, len(labels))
    score = 1 / (1 + np.exp(-logit))
    chances = np.stack([1 - score, score], axis=1)
    return Answers(labels, chances, chances.argmax(axis=1), groups, 1)


@functools.cache
def _null_p_values(classifiers):
    """p-values of equal classifiers against the first, of 4 subjects a class: raw and corrected."""
    rng, (labels, groups) = np.random.default_rng(0), _cells(8)
    pairs = [("0", str(k)) for k in range(1, classifiers)]
    found = []
    for _ in range(SIMULATIONS):
        all_ = {str(k): _classifier(rng, labels, groups) for k in range(classifiers)}
        told = compare_classifiers(all_, pairs, plan_of(list(all_.values()), resamples=2),
                                   figures={name: {} for name in all_})  # fmt: skip
        found.append([(each.test.p_value, each.corrected) for each in told])
    return np.array(found)


def test_by_holm_equal_classifiers_are_called_different_once_in_twenty_families():
    """Of five comparisons at once with few subjects: three deviations above 0.05 are allowed."""
    found = _null_p_values(6) <= 0.05
    raw, corrected = found.any(axis=1).mean(axis=0)
    noise = 3 * np.sqrt(0.05 * 0.95 / SIMULATIONS)
    assert corrected <= 0.05 + noise
    assert raw > 0.05 + 2 * noise, "without the correction it is called far more often"


def test_one_comparison_of_equal_classifiers_is_right():
    found = _null_p_values(6)[:, 0, 0] <= 0.05
    assert found.mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / SIMULATIONS)


@pytest.mark.parametrize("subjects", [8, 24])
def test_intervals_of_differences_hold_nothing_as_often_as_they_say(subjects):
    rng, (labels, groups) = np.random.default_rng(subjects), _cells(subjects)
    names = ("f1_macro", "auc", "brier", "sensitivity")
    inside, times = dict.fromkeys(names, 0), 150
    for _ in range(times):
        hard = rng.normal(0, 0.5, subjects)[groups]  # for both
        both = {key: _classifier(rng, labels, groups, hard=hard) for key in "ab"}
        plan = plan_of(list(both.values()), resamples=120)
        figures = resampled(both, plan, names)
        for name, each in compared.differences(figures["a"], figures["b"], plan).items():
            inside[name] += each.low <= 0 <= each.high
    assert min(inside.values()) / times >= 0.91, inside


def test_the_difference_is_that_of_the_same_resamples():
    """Against each alone: what makes subjects hard for both is in neither end."""
    rng, (labels, groups) = np.random.default_rng(5), _cells(20)
    hard = rng.normal(0, 2.0, 20)[groups]
    all_ = {key: _classifier(rng, labels, groups, hard=hard) for key in "ab"}
    all_["copy"] = all_["a"]
    plan = plan_of(list(all_.values()), resamples=200)
    first, second = (replicate(all_[key], plan, HEADLINE) for key in "ab")
    near, same = compare_classifiers(all_, [("a", "b"), ("a", "copy")], plan)
    assert set(near.differences) == set(HEADLINE) <= set(METRICS)
    for name, found in near.differences.items():
        assert found.estimate == pytest.approx(second[name].estimate - first[name].estimate)
        gained = second[name].drawn - first[name].drawn
        assert (found.high - found.low) == pytest.approx(2 * 2.1 * gained.std(), rel=0.15), (
            "Student's at 18 degrees of freedom, or a little fewer"
        )
    alone = interval(second["f1_macro"], plan)
    found = near.differences["f1_macro"]
    assert found.high - found.low < 0.75 * (alone.high - alone.low)
    assert same.test.p_value == same.corrected == 1
    assert all(d.estimate == 0 and d.low < 0 < d.high for d in same.differences.values())
    share = 1 - 0.025 ** (1 / 10)  # of 10 subjects a class none differs
    assert same.differences["f1_macro"].high == pytest.approx(share)


def test_holm_by_hand():
    """Holm (1979): 4 × .005, 3 × .01, 2 × .03, 1 × .04, none below the one before it."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


# Written by compare


def _with_chances(run, rng):
    """Add the columns of the probabilities, which the folders by hand lack."""
    head, *lines = (run / "test_predictions.csv").read_text().splitlines()
    rows = [f"{head},p_hem,p_ALL"]
    for line in lines:
        said = line.rsplit(",", 1)[1]
        p = 0.5 + 0.4 * rng.random() * (1 if said == "ALL" else -1)
        rows.append(f"{line},{1 - p},{p}")
    (run / "test_predictions.csv").write_text("\n".join(rows))
    return run


def _flipped(wrong):
    predicted = np.arange(40) % 2
    predicted[:wrong] ^= 1
    return predicted


def test_every_difference_is_printed_and_written_with_both_p_values(tmp_path):
    rng = np.random.default_rng(0)
    runs = [
        _with_chances(write_run(tmp_path / name, predicted=_flipped(wrong)), rng)
        for name, wrong in (("a", 7), ("b", 0), ("c", 5))
    ]
    said, out = [], tmp_path / "own.png"
    compare_runs(runs, out=out, report=said.append)
    text, told = "\n".join(said), json.loads((tmp_path / "own.json").read_text())
    assert f"Numbers: {tmp_path / 'own.json'}" in text
    found = told["comparisons"]
    assert (found["level"], found["over"], found["clusters"]) == (0.95, "subjects", 8)
    assert [(pair["first"], pair["second"]) for pair in found["pairs"]] == [("A", "B"), ("A", "C")]
    assert [run["letter"] for run in told["runs"]] == ["A", "B", "C"]
    raw = [pair["test"]["p"] for pair in found["pairs"]]
    assert [pair["test"]["p_holm"] for pair in found["pairs"]] == pytest.approx(holm(raw))
    assert raw[0] == 2 / 2**7
    for pair in found["pairs"]:
        assert set(pair["differences"]) == set(HEADLINE) == set(found["titles"])
        for name, each in pair["differences"].items():
            assert each["low"] <= each["estimate"] <= each["high"]
            ends = f"{each['estimate']:+.4f} ({each['low']:+.4f} to {each['high']:+.4f})"
            (line,) = [x for x in said[-2].splitlines() if x.startswith(f"  {_title(name)}")]
            assert ends in line
    assert "Brier score (lower is better)" in text
    # A figure's estimates are those of the runs.
    records = read_records(runs)
    gain = records[1].figures["accuracy"] - records[0].figures["accuracy"]
    assert found["pairs"][0]["differences"]["accuracy"]["estimate"] == pytest.approx(gain)


def _title(name):
    title = METRICS[name].title.format(positive="ALL")
    return f"{title}  " if METRICS[name].better == "higher" else f"{title} (lower"


def test_runs_without_probabilities_are_compared_by_their_labels(tmp_path):
    runs = [write_run(tmp_path / name, predicted=_flipped(n)) for name, n in (("a", 2), ("b", 0))]
    compare_runs(runs, out=tmp_path / "c.png", report=lambda _: None)
    (pair,) = json.loads((tmp_path / "c.json").read_text())["comparisons"]["pairs"]
    assert set(pair["differences"]) == {n for n in HEADLINE if METRICS[n].needs == "labels"}


def test_scores_that_are_no_numbers_are_refused_by_name(tmp_path):
    a, b = (_with_chances(write_run(tmp_path / n), np.random.default_rng(0)) for n in "ab")
    lines = (b / "test_predictions.csv").read_text().splitlines()
    lines[3] = ",".join([*lines[3].split(",")[:-1], "nan"])
    (b / "test_predictions.csv").write_text("\n".join(lines))
    path = lines[3].split(",")[0]
    with pytest.raises(CheckpointError, match=rf"b: .*{path} has p_ALL = nan.*fastleuk evaluate"):
        read_records([a, b])


def test_anothers_json_is_left_alone(tmp_path):
    runs = [write_run(tmp_path / name) for name in "ab"]
    (tmp_path / "c.json").write_text('{"my": 1}')
    with pytest.raises(ConfigError, match=r"c\.json that fastleuk compare has not made"):
        compare_runs(runs, out=tmp_path / "c.png", report=lambda _: None)
    assert (tmp_path / "c.json").read_text() == '{"my": 1}'
    assert not (tmp_path / "c.png").exists()
    (tmp_path / "c.json").unlink()
    for _ in range(2):  # its own is replaced
        compare_runs(runs, out=tmp_path / "c.png", report=lambda _: None)
