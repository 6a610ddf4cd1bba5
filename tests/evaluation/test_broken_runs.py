"""Runs that can't be used, by every command that needs their weights: one line, nothing written."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fastleuk.errors import CheckpointError, DataError
from fastleuk.evaluation.evaluate import evaluate_run

QUIET = {"report": lambda _: None}


def _rewrite(run, change, *, metadata=None):
    """Change the weights, or what they say about themselves."""
    path = run / "best.safetensors"
    with safe_open(path, "pt") as file:
        told = dict(file.metadata())
    state = load_file(path)
    change(state)
    save_file(state, path, {**told, **(metadata(told) if metadata else {})})


def _not_a_number(run):
    def change(state):
        state[next(name for name in state if name.endswith("classifier.weight"))][0] = torch.nan

    _rewrite(run, change)


def _another_versions(run):
    def without_mean(told):
        (key,) = (key for key in told if key != "format")
        document = json.loads(told[key])
        del document["mean"]
        return {key: json.dumps(document)}

    _rewrite(run, lambda _: None, metadata=without_mean)


def _future_config(run):
    with (run / "config.toml").open("a") as file:
        file.write("\n[future]\nkey = 1\n")


DAMAGES = {
    "no weights": (lambda run: (run / "best.safetensors").unlink(),
                   "1 epochs of this run have ended, so somebody has removed it"),
    "not finite": (_not_a_number, "no finite numbers, in 1 of .*classifier.weight"),
    "weights of another version": (_another_versions, "lacks mean: .*another version"),
    "config of another version": (_future_config, "'future'.*another version of fastleuk"),
    "no config": (lambda run: (run / "config.toml").unlink(), "no run folder|has no config.toml"),
}  # fmt: skip


def _hashes(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("log.txt", "run.lock")
    }


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("command", ["evaluate", "predict", "export", "explain", "serve"])
def test_every_command_says_it_in_one_line_and_writes_nothing(
    copy, cells, tmp_path, fastleuk, command, damage
):
    change, text = DAMAGES[damage]
    change(copy)
    before = _hashes(copy)
    out = tmp_path / "out"
    arguments = {
        "evaluate": [],
        "predict": [str(cells), "--out", out / "p.csv"],
        "export": ["--format", "safetensors", "--out", out],
        "explain": ["--part", "test", "--out", out],
        "serve": ["--port", "0"],
    }[command]
    code, _, error = fastleuk(command, copy, *arguments)
    (line,) = [line for line in error.splitlines() if line.startswith("error: ")]
    assert code == 2
    assert "Traceback" not in error
    assert re.search(text, line), line
    assert str(copy) in line
    assert _hashes(copy) == before
    assert {path.name for path in out.rglob("*") if path.is_file()} <= {"log.txt"}


def test_a_report_shows_no_cells_of_such_weights_and_says_why(copy, tmp_path, fastleuk):
    pytest.importorskip("pytorch_grad_cam")
    _not_a_number(copy)
    (copy / "decision.json").unlink(missing_ok=True)
    code, said, _ = fastleuk("report", copy, "--out", tmp_path / "out")
    assert code == 0
    reason = "best.safetensors holds values that are no finite numbers"
    assert reason in said
    assert reason in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("command", ["evaluate", "explain"])
def test_without_the_split_it_is_said_what_that_was_for(copy, fastleuk, command):
    (copy / "split.csv").unlink()
    code, _, error = fastleuk(command, copy)
    assert code == 2
    assert f"{copy / 'split.csv'} is missing" in error
    assert "Copy it back" in error


def test_scores_that_overflow_are_refused_with_the_images_name_before_anything_is_chosen(
    copy, monkeypatch
):
    from fastleuk.evaluation import scorer

    real = scorer.predict

    def overflowing(*args, **options):
        found = real(*args, **options)
        found.logits[2] = np.inf
        return found

    monkeypatch.setattr(scorer, "predict", overflowing)
    (copy / "decision.json").unlink(missing_ok=True)
    before = _hashes(copy)
    with pytest.raises(CheckpointError, match=r"for 1 of \d+ images; the first is \w+/.*float32"):
        evaluate_run(copy, threshold="youden", **QUIET)
    assert _hashes(copy) == before


def test_a_run_that_was_moved_and_renamed_is_the_same(copy, tmp_path):
    figures = evaluate_run(copy, out=tmp_path / "before", **QUIET)
    place = tmp_path / "deep" / "er"
    place.parent.mkdir(parents=True)
    shutil.move(copy, place)
    assert evaluate_run(place, **QUIET) == figures


def test_a_run_of_an_earlier_version_without_decision_or_mark_is_evaluated(copy):
    figures = evaluate_run(copy, **QUIET)
    for name in ("decision.json", "run.json", "test_metrics.json"):
        (copy / name).unlink(missing_ok=True)
    assert evaluate_run(copy, **QUIET)["f1_macro"] == figures["f1_macro"]


def _keep_in_test(run, kept):
    """Leave rows for which ``kept`` holds in the test part; the others join training's."""
    path = run / "split.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["part"] == "test" and not kept(row, rows):
            row["part"] = "train"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_test_part_of_one_class_is_no_split(copy):
    _keep_in_test(copy, lambda row, _: row["label"] == "large")
    before = _hashes(copy)
    with pytest.raises(DataError, match=r"every class.*\n  no image of 'small' in test"):
        evaluate_run(copy, **QUIET)
    assert _hashes(copy) == before


def test_of_one_subject_a_class_it_is_said_that_nothing_is_known_of_subjects(copy):
    def first_of_its_class(row, rows):
        return row["group"] == next(
            r["group"] for r in rows if (r["part"], r["label"]) == ("test", row["label"])
        )

    _keep_in_test(copy, first_of_its_class)
    said = []
    figures = evaluate_run(copy, report=said.append)
    assert figures["intervals"]["clusters_by_class"] == {"large": 1, "small": 1}
    assert figures["interval"]["f1_macro"] == [0, 1]
    assert "a class has 1 subject" in "\n".join(said)
