"""``fastleuk.load``: predicting from Python."""

import csv
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastleuk
from fastleuk.errors import CheckpointError, ConfigError, DataError
from fastleuk.predict.inputs import sort_key
from fastleuk.predict.run import predict_files
from tests.makers.training_runs import quiet
from tests.makers.untrained_runs import untrained_run


def rgb(file):
    with Image.open(file) as image:
        return np.array(image.convert("RGB"))


@pytest.fixture(scope="module")
def predictor(runs):
    with fastleuk.load(runs[0]) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def files(pictures):
    return sorted((str(path) for path in pictures.iterdir()), key=sort_key)


@pytest.fixture(scope="module")
def expected(predictor, files):
    """Of each image, whatever form it comes in."""
    return predictor.predict(files)


def test_paths_give_what_the_command_writes_to_the_last_bit(runs, pictures, expected, tmp_path):
    predict_files(runs[:1], [str(pictures)], tmp_path / "p.csv", report=quiet)
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    chances = [[float(row["p_hem"]), float(row["p_ALL"])] for row in rows]
    assert np.array_equal(expected.probabilities, chances)
    assert expected.labels == [row["predicted"] for row in rows]
    assert expected.notes == [row["note"] for row in rows]
    assert expected.class_names == ("hem", "ALL")
    assert expected.spread is None


def test_every_form_of_an_image_gives_the_same(predictor, files, expected):
    pictures = [Image.open(file) for file in files]
    arrays = [rgb(file) for file in files]
    arrays[6][0, 0] = 0  # transparent in the file, and laid over black
    forms = {
        "PIL": pictures,
        "bytes": [Path(file).read_bytes() for file in files],
        "paths": [os.path.relpath(file) for file in files],
        "arrays": arrays,
        "generator": (array for array in arrays),
    }
    for name, images in forms.items():
        found = predictor.predict(images)
        assert np.array_equal(found.probabilities, expected.probabilities), name
        assert found.labels == expected.labels
    for picture in pictures:
        picture.close()


def test_one_image_is_a_batch_of_one(predictor, files, expected):
    image = rgb(files[0])
    for one in (files[0], image, Image.fromarray(image), Path(files[0]).read_bytes()):
        found = predictor.predict(one)
        assert len(found) == 1
        assert found.probabilities[0] == pytest.approx(expected.probabilities[0], abs=1e-5)
    assert len(predictor.predict(np.stack([image, image]))) == 2
    grey = predictor.predict(image[..., 0])
    assert np.array_equal(
        grey.probabilities, predictor.predict(np.stack([image[..., 0]] * 3, axis=2)).probabilities
    )
    assert predictor.predict([]).probabilities.shape == (0, 2)


def test_threads_get_what_one_thread_gets(predictor, files, expected):
    orders = [np.random.default_rng(seed).permutation(len(files)) for seed in range(12)]

    def ask(order):
        return predictor.predict([files[place] for place in order]).probabilities

    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(ask, orders))
    for order, found in zip(orders, together, strict=True):
        assert np.array_equal(found, ask(order))  # to the last bit, whoever else was asking
        assert found == pytest.approx(expected.probabilities[order], abs=1e-5)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((20, 20, 3), np.float32), "uint8 from 0 to 255"),
        (np.zeros((20, 20, 4), np.uint8), r"shape \(20, 20, 4\)"),
        (np.zeros((4, 20, 3), np.uint8), "20x4 pixels: not a cell crop"),
        (b"", r"empty file \(0 bytes\)"),
        (b"not an image at all", "not an image"),
        ("nowhere.png", "No such file"),
        (Image.new("I;16", (20, 20)), "bits a channel"),
        (None, "an array of object"),
    ],
)
def test_what_is_no_image_is_named_with_its_reason(predictor, files, image, reason):
    with pytest.raises(DataError, match=f"(?s)image 1.*{reason}"):
        predictor.predict([files[0], image])
    found = predictor.predict([files[0], image, files[1]], skip_bad=True)
    assert found.labels[1] is None
    assert np.isnan(found.probabilities[1]).all()
    assert found.errors[1]
    assert not found.errors[0]
    assert np.isfinite(found.probabilities[[0, 2]]).all()


def test_several_runs_are_averaged(runs, files, expected):
    with fastleuk.load(runs) as both, fastleuk.load(str(runs[1])) as other:
        found, second = both.predict(files), other.predict(files)
    mean = (expected.probabilities + second.probabilities) / 2
    # The other run reads in batches of its own size.
    assert found.probabilities == pytest.approx(mean, abs=1e-6)
    assert found.spread is not None
    assert found.spread.max() > 0.01


def test_a_moved_run_is_the_same_run(runs, files, expected, tmp_path):
    moved = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(runs[0], moved)
    with fastleuk.load(moved) as loaded:
        assert np.array_equal(loaded.predict(files).probabilities, expected.probabilities)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda run: (run / "best.safetensors").unlink(), "no epoch of this run has ended"),
        (lambda run: (run / "best.safetensors").write_bytes(b"no tensors"), "is damaged"),
        (lambda run: (run / "config.toml").unlink(), "has no config.toml"),
        (lambda run: shutil.rmtree(run), "no such run folder"),
        (
            lambda run: (run / "config.toml").write_text("[loader]\nspeed = 9\n"),
            "another version of fastleuk",
        ),
        (lambda run: (run / "decision.json").write_text("{"), r"decision\.json can't be used"),
    ],
)
def test_a_run_that_cannot_be_used_says_why(tmp_path, damage, reason):
    run = untrained_run(tmp_path / "run")
    damage(run)
    with pytest.raises(CheckpointError, match=reason):
        fastleuk.load(run)


def test_options_that_make_no_sense_are_refused(runs):
    with pytest.raises(ConfigError, match="No run was given"):
        fastleuk.load([])
    with pytest.raises(ConfigError, match="--batch-size"):
        fastleuk.load(runs[0], batch_size=-1)
    with pytest.raises(ConfigError, match="--tta"):
        fastleuk.load(runs[0], tta="flop")
