"""The cache where users meet it: training, evaluation, and its own commands."""

import numpy as np
import pytest
from typer.testing import CliRunner

from fastleuk.cli import app
from fastleuk.config import read_config
from fastleuk.errors import ConfigError, DataError, FastleukError
from fastleuk.evaluation.evaluate import evaluate_run
from fastleuk.loading import has_dali
from fastleuk.training.train import train
from tests.makers.cells import SUBJECT_REGEX, write_cells
from tests.makers.training_runs import metrics, quiet, small_config

DALI = has_dali()


def test_training_is_the_same_with_and_without_a_cache(cells, tmp_path):
    """With the exact applier: it resizes first in any case."""
    said, runs = [], {}
    for cache in ("off", "auto"):
        options = {"per_class": "24", "epochs": 2, "cache": cache}
        config = small_config(cells, tmp_path / cache, applier="exact", **options)
        runs[cache] = train(config, report=said.append)
    assert sum("Decoded cache: " in line for line in said) <= 1  # the command that builds it
    assert metrics(runs["off"]) == metrics(runs["auto"])
    for name in ("test_metrics.json", "test_predictions.csv"):
        assert (runs["off"] / name).read_bytes() == (runs["auto"] / name).read_bytes()
    assert read_config(runs["auto"] / "config.toml").loader.cache == "auto"


def test_a_run_without_a_cache_is_resumed_without_one(cells, tmp_path, monkeypatch):
    """And one that was trained from a cache doesn't go on from the files unasked."""
    from fastleuk.training import plan
    from fastleuk.training.train import resume

    monkeypatch.setattr(plan, "open_pixels", lambda *_, **__: None)
    run = train(small_config(cells, tmp_path / "run", epochs=1), report=quiet)
    assert read_config(run / "config.toml").loader.cache == "off"
    monkeypatch.undo()
    run = train(small_config(cells, tmp_path / "cached", epochs=1), report=quiet)
    monkeypatch.setattr(plan, "open_pixels", lambda *_, **__: None)
    with pytest.raises(DataError, match="trained from a decoded cache"):
        resume(run, report=quiet)


def test_an_image_deleted_after_prepare_is_no_longer_used(tmp_path):
    root = write_cells(tmp_path / "set", subjects=8, per_subject=2)
    caches = tmp_path / "caches"
    said: list[str] = []
    config = small_config(root, tmp_path / "run", epochs=1, cache=str(caches))
    run = train(config, report=said.append)
    victim = next(line for line in (run / "split.csv").read_text().splitlines() if ",test" in line)
    (root / victim.split(",")[0]).unlink()
    with pytest.raises(FastleukError, match="split"):
        evaluate_run(run, report=quiet)
    train(small_config(root, tmp_path / "again", epochs=1, cache=str(caches)), report=said.append)
    from fastleuk.data.decoded.read import list_caches

    assert sorted(info.images for _, info, _ in list_caches(caches)) == [31, 32]


def _invoke(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=True)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_prepare_list_and_clear(cells, tmp_path):
    options = ["--data", cells, "--subject-regex", SUBJECT_REGEX, "--cache", tmp_path]
    made = _invoke("prepare", *options, "--size", 48)
    assert "64 images: verified in" in made.stdout
    assert "every checksum is right" in _invoke("prepare", *options, "--size", 48).stdout
    _invoke("prepare", *options, "--size", "source")
    listed = _invoke("cache", "list", "--cache", tmp_path).stdout
    assert "64 images, 48 px" in listed
    assert "64 images, source size" in listed
    assert "2 caches" in listed
    assert "Freed" in _invoke("cache", "clear", "--cache", tmp_path).stdout
    assert "0 caches" in _invoke("cache", "list", "--cache", tmp_path).stdout


def test_prepare_mends_a_flipped_byte_that_a_large_cache_would_hide(cells, tmp_path, monkeypatch):
    monkeypatch.setattr("fastleuk.loading.prepare.CHECK_BYTES", 0)
    options = ["--data", cells, "--subject-regex", SUBJECT_REGEX, "--cache", tmp_path]
    _invoke("prepare", *options, "--size", 48)
    pixels = next(tmp_path.glob("*/pixels.npy"))
    whole = np.load(pixels)
    data = bytearray(pixels.read_bytes())
    data[5000] ^= 4
    pixels.write_bytes(data)
    said = _invoke("prepare", *options, "--size", 48).stdout
    assert "damaged and is built anew" in said
    assert np.array_equal(np.load(next(tmp_path.glob("*/pixels.npy"))), whole)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prepare", "--size", "large"], "or source"),
        (["prepare", "--size", "3"], "at least 16 pixels"),
        (["prepare", "--workers", "-1"], "--workers"),
        (["train", "--cache", ""], "--cache"),
        (["train", "--workers", "-2"], "--workers"),
        (["train", "--applier", "fast"], "--applier"),
        (["pack", "/nowhere/out", "--format", "zip"], "only webdataset"),
    ],
)
def test_options_that_make_no_sense(arguments, words):
    with pytest.raises(ConfigError, match=words):
        _invoke(*arguments)


def test_pack_and_train_on_the_shards(cells, tmp_path):
    options = ["--data", cells, "--subject-regex", SUBJECT_REGEX]
    said = _invoke("pack", tmp_path / "shards", *options, "--shard-mb", 2).stdout
    assert "64 images in 1 shards" in said
    shards = tmp_path / "shards" / "*.tar"
    run = train(
        small_config(shards, tmp_path / "run", epochs=1, subject_regex="", cache="off"),
        report=quiet,
    )
    figures = (run / "test_metrics.json").read_bytes()
    evaluate_run(run, report=quiet)
    assert (run / "test_metrics.json").read_bytes() == figures
