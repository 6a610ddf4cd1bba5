"""``cv --job I/N`` in an array of jobs, and ``cv --merge``."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fastleuk.cli import app
from fastleuk.errors import CheckpointError, ConfigError
from fastleuk.protocols import jobs as module
from fastleuk.protocols.cv.run import cross_validate, cross_validate_share
from fastleuk.protocols.jobs import PROTOCOL_LOCK, Share
from fastleuk.run_folder.start import hold
from tests.makers.cells import SUBJECT_REGEX
from tests.makers.protocol_runs import PretendedTraining, tiny_config
from tests.makers.training_runs import quiet


@pytest.fixture
def training(monkeypatch):
    pretended = PretendedTraining()
    monkeypatch.setattr(module, "train", pretended)
    return pretended


@given(st.integers(0, 40), st.integers(1, 50))
def test_shares_divide_the_runs_evenly(runs, count):
    shares = [Share(index, count).of(list(range(runs))) for index in range(count)]
    assert sorted(n for share in shares for n in share) == list(range(runs))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["1/1", "3/2", "-1/2", "1", "a/b", "1/2/3", "0/0", "²/3"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(ConfigError, match="--job is"):
        Share.parse(text)


@pytest.mark.slow
def test_shares_and_merge_are_as_one_cross_validation(cells, tmp_path, training):
    config = tiny_config(cells, SUBJECT_REGEX)
    asked = {"folds": "3", "seeds": 2, "report": quiet}
    whole = cross_validate(config, out=tmp_path / "whole", **asked)
    training.calls.clear()
    out = tmp_path / "array"
    for index in (2, 0):
        cross_validate_share(config, out=out, share=Share(index, 4), **asked)
    with pytest.raises(CheckpointError, match="3 of 6 runs") as missing:
        cross_validate(config, out=out, merge=True, **asked)
    assert "fold-1-of-3-seed-0: has not been trained" in str(missing.value)
    assert not (out / "cv.json").exists()
    for index in (3, 1):
        cross_validate_share(config, out=out, share=Share(index, 4), **asked)
    assert len(training.calls) == len(set(training.calls)) == 6
    merged = cross_validate(config, out=out, merge=True, **asked)
    assert len(training.calls) == 6
    assert merged == whole
    assert (out / "cv.md").read_text() == (tmp_path / "whole" / "cv.md").read_text()


def test_more_jobs_than_runs(cells, tmp_path, training):
    said = []
    runs = cross_validate_share(
        tiny_config(cells, SUBJECT_REGEX), folds="2", seeds=1, out=tmp_path, share=Share(5, 6),
        report=said.append,
    )  # fmt: skip
    assert runs == []
    assert training.calls == []
    assert any("nothing to do" in text for text in said)


def test_jobs_work_side_by_side_but_not_twice_nor_beside_the_whole(cells, tmp_path, training):
    config = tiny_config(cells, SUBJECT_REGEX)

    def go(index):
        cross_validate_share(
            config, folds="2", seeds=1, out=tmp_path, share=Share(index, 2), report=quiet
        )

    with hold(tmp_path, lock=Share(0, 2).lock, what="worked on"):
        go(1)
        with pytest.raises(CheckpointError, match="is being worked on"):
            go(0)
    with (
        hold(tmp_path, lock=PROTOCOL_LOCK, what="worked on"),
        pytest.raises(CheckpointError, match="is being worked on"),
    ):
        go(0)
    assert training.calls == ["fold-1-of-2-seed-0"]


def test_merge_refuses_runs_of_another_configuration(cells, tmp_path, training):
    config = tiny_config(cells, SUBJECT_REGEX)
    cross_validate_share(config, folds="2", seeds=1, out=tmp_path, share=Share(0, 1), report=quiet)
    other = dataclasses.replace(config, optim=dataclasses.replace(config.optim, lr=0.5))
    with pytest.raises(CheckpointError, match=r"optim\.lr was 0\.001, is 0\.5"):
        cross_validate(other, folds="2", seeds=1, out=tmp_path, report=quiet, merge=True)
    assert len(training.calls) == 2


def test_the_command(cells, tmp_path, training):
    base = ["cv", "--data", str(cells), "--subject-regex", SUBJECT_REGEX, "--folds", "2"]
    base += ["--backbone", "test_efficientnet", "--weights", "none", "--size", "48"]
    base += ["--val-fraction", "0.25", "--device", "cpu", "--out", str(tmp_path)]
    for job in ("0/2", "1/2"):
        result = CliRunner().invoke(app, [*base, "--job", job])
        assert result.exit_code == 0, result.output
        assert "--merge instead of --job" in result.output
    assert len(training.calls) == 2
    assert CliRunner().invoke(app, [*base, "--merge"]).exit_code == 0
    assert (tmp_path / "cv.json").is_file()
    both = CliRunner().invoke(app, [*base, "--merge", "--job", "0/2"])
    assert isinstance(both.exception, ConfigError)
