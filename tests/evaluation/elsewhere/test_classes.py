"""Which class of the run a class of other data is."""

import dataclasses

import numpy as np
import pytest

from fastleuk.errors import ConfigError, DataError
from fastleuk.evaluation.elsewhere.classes import asked_positive, match_classes, parse_classes


def _named(dataset, *names):
    """The disc cells under other class names."""
    manifest = dataclasses.replace(dataset.manifest, class_names=names)
    return dataclasses.replace(dataset, manifest=manifest)


def test_names_are_matched_as_they_are_by_case_and_as_asked(dataset):
    own = ("small", "large", "third")
    found = match_classes(dataset, own, {})
    before = [dataset.manifest.label_name(row) for row in range(len(dataset.manifest))]
    after = found.dataset.manifest
    assert after.class_names == own
    assert [after.label_name(row) for row in range(len(after))] == before
    assert found.rows.tolist() == list(range(len(before)))
    assert any("no image of third" in note for note in found.notes)
    for other, asked in ((("LARGE", "Small "), {}), (("x=y", "n"), {"x=y": "large", "n": "small"})):
        again = match_classes(_named(dataset, *other), own, asked)
        np.testing.assert_array_equal(again.dataset.manifest.labels, after.labels)
        assert f"classes: {other[0]} as large, {other[1]} as small" in again.notes


def test_two_names_may_be_one_class_and_one_may_be_left_out(dataset):
    both = match_classes(dataset, ("cell", "none"), {"large": "cell", "small": "cell"})
    assert set(both.dataset.manifest.labels.tolist()) == {0}
    left = match_classes(dataset, ("large", "hem"), {"small": ""})
    assert len(left.rows) == 32
    assert {dataset.manifest.label_name(row) for row in left.rows} == {"large"}
    assert "32 images of small are left out (--classes)" in left.notes
    assert left.renamed == {"large": "large", "small": None}
    with pytest.raises(DataError, match="no image of a known class is left"):
        match_classes(dataset, ("a", "b"), {"small": "", "large": ""})


def test_unlabelled_images_are_not_scored(dataset):
    labels = dataset.manifest.labels.copy()
    labels[:5] = -1
    some = dataclasses.replace(dataset, manifest=dataclasses.replace(dataset.manifest,
                                                                     labels=labels))  # fmt: skip
    found = match_classes(some, ("large", "small"), {})
    assert found.rows.tolist() == list(range(5, 64))
    assert "5 images without a label are not scored" in found.notes


def test_labels_that_the_run_does_not_know_are_refused_with_the_remedy(dataset):
    with pytest.raises(DataError) as raised:
        match_classes(dataset, ("large", "blast cell"), {})
    text = str(raised.value)
    assert "'small' (32 images)" in text
    assert "'large'" not in text
    assert "--classes small=CLASS" in text
    assert "large, blast cell" in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("large", "'large' is no pair"),
        ("=hem", "is no pair"),
        ("large=hem,large=ALL", "names 'large' twice"),
        ("huge=hem", "names 'huge', but the data's classes are large, small"),
        ("large=blast", "'blast' is no class of the run, which knows hem, ALL"),
        ("hem=large", "The data's name comes first: large=hem"),
    ],
)
def test_what_makes_no_sense_is_refused(dataset, text, says):
    with pytest.raises(ConfigError, match=says):
        match_classes(dataset, ("hem", "ALL"), parse_classes(text))


def test_the_positive_class_goes_by_either_name():
    renamed = {"Malignant": "ALL", "Normal": "hem", "debris": None}
    assert asked_positive("Malignant", renamed, ["hem", "ALL"]) == "ALL"
    assert asked_positive("all", renamed, ["hem", "ALL"]) == "ALL"
    with pytest.raises(ConfigError, match="'debris' is no class"):
        asked_positive("debris", renamed, ["hem", "ALL"])
