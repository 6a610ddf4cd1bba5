"""``fastleuk.load``: predicting from Python."""

import csv
import io
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
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
        (np.zeros((20, 20, 2), np.uint8), r"shape \(20, 20, 2\)"),
        (np.zeros((3, 20, 20), np.uint8), r"channels come first.*permute\(1, 2, 0\)"),
        (np.zeros((2, 20, 20, 3), np.uint8), r"shape \(2, 20, 20, 3\)"),
        (np.zeros((4, 20, 3), np.uint8), "20x4 pixels: not a cell crop"),
        (b"", r"empty file \(0 bytes\)"),
        (b"not an image at all", "not an image"),
        ("nowhere.png", "No such file"),
        (Image.new("I;16", (20, 20)), "bits a channel"),
        (None, r"None \(NoneType\): no path"),
        (float("nan"), r"nan \(float\): no path"),
        (np.float64("nan"), r"nan\b.*: no path"),
        (7, r"7 \(int\): no path"),
        ({"image": 3}, "a dict: no path"),
        (["a.png"], "a list of <U5"),
        (io.StringIO("text"), "opened as text"),
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
    with pytest.raises(ConfigError, match=r"^batch_size: found -1"):
        fastleuk.load(runs[0], batch_size=-1)
    with pytest.raises(ConfigError, match=r"^tta is 'flop'"):
        fastleuk.load(runs[0], tta="flop")


# From Python: words and forms


@pytest.mark.parametrize("device", ["cpu", "CPU", "auto", torch.device("cpu")])
def test_a_device_has_every_name_in_use(runs, device):
    with fastleuk.load(runs[0], device=device) as loaded:
        assert len(loaded.predict(np.zeros((48, 48, 3), np.uint8))) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="for a machine without a GPU")
@pytest.mark.parametrize("device", ["cuda", "gpu", "cuda:0", "gpu:0", torch.device("cuda", 0)])
def test_a_missing_gpu_is_reported_by_every_name_without_a_flag(runs, device):
    with pytest.raises(ConfigError, match=r"^device cuda.*no NVIDIA GPU here\. Use device cpu"):
        fastleuk.load(runs[0], device=device)


@pytest.mark.parametrize("device", ["mps", "xla:0", "0", 3, "gpus"])
def test_another_device_is_refused_with_those_there_are(runs, device):
    with pytest.raises(ConfigError, match=r"unknown\. Choose auto, cpu, cuda or cuda:N"):
        fastleuk.load(runs[0], device=device)


@pytest.mark.parametrize(
    ("runs_", "says"),
    [(None, "None"), (3, "3"), ({"a": 1}, "'a'"), (b"run", "b'run'"), ([None], "None among them")],
)
def test_what_is_no_run_is_refused(runs_, says):
    with pytest.raises(ConfigError, match=f"^runs: found .*{says}"):
        fastleuk.load(runs_)


def test_notes_name_arguments_not_flags(tmp_path):
    run = untrained_run(tmp_path / "run")
    notes = []
    with fastleuk.load(run, tta="flips", report=notes.append):
        pass
    assert not [note for note in notes if re.sub("`[^`]*`", "", note).count("--")]


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (None, r"found None \(NoneType\)"),
        (3, r"found 3 \(int\)"),
        (float("nan"), r"found nan \(float\)"),
        (object(), r"found an object \(object\)"),
        ({"image": "a.png"}, r"found an object \(dict\)"),
        (np.float32(3), "float32"),
        (SimpleNamespace(columns=["path"], shape=(3, 1)), "found a table .*table\\['path'\\]"),
        (SimpleNamespace(column_names=["path"]), "found a table"),
    ],
)
def test_what_are_no_images_is_refused(predictor, images, says):
    for skip_bad in (False, True):
        with pytest.raises(ConfigError, match=f"^images: .*{says}"):
            predictor.predict(images, skip_bad=skip_bad)


LAYOUTS = {
    "RGB": lambda rgb: rgb,
    "gray": lambda rgb: rgb[..., 0],
    "one channel": lambda rgb: rgb[..., :1],
    "opaque RGBA": lambda rgb: np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]),
    "view": lambda rgb: rgb[::-1, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("several", [False, True], ids=["alone", "batch"])
@pytest.mark.parametrize("tensor", [False, True], ids=["array", "tensor"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_array_is_one_image(predictor, files, layout, tensor, several):
    """An array of three dimensions is one image in every layout, as in a list or a batch."""
    pixels = LAYOUTS[layout](rgb(files[0]))
    picture = Image.fromarray(
        np.ascontiguousarray(pixels if pixels.shape[-1] != 1 else pixels[..., 0])
    )
    expected = predictor.predict([picture])
    one = torch.from_numpy(np.ascontiguousarray(pixels)) if tensor else pixels
    images = one
    if several and one.ndim == 3:
        images = one[None]
    elif several:
        images = [one]
    found = predictor.predict(images)
    assert len(found) == 1
    assert np.array_equal(found.probabilities, expected.probabilities)
    assert found.notes == [""]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["array", "tensor"])
def test_channels_first_is_refused_with_the_way_out(predictor, runs, channels, make):
    one = make(np.zeros((channels, 48, 52), np.uint8))
    way_out = r"\(.*\), but channels come first.*permute\(1, 2, 0\).*transpose\(1, 2, 0\)"
    with fastleuk.load(runs) as both:
        for loaded in (predictor, both):
            for images in (one, [one], one[None]):
                with pytest.raises(DataError, match=f"image 0: .*{way_out}"):
                    loaded.predict(images)
                found = loaded.predict(images, skip_bad=True)
                assert (len(found), found.labels) == (1, [None])


@pytest.mark.parametrize("shape", [(5, 48, 48), (48, 48, 2), (48, 48, 7), (1, 2, 48, 48, 3)])
def test_other_shapes_are_one_image_that_is_refused(predictor, shape):
    with pytest.raises(DataError, match=r"image 0: .*\(height, width, 3\) in RGB order"):
        predictor.predict(np.zeros(shape, np.uint8))


def test_transparency_of_arrays_counts_as_that_of_files(predictor, files):
    rgba = np.dstack([rgb(files[0]), np.full(rgb(files[0]).shape[:2], 255, np.uint8)])
    rgba[:9, :, 3] = 0
    black = rgba[..., :3].copy()
    black[:9] = 0
    found = predictor.predict(rgba)
    assert np.array_equal(found.probabilities, predictor.predict(black).probabilities)
    assert found.notes == ["transparent parts, laid over black"]
    with pytest.raises(DataError, match="fully transparent"):
        predictor.predict(np.zeros((48, 48, 4), np.uint8))


def test_bytes_come_in_every_form(predictor, files, expected):
    data = Path(files[1]).read_bytes()
    encoded = np.frombuffer(data, np.uint8)
    with open(files[1], "rb") as file:
        for form in (io.BytesIO(data), file, encoded, torch.from_numpy(encoded.copy())):
            found = predictor.predict(form)
            assert len(found) == 1
            assert found.probabilities[0] == pytest.approx(expected.probabilities[1], abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_tensors_of_other_dtypes_are_refused(predictor, dtype):
    with pytest.raises(DataError, match=r"image 0: .*uint8 from 0 to 255"):
        predictor.predict(torch.zeros(48, 48, 3, dtype=dtype))
