"""Curves against scikit-learn, and their bands against what is known of them."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve

from fastleuk.evaluation.intervals.bands import curve_bands

CLASSES = ("hem", "ALL")


def _cells(subjects=14, each=20, *, ties=False, seed=0, apart=1.2):
    """Cells of subjects, half of each class, whose scores have a subject's own shift."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(subjects) % 2, each)
    shift = np.repeat(rng.normal(0, 0.8, subjects), each)
    score = 1 / (1 + np.exp(-(apart * (2 * labels - 1) + shift + rng.normal(0, 1, len(labels)))))
    score = np.round(score, 1) if ties else score
    names = np.repeat([f"s{number}" for number in range(subjects)], each)
    return labels, np.stack([1 - score, score], axis=1), names


@pytest.mark.parametrize("ties", [False, True])
def test_the_curves_are_scikit_learns(ties):
    labels, chances, subjects = _cells(ties=ties)
    roc, pr = curve_bands(labels, chances, subjects, CLASSES, "ALL", resamples=200)
    fpr, tpr, thresholds = roc_curve(labels, chances[:, 1], drop_intermediate=False)
    np.testing.assert_allclose(roc.x, fpr)
    np.testing.assert_allclose(roc.y, tpr)
    np.testing.assert_allclose(roc.thresholds, thresholds)
    precision, recall, thresholds = precision_recall_curve(labels, chances[:, 1])
    np.testing.assert_allclose(pr.x, recall[:-1][::-1])
    np.testing.assert_allclose(pr.y, precision[:-1][::-1])
    np.testing.assert_allclose(pr.thresholds, thresholds[::-1])
    assert roc.clusters == pr.clusters == 14


def test_the_band_holds_the_curve_and_is_wider_by_subject_than_by_image():
    labels, chances, subjects = _cells(each=60)
    roc, pr = curve_bands(labels, chances, subjects, CLASSES, "ALL", resamples=300)
    inner = slice(5, 95)
    middle = np.interp(roc.places, roc.x, roc.y)
    assert (roc.low <= middle + 0.02)[inner].all()
    assert (roc.high >= middle - 0.02)[inner].all()
    by_image, _ = curve_bands(labels, chances, None, CLASSES, "ALL", resamples=300)
    width = (roc.high - roc.low)[inner].mean()
    assert width > 2 * (by_image.high - by_image.low)[inner].mean()
    assert ((pr.low >= 0) & (pr.high <= 1) & (pr.low <= pr.high)).all()


@pytest.mark.slow
def test_a_band_covers_the_truth():
    """True positives where 20 % of the negatives are taken, of many other subjects."""
    labels, chances, _ = _cells(subjects=4000, each=20, seed=99)
    fpr, tpr, _ = roc_curve(labels, chances[:, 1])
    truth = np.interp(0.2, fpr, tpr)
    inside = 0
    for seed in range(60):
        labels, chances, subjects = _cells(subjects=16, each=20, seed=seed)
        roc, _ = curve_bands(labels, chances, subjects, CLASSES, "ALL", resamples=200)
        inside += roc.low[20] <= truth <= roc.high[20]
    assert 52 <= inside <= 60  # of 60, at 95 %


def test_one_class_has_no_curve():
    labels, chances, subjects = _cells()
    chosen = labels == 1
    assert curve_bands(labels[chosen], chances[chosen], subjects[chosen], CLASSES, "ALL") is None
