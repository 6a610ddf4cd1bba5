"""``fastleuk evaluate RUN --on DATA``: what it writes, prints and refuses."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fastleuk.errors import ConfigError, DataError
from fastleuk.evaluation.elsewhere.evaluate import OtherData, evaluate_on
from fastleuk.evaluation.evaluate import evaluate_run
from tests.makers.cells import SUBJECT_REGEX, write_cells


def _quiet(text):
    pass


def _rows(file):
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def _leaky(copy, cells, others, root):
    """The other data with a training image as PNG, one brightened, and a file of the validation."""
    shutil.copytree(others, root)
    split = _rows(copy / "split.csv")
    train = [row["path"] for row in split if row["part"] == "train" and row["label"] == "small"]
    (val,) = [row["path"] for row in split if row["part"] == "val" and row["label"] == "small"][:1]
    with Image.open(cells / train[0]) as image:
        image.save(root / "small" / "s90_0.png")
    with Image.open(cells / train[1]) as image:
        ImageEnhance.Brightness(image).enhance(1.2).save(root / "small" / "s91_0.bmp")
    shutil.copy(cells / val, root / "small" / "s92_0.bmp")
    return {"small/s90_0.png": train[0], "small/s91_0.bmp": train[1], "small/s92_0.bmp": val}


def test_other_data_are_scored_by_the_kept_decision_and_beside_the_runs_own(copy, others, fastleuk):
    evaluate_run(copy, positive="large", threshold="0.4", calibrate=True, report=_quiet)
    before = {file.name: file.read_bytes() for file in copy.iterdir() if file.name != "log.txt"}
    code, out, err = fastleuk(
        "evaluate", copy, "--on", others, "--classes", "Big=large", "--subject-regex", SUBJECT_REGEX
    )
    assert code == 0, err
    place = copy / "on-centre-b"
    figures = json.loads((place / "metrics.json").read_text())
    rows = _rows(place / "predictions.csv")
    assert {row["label"] for row in rows} == {"large", "small"}
    assert figures["decision"] == json.loads((copy / "decision.json").read_text())
    said = np.array([row["predicted"] == "large" for row in rows])
    np.testing.assert_array_equal(said, [float(row["p_large"]) >= 0.4 for row in rows])
    assert figures["accuracy"] == np.mean([row["label"] == row["predicted"] for row in rows])
    assert figures["intervals"]["clusters_by_class"] == {"large": 6, "small": 6}
    assert figures["by_subject"]["subjects"] == len(_rows(place / "subjects.csv")) == 12
    assert figures["baselines"].keys() == {"size", "colours"}
    assert figures["on"]["classes"] == {"Big": "large", "small": "small"}
    assert figures["warnings"] == []
    assert not any(each["differs"] for each in figures["shift"]["features"].values())
    for text in ("classes: Big as large", "on centre-b: 36 images of 12 subjects",
                 "beside the training images", "1st to 99th percentile over the 32 training",
                 "subjects have the name of one that the run has seen (l"):  # fmt: skip
        assert text in out
    assert (place / "calibration.png").is_file()
    assert (place / "log.txt").is_file()
    # The run's own figures stand as they were; only what is known of its images was added.
    after = {file.name for file in copy.iterdir() if file.name != "log.txt"}
    assert after - before.keys() == {"on-centre-b", "seen_images.npz"}
    assert all((copy / name).read_bytes() == content for name, content in before.items())


def test_a_part_of_the_runs_own_set_has_the_figures_that_it_has_there(copy, cells, tmp_path):
    """The test part, copied out: the same probabilities, and a note whose images these are."""
    own = evaluate_run(copy, report=_quiet)
    test = {row["path"]: row for row in _rows(copy / "test_predictions.csv")}
    for path in test:
        (tmp_path / "out" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(cells / path, tmp_path / "out" / path)
    said = []
    figures = evaluate_on(
        copy, OtherData(on=str(tmp_path / "out"), subject_regex=SUBJECT_REGEX), report=said.append
    )
    for row in _rows(copy / "on-out" / "predictions.csv"):
        assert float(row["p_large"]) == pytest.approx(float(test[row["path"]]["p_large"]), abs=1e-6)
    assert figures["f1_macro"] == pytest.approx(own["f1_macro"])
    assert figures["intervals"]["figures"]["auc"] == own["intervals"]["figures"]["auc"]
    assert figures["baselines"]["size"]["intervals"] == own["baselines"]["size"]["intervals"]
    assert any("16 of 16 files are of the run's own test part" in text for text in said)


def test_images_that_the_run_has_seen_are_refused_unless_allowed(copy, cells, others, tmp_path):
    copies = _leaky(copy, cells, others, tmp_path / "leaky")
    other = OtherData(on=str(tmp_path / "leaky"), classes="Big=large")
    with pytest.raises(DataError) as raised:
        evaluate_on(copy, other, report=_quiet)
    text = str(raised.value)
    assert "3 of 39 images are training or validation images" in text
    for path, how, part in (("small/s90_0.png", "the same pixels", "training"),
                            ("small/s91_0.bmp", "looks alike", "training"),
                            ("small/s92_0.bmp", "the same file", "validation")):  # fmt: skip
        (line,) = [line for line in text.splitlines() if path in line]
        assert how in line
        assert f"{part} image {copies[path]}" in line
    assert not list(copy.glob("on-*"))
    said = []
    allowed = OtherData(on=other.on, classes=other.classes, allow_overlap=True)
    figures = evaluate_on(copy, allowed, report=said.append)
    warning = "WARNING: 3 of 39 images are training or validation images of this run"
    assert figures["warnings"][0].startswith(warning)
    assert figures["overlap"]["by_kind"] == {
        "the same pixels": 1, "looks alike": 1, "the same file": 1,
    }  # fmt: skip
    tables = [text for text in said if "macro" in text or "calibration error" in text
              or "beside the training" in text]  # fmt: skip
    assert len(tables) >= 4
    assert all(warning in text for text in tables)
    marked = {row["path"]: row["overlap"] for row in _rows(copy / "on-leaky" / "predictions.csv")}
    assert {path: mark for path, mark in marked.items() if mark} == copies


def test_a_run_whose_data_are_gone_is_scored_all_the_same(copy, cells, others, tmp_path):
    copies = _leaky(copy, cells, others, tmp_path / "leaky")
    other = OtherData(on=str(tmp_path / "leaky"), classes="Big=large")
    gone = str(tmp_path / "gone")
    with pytest.raises(DataError, match="2 of 39 images") as raised:  # by its hash, by its pixels
        evaluate_on(copy, other, data=gone, report=_quiet)
    assert "small/s90_0.png: its pixels were trained on" in str(raised.value)
    for name in ("s92_0.bmp", "s90_0.png"):
        (tmp_path / "leaky/small" / name).unlink()
    said = []
    figures = evaluate_on(copy, other, data=gone, report=said.append)
    assert figures["overlap"]["compared"] == "files and names only"
    assert not {"shift", "baselines"} & figures.keys()
    (note,) = [text for text in said if "can't be looked at" in text]
    assert f"{gone}: no such folder" in note
    assert any("can't be looked at" in text for text in figures["notes"])
    # Once the data were there, their looks are kept in the run.
    with pytest.raises(DataError, match="1 of 37 images"):
        evaluate_on(copy, other, report=_quiet)
    with pytest.raises(DataError, match=f"1 of 37 images.*\n.*{copies['small/s91_0.bmp']}"):
        evaluate_on(copy, other, data=gone, report=_quiet)


def test_one_class_alone_is_scored_and_what_is_undefined_is_said(copy, tmp_path):
    write_cells(tmp_path / "one", subjects=3, per_subject=3, seed=7, light=1.7)
    shutil.rmtree(tmp_path / "one" / "small")
    said = []
    other = OtherData(on=str(tmp_path / "one"), subject_regex=SUBJECT_REGEX)
    figures = evaluate_on(copy, other, positive="large", report=said.append)
    assert figures["auc"] is None
    assert figures["sensitivity"] == figures["accuracy"]
    text = "\n".join(said)
    assert "no image of small is in these data" in text
    assert "undefined: one class only" in text
    assert "specificity           undefined: no image of small" in text
    assert "Unlike training: the foreground has more red" in text


def test_other_decisions_are_chosen_on_validation_only(copy, others, fastleuk):
    evaluate_run(copy, positive="large", threshold="0.4", report=_quiet)
    other = OtherData(on=str(others), classes="Big=large")
    with pytest.raises(ConfigError, match=r"threshold is one of large.*--positive small"):
        evaluate_on(copy, other, positive="small", report=_quiet)
    for words, says in (
        (["--on", others, "--threshold", "youden"], "--threshold: chosen on the run's own valid"),
        (["--on", others, "--no-calibrate"], "--calibrate: chosen on the run's own validation"),
        (["--on", others, "--part", "val"], "--part: of the run's own data"),
        (["--classes", "a=b", "--allow-overlap"], "--classes and --allow-overlap: of other data"),
        (["--on", others], "labels that the run does not know"),
    ):
        code, _, err = fastleuk("evaluate", copy, *words)
        assert code == 2
        assert says in err
    assert not list(copy.glob("on-*"))


def test_averaged_weights_take_their_statistics_from_the_runs_own_images(copy, others, tmp_path):
    state = load_file(copy / "best.safetensors")
    with safe_open(copy / "best.safetensors", "pt") as file:
        metadata = file.metadata()
    for number in (1, 2):
        moved = {k: v + 0.01 * (number - 1) if k.endswith("running_mean") else v
                 for k, v in state.items()}  # fmt: skip
        save_file(moved, copy / f"best-{number}.safetensors", metadata)
    other = OtherData(on=str(others), classes="Big=large")
    with pytest.raises(DataError, match=r"Averaged weights need the run's training images"):
        evaluate_on(copy, other, average=2, data=str(tmp_path / "gone"), report=_quiet)
    said = []
    figures = evaluate_on(copy, other, average=2, report=said.append)
    assert (copy / "on-centre-b" / "metrics.average-2.json").is_file()
    assert figures["average"] == 2
    assert any("from 32 training images" in text for text in said)


def test_what_the_run_has_seen_is_left_out_on_request(copy, cells, others, tmp_path, fastleuk):
    copies = _leaky(copy, cells, others, tmp_path / "leaky")
    words = ["evaluate", copy, "--on", tmp_path / "leaky", "--classes", "Big=large"]
    code, _, err = fastleuk(*words, "--skip-overlap", "--allow-overlap")
    assert (code, "contradict each other" in err) == (2, True)
    code, out, err = fastleuk(*words, "--skip-overlap")
    assert code == 0, err
    assert "3 of 39 images are left out (--skip-overlap)" in out + err
    figures = json.loads((copy / "on-leaky" / "metrics.json").read_text())
    assert figures["samples"] == 36
    assert {each["path"]: each["seen"] for each in figures["overlap"]["skipped"]} == copies
    assert figures["warnings"] == []
    assert not copies.keys() & {r["path"] for r in _rows(copy / "on-leaky" / "predictions.csv")}


def test_a_stopped_evaluation_is_resumed(copy, others, monkeypatch):
    from fastleuk.evaluation import scorer

    other = OtherData(on=str(others), classes="Big=large")
    monkeypatch.setattr(scorer, "PIECE", 8)
    predict, calls = scorer.predict, []

    def counted(model, loader, *rest, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict(model, loader, *rest, **options)

    monkeypatch.setattr(scorer, "predict", counted)
    with pytest.raises(KeyboardInterrupt):
        evaluate_on(copy, other, report=_quiet)
    (partial,) = (copy / "on-centre-b").glob(".partial*")
    kept = partial.read_bytes()
    said = []
    figures = evaluate_on(copy, other, report=said.append)
    assert "Resuming: 16 of 36 images were predicted before this was stopped" in said
    assert len(calls) == 3 + 3
    assert not partial.exists()
    rows = _rows(copy / "on-centre-b" / "predictions.csv")
    # Another run's, or damaged, predictions are not taken.
    for content in (kept[:-50], b""):
        partial.write_bytes(content)
        calls[:] = [0] * 3
        assert evaluate_on(copy, other, report=said.append)["accuracy"] == figures["accuracy"]
        assert len(calls) == 3 + 5
    assert _rows(copy / "on-centre-b" / "predictions.csv") == rows
    partial.write_bytes(kept)
    calls[:] = [0] * 3
    evaluate_on(copy, other, tta="flips", report=said.append)
    assert len(calls) == 3 + 5
