"""By subject against by image: what is written is what was measured."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from fastleuk.data.dataset import load_dataset
from fastleuk.data.split.make import make_split
from fastleuk.protocols.gaps import format_gaps, gap
from tests.makers.cells import SUBJECT_REGEX

FIGURES = {"f1_macro": "macro-F1", "auc": "AUC"}


def _row(image, subject, name="resnet"):
    row = {"name": name, "image": {}, "subject": {}}
    for split, values in (("image", image), ("subject", subject)):
        for figure in FIGURES:
            row[split][figure] = {"seeds": list(values), "mean": float(np.mean(values))}
    return row


@pytest.mark.parametrize(
    ("image", "subject", "verdict", "says", "not_said"),
    [
        ([0.95, 0.96, 0.95], [0.85, 0.87, 0.86], "lower", "lower by subject", "higher by subject"),
        ([0.60, 0.61, 0.62], [0.78, 0.79, 0.82], "higher", "higher by subject", "lower by subject"),
        ([0.947, 0.944, 0.95], [0.942, 0.966, 0.92], "open", "No difference", "reads"),
        ([0.60], [0.78], "unknown", "With one seed", "reads lower"),
        ([0.95], [0.80], "unknown", "With one seed", "promises"),
    ],
)
def test_the_words_follow_the_gap(image, subject, verdict, says, not_said):
    row = _row(image, subject)
    measured = gap(row, "f1_macro")
    assert measured.verdict == verdict
    assert measured.mean == pytest.approx(np.mean(subject) - np.mean(image))
    text = format_gaps([row], FIGURES, len(image))
    assert says in text
    assert not_said not in text
    assert "hides" not in text
    assert f"{100 * measured.mean:+.2f}" in text
    shown = "not measured |" if verdict == "unknown" else f"{100 * measured.low:+.2f} to "
    assert shown in text


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=6))
def test_the_verdict_is_that_of_a_paired_t_test(pairs):
    image, subject = np.array(pairs).T
    if np.ptp(subject - image) < 1e-9:
        return
    measured, test = gap(_row(image, subject), "f1_macro"), ttest_rel(subject, image)
    if abs(test.pvalue - 0.05) > 1e-6:
        assert (measured.verdict == "open") == (test.pvalue > 0.05)
    if measured.verdict != "open":
        assert (measured.verdict == "higher") == (test.statistic > 0)


def test_models_are_told_apart_and_an_absent_figure_is_none():
    lower = _row([0.95, 0.96, 0.95], [0.85, 0.87, 0.86], "resnet")
    even = _row([0.9, 0.8, 0.85], [0.8, 0.9, 0.86], "vit")
    text = format_gaps([lower, even], FIGURES, 3)
    assert "beyond what seeds differ by: resnet." in text
    assert "holds 0): vit." in text
    lower["image"]["auc"]["seeds"][1:] = [None, None]
    assert gap(lower, "auc").low is None
    lower["image"]["auc"]["seeds"][0] = None
    assert gap(lower, "auc") is None
    assert "| – |" in format_gaps([lower], FIGURES, 3)


def test_the_note_of_the_image_split_promises_nothing(cells):
    dataset = load_dataset(cells, subject_regex=SUBJECT_REGEX)
    manifest, groups = dataset.manifest, dataset.groups
    (note,) = make_split(manifest, groups, mode="image").notes
    assert "may read higher" in note
    assert "not measured here" in note
    alone = np.arange(len(manifest))  # as if every image were of another subject
    (note,) = make_split(manifest, alone, mode="image").notes
    assert "by chance none of the" in note
    assert "higher" not in note
