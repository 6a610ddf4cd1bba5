"""``fastleuk runs``: every state that a run folder can be in, at every width."""

import json
import os
import time

import pytest

from fastleuk.errors import ConfigError, DataError
from fastleuk.tracking.listing import SORTS, format_runs, sort_runs
from fastleuk.tracking.runs import find_runs, read_run
from tests.makers.tracking_folders import write_run


def _age(folder, seconds):
    moment = time.time() - seconds
    for file in folder.iterdir():
        os.utime(file, (moment, moment))


@pytest.fixture
def runs(tmp_path):
    """A folder with a run in each state, and with things that are no runs."""
    root = tmp_path / "runs"
    labels = [0, 1] * 20
    wrong = [1, 0, *labels[2:]]
    write_run(root / "20260203-040506-net", scores=(0.5, 0.9), predicted=wrong, data="")
    write_run(root / "cv" / "fold-0", backbone="resnet50", split="fold:0")
    write_run(root / "stopped", tested=False, scores=(0.4,), lr=0.1)
    _age(root / "stopped", 7200)
    write_run(root / "going", tested=False, scores=())
    write_run(root / "torn")
    (root / "torn" / "metrics.csv").write_text("epoch,val_f1_macro\n1,0.5\n2\n")
    write_run(root / "headless")
    (root / "headless" / "config.toml").unlink()
    (root / "stopped" / "tensorboard").mkdir()
    (root / "other").mkdir()
    (root / "other" / "config.toml").write_text("[tool]\nname = 'something else'\n")
    (root / "other" / "notes.txt").write_text("")
    return root


def test_every_run_is_listed_in_the_state_it_is_in(runs):
    found = {run.name: run for run in find_runs(runs)}
    assert {name: run.state for name, run in found.items()} == {
        "20260203-040506-net": "finished",
        "cv/fold-0": "finished",
        "stopped": "interrupted",
        "going": "running?",
        "torn": "damaged",
        "headless": "damaged",
    }
    net = found["20260203-040506-net"]
    assert net.date == "2026-02-03 04:05"
    assert (net.data, net.synthetic) == ("demo", True)
    assert (net.epochs, net.epochs_planned, net.val_f1_macro) == (2, 9, 0.9)
    assert (net.test_f1_macro, net.test_accuracy) == (0.95, 0.95)
    fold = found["cv/fold-0"]
    assert (fold.backbone, fold.split, fold.data) == ("resnet50", "fold:0", "C-NMC_Leukemia")
    assert fold.synthetic is False
    assert (found["stopped"].epochs, found["stopped"].val_f1_macro) == (1, 0.4)
    assert found["stopped"].test_f1_macro is None
    assert found["going"].epochs == 0
    assert "metrics.csv" in found["torn"].problem
    assert "line 3" in found["torn"].problem
    assert found["torn"].test_f1_macro == 1  # what can be read is shown
    assert found["headless"].problem == "config.toml is missing."


def test_a_long_epoch_is_no_interruption(tmp_path):
    run = write_run(tmp_path / "run", tested=False)
    _age(run, 3000)
    assert read_run(run, name="run").state == "interrupted"
    text = (run / "metrics.csv").read_text().replace(",12.0,", ",1200.0,")
    (run / "metrics.csv").write_text(text)
    _age(run, 3000)
    assert read_run(run, name="run").state == "running?"


@pytest.mark.parametrize("name", ["config.toml", "metrics.csv", "test_metrics.json"])
@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\0garbage", b"{]", b"epoch,val_f1_macro\n1,x\n"]
)
def test_no_content_of_a_file_ends_the_list(tmp_path, name, content):
    run = write_run(tmp_path / "runs" / "run")
    (run / name).write_bytes(content)
    (found,) = find_runs(tmp_path / "runs")
    assert found.state == "damaged"
    assert name in found.problem
    assert "run" in format_runs([found], width=80)


def test_a_run_can_be_named_itself_and_a_folder_has_to_be(runs):
    (found,) = find_runs(runs / "stopped")
    assert found.name == "stopped"
    with pytest.raises(DataError, match="no-such"):
        find_runs(runs / "no-such")


def test_synthetic_is_known_before_the_test(tmp_path):
    import torch
    from safetensors.torch import save_file

    run = write_run(tmp_path / "run", tested=False)
    assert read_run(run, name="run").synthetic is None
    metadata = {"fastleuk": json.dumps({"synthetic": True})}
    save_file({"w": torch.zeros(1)}, run / "best.safetensors", metadata)
    assert read_run(run, name="run").synthetic is True


def test_sorting_puts_the_best_first_and_the_unknown_last(runs):
    found = find_runs(runs)
    for key, (attribute, largest_first) in SORTS.items():
        for reverse in (False, True):
            values = [getattr(run, attribute) for run in sort_runs(found, key, reverse=reverse)]
            known = [value for value in values if value is not None]
            assert values[: len(known)] == known
            assert known == sorted(known, reverse=largest_first != reverse)
            assert len(values) == len(found)
    with pytest.raises(ConfigError, match=r"'accurracy'.*Did you mean accuracy"):
        sort_runs(found, "accurracy")


def test_every_width_shows_everything(runs):
    found = find_runs(runs)
    for width in (1000, 100, 60, 30):
        text = format_runs(found, width=width)
        longest = max(len(run.name) for run in found)
        assert max(map(len, text.splitlines())) <= max(width, longest + 2)
        flat = " ".join(text.split())
        for run in found:
            assert run.name in flat
            assert run.state in flat
        for shown in ("0.9500", "demo SYNTHETIC", "fold:0", "2/9", "config.toml is missing."):
            assert shown in flat, (width, shown)


def test_the_command_lists_sorts_and_writes_json(fastleuk, runs, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    code, said, _ = fastleuk("runs", runs, "--sort", "name")
    assert code == 0
    lines = [line for line in said.splitlines() if not line.startswith("  ")]
    assert lines[0].startswith("run ")
    names = [line.split()[0] for line in lines[1:]]
    assert names == sorted(names)
    assert len(names) == 6
    code, said, _ = fastleuk("runs", runs, "--json", "--sort", "f1")
    listed = json.loads(said)
    assert [run["test_f1_macro"] for run in listed] == [1, 1, 1, 0.95, None, None]
    monkeypatch.setenv("COLUMNS", "40")
    code, said, _ = fastleuk("runs", runs)
    assert max(map(len, said.splitlines())) <= 40
    (runs / "empty").mkdir()
    assert fastleuk("runs", runs / "empty")[1].startswith("No runs in")
    assert fastleuk("runs", runs / "empty", "--json")[1].strip() == "[]"
    code, _, error = fastleuk("runs", runs / "nowhere")
    assert code == 2
    assert "nowhere" in error
