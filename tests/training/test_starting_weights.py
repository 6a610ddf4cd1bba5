"""Starting weights that were trained on images of the test part are refused."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fastleuk import config as cfg
from fastleuk.errors import DataError
from fastleuk.evaluation.elsewhere.evaluate import OtherData, evaluate_on
from fastleuk.export.run import export_run
from fastleuk.models.seen_images import KEY, from_json, read_seen_images
from fastleuk.training.train import resume, train
from tests.makers.cells import SUBJECT_REGEX, write_cells


def quiet(text):
    """Print nothing."""


def configured(data, out, *, seed=0, weights="none", epochs=1):
    return cfg.Config(
        data=cfg.DataConfig(
            data=str(data), subject_regex=SUBJECT_REGEX, val_fraction=0.25, test_fraction=0.25
        ),
        loader=cfg.LoaderConfig(size=32, batch_size=8, workers=1),
        model=cfg.ModelConfig(backbone="test_efficientnet", weights=str(weights)),
        optim=cfg.OptimConfig(epochs=epochs, lr=1e-3),
        run=cfg.RunConfig(out=str(out), device="cpu", seed=seed),
    )


@pytest.fixture(scope="module")
def first(cells, tmp_path_factory):
    return train(configured(cells, tmp_path_factory.mktemp("first") / "run"), report=quiet)


@pytest.fixture(scope="module")
def other_cells(tmp_path_factory):
    return write_cells(tmp_path_factory.mktemp("other") / "set", seed=9)


@pytest.fixture(scope="module")
def second(first, other_cells, tmp_path_factory):
    """Trained on other cells from the first run's weights."""
    out = tmp_path_factory.mktemp("second") / "run"
    return train(configured(other_cells, out, weights=first / "best.safetensors"), report=quiet)


def weights_of(run):
    return run / "best.safetensors"


def exported(run):
    return export_run(run, format="safetensors", out=run / "out", report=quiet)


@pytest.mark.parametrize("file_of", [weights_of, exported])
def test_weights_that_have_seen_test_images_are_refused(file_of, first, cells, tmp_path):
    with pytest.raises(DataError) as raised:
        train(configured(cells, tmp_path / "run", seed=1, weights=file_of(first)), report=quiet)
    text = str(raised.value)
    assert "of the 16 test images, such as" in text
    assert "With --split subject --seed 0 --val-fraction 0.25 --test-fraction 0.25" in text
    assert not (tmp_path / "run" / "split.csv").exists()


def test_a_chain_of_starts_is_known_to_the_last(second, first, cells, tmp_path):
    """A was trained on the cells, B on others from A: C may not test on A's images."""
    with pytest.raises(DataError, match="of the 16 test images"):
        train(configured(cells, tmp_path / "run", seed=1, weights=weights_of(second)), report=quiet)
    sizes = [len(read_seen_images(weights_of(run)).hashes) for run in (first, second)]
    assert sizes == [48, 96]


def test_other_data_are_compared_with_the_images_of_the_starting_weights(second, cells):
    with pytest.raises(DataError, match=r"48 that the weights record"):
        evaluate_on(second, OtherData(on=str(cells), subject_regex=SUBJECT_REGEX), report=quiet)


def test_the_same_split_goes_on_and_a_resumed_run_needs_no_starting_file(first, cells, tmp_path):
    start = tmp_path / "start.safetensors"
    shutil.copy(weights_of(first), start)
    out = tmp_path / "run"
    train(configured(cells, out, weights=start), report=quiet)
    with safe_open(out / "best.safetensors", "pt") as file:
        record = json.loads(file.metadata()["fastleuk"])[KEY]
    assert (record["images"], record["complete"]) == (48, True)
    start.unlink()
    resume(out, changes={"optim": {"epochs": 2}}, report=quiet)
    with safe_open(out / "best.safetensors", "pt") as file:
        assert json.loads(file.metadata()["fastleuk"])[KEY] == record


def test_weights_of_an_earlier_version_are_reported(first, cells, tmp_path):
    old = tmp_path / "old.safetensors"
    with safe_open(weights_of(first), "pt") as file:
        document = json.loads(file.metadata()["fastleuk"])
    del document[KEY]
    save_file(load_file(weights_of(first)), old, metadata={"fastleuk": json.dumps(document)})
    from fastleuk.data.dataset import load_dataset
    from fastleuk.data.split.make import make_split
    from fastleuk.training.starting_weights import check_starting_weights, seen_by_run

    dataset = load_dataset(cells, subject_regex=SUBJECT_REGEX)
    split = make_split(dataset.manifest, dataset.groups, val_fraction=0.25, test_fraction=0.25)
    config, said = configured(cells, tmp_path / "run", weights=old), []
    seen = check_starting_weights(config, dataset, split, said.append)
    assert "without a complete record" in said[0]
    assert not seen_by_run(seen, config, dataset, split).complete
    # Validation images that were seen are a note, not an error.
    val = [dataset.pixels[row] for row in split.indices("val")]
    document[KEY] = from_json(None).and_those_of(val, "").as_json() | {"complete": True}
    save_file(load_file(weights_of(first)), old, metadata={"fastleuk": json.dumps(document)})
    said.clear()
    check_starting_weights(config, dataset, split, said.append)
    assert "trained or chosen on 16 of the 16 validation images" in said[0]
    none = dataclasses.replace(config, model=dataclasses.replace(config.model, weights="none"))
    assert not len(check_starting_weights(none, dataset, split, said.append).hashes)
    assert np.all(split.parts > 0)
