"""What a run has seen: kept in its folder, made anew where that is damaged or of another split."""

import csv
import dataclasses

import numpy as np
import pytest

from fastleuk.errors import CheckpointError, DataError
from fastleuk.evaluation.elsewhere.seen import KEPT, read_seen

NAMES = ("large", "small")


def _quiet(text):
    pass


def _seen(copy, training, names=NAMES):
    return read_seen(copy, names, training, workers=1, report=_quiet)


def _gone():
    raise DataError("/nowhere: no such folder. Give another.\n  more")


def test_training_stands_before_validation_and_test_images_are_not_in_it(copy, dataset):
    seen = _seen(copy, lambda: dataset)
    with (copy / "split.csv").open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert [rows[path]["part"] for path in seen.paths] == list(seen.parts)
    assert list(seen.parts) == sorted(seen.parts)  # "train" before "val"
    assert len(seen.paths) == sum(row["part"] != "test" for row in rows.values()) == 48
    assert seen.tested == {row["sha256"] for row in rows.values() if row["part"] == "test"}
    assert [NAMES[code] for code in seen.labels] == [rows[path]["label"] for path in seen.paths]
    place = dataset.manifest.paths.index(seen.paths[5])
    assert seen.looks.pixels[5] == dataset.pixels[place]
    np.testing.assert_array_equal(seen.trained, range(32))


def test_what_was_kept_is_what_was_seen(copy, dataset):
    first, again = _seen(copy, lambda: dataset), _seen(copy, _gone)
    assert again.gone == ""
    assert again.looks.pixels == first.looks.pixels
    for field in dataclasses.fields(first.looks.measured):
        np.testing.assert_array_equal(
            getattr(again.looks.measured, field.name), getattr(first.looks.measured, field.name)
        )
    np.testing.assert_allclose(again.looks.described, first.looks.described, atol=1e-3)


@pytest.mark.parametrize("how", ["damaged", "cut", "another split"])
def test_what_does_not_belong_to_the_run_is_made_anew(copy, dataset, how):
    _seen(copy, lambda: dataset)
    if how == "damaged":
        (copy / KEPT).write_bytes(b"damaged")
    elif how == "cut":
        (copy / KEPT).write_bytes((copy / KEPT).read_bytes()[:-200])
    else:
        text = (copy / "split.csv").read_text()
        (copy / "split.csv").write_text(text.replace(",train,", ",unused,", 1))
    gone = _seen(copy, _gone)
    assert gone.looks is None
    assert gone.gone == "/nowhere: no such folder"
    if how != "another split":
        assert _seen(copy, lambda: dataset).looks is not None


def test_other_data_than_the_runs_are_not_taken_for_it(copy, dataset):
    changed = dataclasses.replace(dataset, sha256=("0" * 64, *dataset.sha256[1:]))
    seen = _seen(copy, lambda: changed)
    assert seen.looks is None
    assert "is not what was split" in seen.gone
    assert not (copy / KEPT).exists()


def test_a_split_of_other_classes_is_refused(copy, dataset):
    with pytest.raises(CheckpointError, match="labels large, which the weights do not know"):
        _seen(copy, lambda: dataset, ("small", "huge"))
