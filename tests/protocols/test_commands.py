"""``fastleuk cv`` and ``fastleuk paper`` as a user meets them."""

import pytest

from fastleuk.protocols.paper.run import QUICK
from tests.makers.cells import SUBJECT_REGEX
from tests.makers.protocol_runs import read_json


def test_cv_takes_a_file_and_options(fastleuk, pretended, cells, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        f"[data]\nsubject_regex = '''{SUBJECT_REGEX}'''\n[optim]\nepochs = 3\nlr = 0.01"
    )
    code, said, error = fastleuk(
        "cv", "--data", cells, "--folds", 2, "--seeds", 1, "--config", file, "--lr", "0.02",
        "--backbone", "test_resnet", "--weights", "none", "--out", tmp_path / "o",
    )  # fmt: skip
    assert (code, error) == (0, "")
    assert "cv_predictions.csv" in said
    result = read_json(tmp_path / "o" / "cv.json")
    assert (result["config"]["optim"]["epochs"], result["config"]["optim"]["lr"]) == (3, 0.02)
    assert result["config"]["model"]["backbone"] == "test_resnet"
    assert len(pretended.calls) == 2


@pytest.mark.slow
def test_paper_quick_sets_the_miniature_and_options_override_it(
    fastleuk, pretended, demo, tmp_path
):
    out = tmp_path / "o"
    arguments = ("--data", demo, "--quick", "--epochs", 2, "--device", "cpu", "--out", out)
    code, said, error = fastleuk("paper", *arguments)
    assert (code, error) == (0, "")
    assert "paper.png" in said
    result = read_json(out / "paper.json")
    assert result["quick"]
    assert result["config"]["loader"]["size"] == QUICK["loader"]["size"]
    assert result["config"]["optim"]["epochs"] == 2
    assert len(pretended.calls) == 2 * len(result["rows"])
    assert all(row["weights"] in ("bundled", "none") for row in result["rows"])


def test_paper_defaults_to_the_papers_balance(fastleuk, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "fastleuk.protocols.paper.run.run_paper", lambda config, **how: asked.append((config, how))
    )
    assert fastleuk("paper", "--weights", "none", "--device", "cpu")[0] == 0
    ((config, how),) = asked
    assert config.augment.per_class == "10000"
    assert (how["backbones"], how["quick"], str(how["out"])) == ([], False, "runs/paper")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["cv", "--split", "image"], "Leave out --split"),
        (["cv", "--seeds", "0"], "--seeds is 0"),
        (["cv", "--folds", "none"], "--folds is 'none'"),
        (["cv", "--data", "/no/such/folder", "--backbone", "resnet10t"], "/no/such/folder"),
        (["cv", "--config", "/no/such.toml"], "/no/such.toml"),
        (["paper", "--backbone", "resnet50"], "name them with --backbones"),
        (["paper", "--split", "subject"], "both splits are run"),
        (["paper", "--backbones", "resnet5"], "resnet"),
        (["paper", "--quick", "--seeds", "0"], "--seeds is 0"),
    ],
)
def test_bad_input_exits_with_2_and_no_traceback(fastleuk, arguments, says):
    code, _, error = fastleuk(*arguments)
    assert code == 2
    assert says in error
    assert "Traceback" not in error
