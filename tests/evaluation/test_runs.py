"""Evaluating a run with views and with averaged weights: files, figures, refusals."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from fastleuk.cli import main
from fastleuk.errors import CheckpointError, ConfigError
from fastleuk.evaluation.average import average_best, refresh_statistics, statistics_rows
from fastleuk.evaluation.evaluate import evaluate_run
from fastleuk.models.weights import METADATA_KEY
from tests.makers.evaluation_tensors import CPU, Batches, random_images


def _quiet(text):
    pass


def _contents(run):
    """What is in a run folder, but for the log, to which every command appends."""
    files = [file for file in run.iterdir() if file.is_file() and file.name != "log.txt"]
    return {file.name: file.read_bytes() for file in files}


def _probabilities(run, method):
    with (run / f"test_predictions{method}.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [row["path"] for row in rows], np.array([[float(r["p_large"])] for r in rows])


def _vary(run, rank, change):
    """Write ``best-<rank>.safetensors``: the best weights with ``change`` applied to a copy."""
    with safe_open(run / "best.safetensors", framework="pt") as file:
        metadata = json.loads(file.metadata()[METADATA_KEY])
    state = {name: value.clone() for name, value in load_file(run / "best.safetensors").items()}
    change(state, metadata)
    save_file(state, run / f"best-{rank}.safetensors", {METADATA_KEY: json.dumps(metadata)})
    return state


def _jitter(seed, *, statistics=True):
    """Return a change as of another epoch of training."""

    def change(state, metadata):
        generator = torch.Generator().manual_seed(seed)
        metadata["epoch"] = seed
        for name, value in state.items():
            if name.endswith("num_batches_tracked"):
                value += seed
            elif statistics or "running" not in name:
                noise = torch.randn(value.shape, generator=generator)
                value *= 1 + 0.2 * noise.abs()

    return change


def test_views_go_to_files_of_their_own_and_are_recorded(copy):
    before = _contents(copy)
    plain = evaluate_run(copy, report=_quiet)
    assert _contents(copy) == before
    figures = evaluate_run(copy, tta="d4", report=_quiet)
    after = _contents(copy)
    assert {name: after[name] for name in before} == before
    names = {
        "test_metrics.tta-d4.json", "test_predictions.tta-d4.csv", "confusion_matrix.tta-d4.png",
        "calibration.tta-d4.png", "test_subjects.tta-d4.csv",
    }  # fmt: skip
    assert after.keys() - before.keys() == names
    assert json.loads(after["test_metrics.tta-d4.json"]) == figures
    assert (figures["tta"], figures["tta_views"]) == ("d4", 8)
    assert not {"tta", "average"} & plain.keys()
    paths, _ = _probabilities(copy, "")
    viewed, chances = _probabilities(copy, ".tta-d4")
    assert viewed == paths
    assert len(set(viewed)) == figures["samples"] == 16
    assert ((chances >= 0) & (chances <= 1)).all()
    evaluate_run(copy, tta="d4", report=_quiet)
    assert _contents(copy) == after


@pytest.mark.slow
def test_figures_of_views_do_not_depend_on_the_batch_size(copy):
    evaluate_run(copy, tta="8rot", report=_quiet)
    paths, chances = _probabilities(copy, ".tta-8rot")
    config = copy / "config.toml"
    config.write_text(config.read_text().replace("batch_size = 8", "batch_size = 5"))
    evaluate_run(copy, tta="8rot", report=_quiet)
    again, others = _probabilities(copy, ".tta-8rot")
    assert again == paths
    assert others == pytest.approx(chances, abs=1e-5)


def test_the_average_of_equal_checkpoints_is_the_checkpoint(copy):
    for rank in (1, 2, 3):
        shutil.copy(copy / "best.safetensors", copy / f"best-{rank}.safetensors")
    plain = evaluate_run(copy, report=_quiet)
    figures = evaluate_run(copy, average=3, report=_quiet)
    assert figures.pop("average") == 3
    assert figures.pop("averaged_files") == [f"best-{rank}.safetensors" for rank in (1, 2, 3)]
    assert len(set(figures.pop("averaged_epochs"))) == 1
    assert figures == plain
    name = "test_predictions.average-3.csv"
    assert (copy / name).read_bytes() == (copy / "test_predictions.csv").read_bytes()


def test_averages_are_of_floats_and_integers_are_the_bests(copy):
    states = [_vary(copy, rank, _jitter(rank)) for rank in (1, 2, 3)]
    soup = average_best(copy, 3)
    assert soup.metadata["epoch"] == 1
    for name, value in soup.state.items():
        own = [state[name] for state in states]
        assert value.dtype == own[0].dtype
        if value.is_floating_point():
            mean = torch.stack([each.double() for each in own]).mean(0)
            assert torch.equal(value, mean.to(value.dtype)), name
        else:
            assert torch.equal(value, own[0]), name
    assert len(soup.stale) == sum(name.endswith("running_mean") for name in soup.state)


def test_an_average_is_scored_with_its_own_statistics_the_same_each_time(copy):
    for rank in (1, 2):
        _vary(copy, rank, _jitter(rank))
    said = []
    figures = evaluate_run(copy, average=2, report=said.append)
    assert any("from 32 training images" in line for line in said)
    assert figures["averaged_epochs"] == [1, 2]
    first = (copy / "test_predictions.average-2.csv").read_bytes()
    torch.manual_seed(99)
    assert evaluate_run(copy, average=2, report=_quiet) == figures
    assert (copy / "test_predictions.average-2.csv").read_bytes() == first
    # Whatever statistics the files hold, the averaged network gets those of its activations.
    for rank in (1, 2):
        spoilt = load_file(copy / f"best-{rank}.safetensors")

        def spoil(state, metadata, spoilt=spoilt, rank=rank):
            metadata["epoch"] = rank
            for name in state:
                state[name] = spoilt[name] + (7 * rank if "running" in name else 0)

        _vary(copy, rank, spoil)
    assert evaluate_run(copy, average=2, report=_quiet) == figures
    both = evaluate_run(copy, average=2, tta="flips", report=_quiet)
    assert (both["tta"], both["average"]) == ("flips", 2)
    assert (copy / "test_metrics.tta-flips.average-2.json").is_file()


def test_frozen_statistics_stay(copy):
    states = [_vary(copy, rank, _jitter(rank, statistics=False)) for rank in (1, 2)]
    soup = average_best(copy, 2)
    assert soup.stale == ()
    for name in soup.state:
        if name.endswith(("running_mean", "running_var")):
            assert torch.equal(soup.state[name], states[0][name])


def test_refreshed_statistics_are_the_means_over_batches():
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))
    model.eval()
    model[0].running_mean.fill_(5)
    model[0].num_batches_tracked.fill_(17)
    untouched = model[3].running_var.clone()
    images = random_images(12, seed=4) * 3 + 1
    refresh_statistics(model, ["0"], Batches(images, 4), CPU)
    batches = images.double().reshape(3, 4, 3, 12, 12)
    means = batches.mean(dim=(0, 1, 3, 4))
    variances = batches.transpose(1, 2).flatten(2).var(dim=2).mean(dim=0)
    assert model[0].running_mean.double().numpy() == pytest.approx(means.numpy(), abs=1e-5)
    assert model[0].running_var.double().numpy() == pytest.approx(variances.numpy(), rel=1e-5)
    assert model[0].num_batches_tracked == 17
    assert model[0].momentum == 0.1
    assert torch.equal(model[3].running_var, untouched)
    assert not any(module.training for module in model.modules())


def test_statistics_come_from_mixed_whole_batches_always_the_same():
    rows = np.arange(5000)
    chosen = statistics_rows(rows, batch_size=32)
    assert len(chosen) == 1000 // 32 * 32
    assert len(set(chosen)) == len(chosen)
    assert np.array_equal(chosen, statistics_rows(rows, batch_size=32))
    halves = (chosen.reshape(-1, 32) < 2500).mean(axis=1)  # rows stand class by class
    assert halves.min() > 0.15
    assert halves.max() < 0.85
    assert sorted(statistics_rows(np.arange(5), batch_size=32)) == [0, 1, 2, 3, 4]


def test_averages_that_cannot_be_are_refused(copy):
    with pytest.raises(CheckpointError, match=r"has none\. Train with --keep-best 2"):
        evaluate_run(copy, average=2, report=_quiet)
    shutil.copy(copy / "best.safetensors", copy / "best-1.safetensors")
    shutil.copy(copy / "best.safetensors", copy / "best-2.safetensors")
    with pytest.raises(CheckpointError, match=r"has 2 of them.*--keep-best 5, or use --average 2"):
        evaluate_run(copy, average=5, report=_quiet)
    with pytest.raises(ConfigError, match="--average is -1"):
        evaluate_run(copy, average=-1, report=_quiet)
    with pytest.raises(ConfigError, match=r"--tta is 'flip'.*flips"):
        evaluate_run(copy, tta="flip", report=_quiet)

    def rename(state, metadata):
        del state
        metadata["classes"] = ["large", "tiny"]

    _vary(copy, 2, rename)
    with pytest.raises(CheckpointError, match=r"best-2.*classes is \['large', 'tiny'\] there"):
        evaluate_run(copy, average=2, report=_quiet)

    def shorten(state, metadata):
        del metadata
        state.pop(next(iter(state)))

    _vary(copy, 2, shorten)
    with pytest.raises(CheckpointError, match="other tensors than best-1"):
        evaluate_run(copy, average=2, report=_quiet)
    content = (copy / "best.safetensors").read_bytes()
    (copy / "best-2.safetensors").write_bytes(content[:100])
    with pytest.raises(CheckpointError, match=r"best-2.safetensors is damaged"):
        evaluate_run(copy, average=2, report=_quiet)
    assert not list(copy.glob("*average*"))


def test_the_command_line_knows_both_options(copy, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["fastleuk", "evaluate", str(copy), "--tta", "flips"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert (copy / "test_metrics.tta-flips.json").is_file()
    monkeypatch.setattr("sys.argv", ["fastleuk", "evaluate", str(copy), "--average", "2"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "--keep-best 2" in capsys.readouterr().err
