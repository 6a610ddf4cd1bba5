import numpy as np
import pytest

from fastleuk.errors import ConfigError
from fastleuk.evaluation.format import format_metrics
from fastleuk.evaluation.metrics import classification_metrics
from fastleuk.evaluation.probabilities import softmax

NAMES = ("hem", "ALL")


def _probabilities(positive):
    positive = np.asarray(positive, float)
    return np.stack([1 - positive, positive], axis=1)


def test_figures_of_a_table_worked_out_by_hand():
    # 4 hem (3 right), 6 ALL (4 right): TP 4, FN 2, TN 3, FP 1.
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    scores = _probabilities([0.1, 0.2, 0.3, 0.6, 0.9, 0.8, 0.7, 0.55, 0.4, 0.35])
    figures = classification_metrics(labels, scores, NAMES)
    assert figures["confusion_matrix"] == [[3, 1], [2, 4]]
    assert figures["accuracy"] == pytest.approx(0.7)
    assert figures["sensitivity"] == figures["recall_positive"] == pytest.approx(4 / 6)
    assert figures["specificity"] == pytest.approx(3 / 4)
    assert figures["balanced_accuracy"] == pytest.approx((4 / 6 + 3 / 4) / 2)
    assert figures["precision_positive"] == pytest.approx(4 / 5)
    positive_f1, hem_f1 = 2 * 4 / (2 * 4 + 1 + 2), 2 * 3 / (2 * 3 + 2 + 1)
    assert figures["f1_positive"] == pytest.approx(positive_f1)
    assert figures["f1_macro"] == pytest.approx((positive_f1 + hem_f1) / 2)
    assert figures["f1_weighted"] == pytest.approx(0.6 * positive_f1 + 0.4 * hem_f1)
    assert figures["positive_class"] == "ALL"
    pairs = [(p > h) + 0.5 * (p == h) for p in scores[4:, 1] for h in scores[:4, 1]]
    assert figures["auc"] == pytest.approx(np.mean(pairs))


def test_auc_is_absent_where_one_class_is():
    figures = classification_metrics(np.array([1, 1]), _probabilities([0.9, 0.2]), NAMES)
    assert figures["auc"] is None
    assert "undefined" in format_metrics(figures)


def test_more_than_two_classes_have_no_positive_one():
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 3
    scores = softmax(rng.normal(size=(30, 3)) + 4 * np.eye(3)[labels])
    figures = classification_metrics(labels, scores, ("a", "b", "c"))
    assert "f1_positive" not in figures
    assert "sensitivity" not in figures
    assert figures["auc"] > 0.9
    assert "positive" not in format_metrics(figures)


def test_a_class_never_predicted_scores_zero_without_a_warning():
    figures = classification_metrics(np.array([0, 1]), _probabilities([0.1, 0.2]), NAMES)
    assert figures["precision_positive"] == figures["f1_positive"] == 0


def test_softmax_stands_large_logits():
    assert np.allclose(softmax(np.array([[1e4, 0.0], [-1e4, -1e4]])), [[1, 0], [0.5, 0.5]])


def test_wrong_shapes_are_refused():
    with pytest.raises(ConfigError, match="probabilities"):
        classification_metrics(np.array([0, 1]), np.ones((2, 3)) / 3, NAMES)
    with pytest.raises(ConfigError, match="N ≥ 1"):
        classification_metrics(np.array([]), np.ones((0, 2)), NAMES)
