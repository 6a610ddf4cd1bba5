"""Cross-validation, from configuration to picture."""

import numpy as np
import pytest

from fastleuk.data.from_config import open_dataset
from fastleuk.errors import CheckpointError, ConfigError
from fastleuk.evaluation.metrics import classification_metrics
from fastleuk.protocols import jobs
from fastleuk.protocols.cv.run import cross_validate
from fastleuk.protocols.predictions import predict_rows, read_predictions
from tests.makers.cells import SUBJECT_REGEX, write_cells
from tests.makers.data_trees import small_cnmc
from tests.makers.protocol_runs import change, is_picture, read_csv, read_json, tiny_config
from tests.makers.training_runs import quiet


@pytest.fixture(scope="module")
def official(demo, tmp_path_factory):
    """A cross-validation over the official folds that really trained."""
    out = tmp_path_factory.mktemp("cv")
    said = []
    result = cross_validate(
        tiny_config(demo), folds="official", seeds=1, out=out, report=said.append
    )
    return out, result, "\n".join(said)


def test_every_fold_is_tested_once_and_the_preliminary_set_by_all(official, demo):
    out, result, _ = official
    manifest = open_dataset(tiny_config(demo).data, report=quiet).manifest
    rows = read_csv(out / "cv_predictions.csv")
    of_part = {
        part: sorted(row["path"] for row in rows if row["part"] == part)
        for part in ("out-of-fold", "unseen")
    }
    known = manifest.labelled
    inside = [manifest.paths[i] for i in known if manifest.folds[i] >= 0]
    outside = [manifest.paths[i] for i in known if manifest.folds[i] < 0]
    assert of_part == {"out-of-fold": sorted(inside), "unseen": sorted(outside)}
    folds = {manifest.paths[i]: f"fold:{manifest.folds[i]}" for i in known}
    assert all(row["fold"] == folds[row["path"]] for row in rows if row["part"] == "out-of-fold")
    assert result["splits"] == ["fold:0", "fold:1", "fold:2"]
    for seen in (result["pooled"]["samples"], sum(run["samples"] for run in result["runs"])):
        assert seen == len(inside)
    assert result["ensemble"]["samples"] == len(outside)


def test_the_summary_is_the_runs_own_figures(official):
    out, result, _ = official
    own = [read_json(out / "runs" / run["name"] / "test_metrics.json") for run in result["runs"]]
    for name, value in result["summary"].items():
        values = [figures[name] for figures in own]
        assert value["mean"] == pytest.approx(np.mean(values))
        assert value["sd_folds"] == pytest.approx(np.std(values, ddof=1))
        assert value["sd_seeds"] is None
    total = np.sum([figures["confusion_matrix"] for figures in own], axis=0)
    np.testing.assert_array_equal(result["pooled"]["confusion_matrix"], total)
    assert set(result["summary"]) == {
        "accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "f1_positive", "auc",
        "sensitivity", "specificity",
    }  # fmt: skip


def test_the_ensemble_is_the_mean_of_the_folds_probabilities(official, demo, tmp_path):
    out, result, _ = official
    names = ("hem", "ALL")
    tables = [
        read_predictions(out / "runs" / run["name"] / "unseen_predictions.csv", names)
        for run in result["runs"]
    ]
    assert not np.allclose(tables[0].probabilities, tables[1].probabilities)
    mean = np.mean([table.probabilities for table in tables], axis=0)
    figures = classification_metrics(tables[0].labels, mean, names)
    ensemble = result["ensemble"]["figures"]
    assert {key: ensemble[key] for key in figures} == figures
    singles = [table.figures()["auc"] for table in tables]
    assert result["ensemble"]["single"]["auc"]["mean"] == pytest.approx(np.mean(singles))
    # A run's weights applied here say what they said in its own test.
    run = out / "runs" / result["runs"][0]["name"]
    own = read_predictions(run / "test_predictions.csv", names)
    dataset = open_dataset(tiny_config(demo).data, report=quiet)
    rows = np.array([dataset.manifest.paths.index(path) for path in own.paths])
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("config.toml", "best.safetensors"):
        (copy / name).write_bytes((run / name).read_bytes())
    again = predict_rows(copy, dataset, rows, device="cpu", report=quiet)
    assert again.paths == own.paths
    np.testing.assert_allclose(again.probabilities, own.probabilities, atol=1e-6)


def test_the_report_and_the_picture(official):
    out, result, said = official
    text = (out / "cv.md").read_text()
    assert "SYNTHETIC" in text
    assert text in said
    auc = result["summary"]["auc"]
    assert f"| AUC | {auc['mean']:.3f} ± {auc['sd_folds']:.3f} |" in text
    assert "in no official fold" in text
    assert "No ensemble" not in text
    assert read_json(out / "cv.json") == result
    assert is_picture(out / "cv.png")


def test_the_same_command_trains_nothing_and_says_the_same(official, demo, monkeypatch):
    out, result, _ = official
    monkeypatch.setattr(jobs, "train", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr(jobs, "resume", lambda *_, **__: pytest.fail("resumed"))
    before = {file.name: file.read_bytes() for file in out.glob("cv*.[jcm]*")}
    again = cross_validate(tiny_config(demo), folds="official", seeds=1, out=out, report=quiet)
    assert again == result
    assert {file.name: file.read_bytes() for file in out.glob("cv*.[jcm]*")} == before
    with pytest.raises(CheckpointError, match=r"fold-0-seed-0: optim\.epochs was 1, is 2"):
        cross_validate(
            tiny_config(demo, epochs=2), folds="official", seeds=1, out=out, report=quiet
        )


def test_seeds_repeat_the_same_folds_and_average(pretended, cells, tmp_path):
    config = tiny_config(cells, SUBJECT_REGEX)
    one = cross_validate(config, folds="4", seeds=1, out=tmp_path, report=quiet)
    assert one["ensemble"] is None
    assert "--seeds 3 gives one" in (tmp_path / "cv.md").read_text()
    result = cross_validate(config, folds="4", seeds=2, out=tmp_path, report=quiet)
    assert len(pretended.calls) == len(set(pretended.calls)) == 8
    assert pretended.calls[:5] == [*(f"fold-{k}-of-4-seed-0" for k in range(4)),
                                   "fold-0-of-4-seed-1"]  # fmt: skip
    values = np.array([run["auc"] for run in result["runs"]]).reshape(2, 4)
    auc = result["summary"]["auc"]
    assert auc["mean"] == pytest.approx(values.mean())
    assert auc["sd_folds"] == pytest.approx(values.mean(axis=0).std(ddof=1))
    assert auc["sd_seeds"] == pytest.approx(values.mean(axis=1).std(ddof=1))
    tested = [
        [
            row["path"]
            for fold in range(4)
            for row in read_csv(
                tmp_path / f"runs/fold-{fold}-of-4-seed-{seed}/test_predictions.csv"
            )
        ]
        for seed in range(2)
    ]
    assert tested[0] == tested[1]
    assert len(set(tested[0])) == 64
    assert result["ensemble"]["on"] == "out-of-fold"
    assert result["ensemble"]["members"] == 2
    single = result["ensemble"]["single"]["auc"]["mean"]
    assert result["ensemble"]["figures"]["auc"] > single  # independent errors cancel out


def test_the_first_seed_draws_the_folds(pretended, cells, tmp_path):
    config = change(tiny_config(cells, SUBJECT_REGEX), "run", seed=7)
    result = cross_validate(config, folds="2", seeds=2, out=tmp_path, report=quiet)
    assert result["seeds"] == [7, 8]
    assert result["splits"] == [f"kfold:{fold}/2@7" for fold in range(2)]
    assert pretended.calls[-1] == "fold-1-of-2-seed-8"


@pytest.mark.usefixtures("pretended")
def test_three_classes_and_six_folds(tmp_path):
    data = write_cells(tmp_path / "set", subjects=6, per_subject=2)
    third = write_cells(tmp_path / "more", subjects=6, per_subject=2, side=64)
    (third / "large").rename(data / "third")
    config = tiny_config(data, SUBJECT_REGEX)
    config = change(config, "data", subject_regex=r"((?:large|small|third)/[ls]\d+)_")
    result = cross_validate(config, folds="6", seeds=1, out=tmp_path / "out", report=quiet)
    assert set(result["summary"]) == {
        "accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "auc"
    }  # fmt: skip
    assert result["pooled"]["samples"] == 36
    assert is_picture(tmp_path / "out" / "cv.png")


@pytest.mark.usefixtures("pretended")
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seeds": 0}, "--seeds is 0"),
        ({"folds": "1"}, "--folds is '1'"),
        ({"folds": "half"}, "official or a number"),
        ({"folds": "9"}, "choose 8 folds or fewer"),
        ({"folds": "official"}, "has no official folds.*--folds 5"),
        ({"split": "image"}, "cv chooses the splits itself"),
        ({"backbone": "efficientnet_b33"}, "efficientnet_b3"),
        ({"weights": "bundled"}, "bundled holds"),
    ],
)
def test_what_cv_refuses(changes, says, cells, tmp_path):
    config = tiny_config(cells, SUBJECT_REGEX)
    if "split" in changes:
        config = change(config, "data", split=changes["split"])
    model = {name: changes[name] for name in ("backbone", "weights") if name in changes}
    with pytest.raises(ConfigError, match=says):
        cross_validate(
            change(config, "model", **model),
            folds=changes.get("folds", "3"),
            seeds=changes.get("seeds", 1),
            out=tmp_path / "out",
            report=quiet,
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("pretended")
def test_a_subject_that_a_fold_knows_is_no_part_of_the_unseen(tmp_path):
    root = small_cnmc(tmp_path / "set")
    csv_file = next(root.rglob("*labels.csv"))
    text = csv_file.read_text()
    csv_file.write_text(text.replace("UID_57_29_1_all.bmp", "UID_1_29_1_all.bmp"))
    dataset = open_dataset(tiny_config(root).data, report=quiet)
    from fastleuk.protocols.cv.plan import _unseen

    names = {dataset.manifest.paths[row].rsplit("/", 1)[-1] for row in _unseen(dataset)}
    assert names == {"2.bmp", "3.bmp", "4.bmp"}
