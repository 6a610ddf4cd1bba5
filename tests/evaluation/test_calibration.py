"""Temperature, threshold and calibration: against brute force and scikit-learn."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.linear_model import LogisticRegression

from fastleuk.errors import ConfigError
from fastleuk.evaluation.calibration.agreement import slope_and_intercept, undefined_slope
from fastleuk.evaluation.calibration.choose import choose, chosen_on, too_small
from fastleuk.evaluation.calibration.settle import Wish, settle
from fastleuk.evaluation.calibration.summary import calibration
from fastleuk.evaluation.calibration.temperature import cross_entropy, fit_temperature
from fastleuk.evaluation.calibration.thresholds import choose_threshold, parse_rule
from fastleuk.evaluation.decision import Decision, read_decision
from fastleuk.evaluation.predict import Predictions
from fastleuk.evaluation.probabilities import softmax

NAMES = ("hem", "ALL")


def _overconfident(subjects=40, each=20, *, factor=6.0, seed=0, lean=0.0):
    """Logits of subjects of one class, which 2.4 as a factor would make right."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(subjects) % 2, each)
    own = np.repeat(rng.normal(0, 0.5, subjects), each)
    value = factor * (1.5 * (2 * labels - 1) + own + rng.normal(0, 1, len(labels))) + lean
    return labels, np.stack([-value / 2, value / 2], axis=1), np.repeat(np.arange(subjects), each)


def _predictions(labels, logits):
    return Predictions(np.arange(len(labels)), labels, logits.astype(np.float32))


def _dataset(labels, groups, *, known=True):
    manifest = SimpleNamespace(labels=labels, class_names=NAMES, subject_is_image=not known)
    return SimpleNamespace(manifest=manifest, groups=groups, positive="ALL")


# Temperature


def test_the_temperature_has_the_least_cross_entropy_and_leaves_every_label():
    labels, logits, _ = _overconfident()
    found = fit_temperature(logits, labels)
    grid = np.exp(np.linspace(np.log(0.2), np.log(10), 400))
    losses = [cross_entropy(softmax(logits / t), labels) for t in grid]
    assert found == pytest.approx(grid[int(np.argmin(losses))], rel=0.02)
    assert cross_entropy(softmax(logits / found), labels) <= min(losses) + 1e-12
    assert fit_temperature(2 * logits, labels) == pytest.approx(2 * found, rel=1e-3)
    assert (softmax(logits / found).argmax(1) == logits.argmax(1)).all()


def test_it_is_scikit_learns_where_that_has_one():
    if tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 8):
        pytest.skip("scikit-learn has temperature scaling from 1.8 on")
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.frozen import FrozenEstimator

    class Given(ClassifierMixin, BaseEstimator):
        """Says what it is given."""

        classes_ = np.array([0, 1, 2])

        def fit(self, logits, labels):  # noqa: ARG002
            return self

        def decision_function(self, logits):
            return logits

        def predict(self, logits):
            return logits.argmax(axis=1)

        def __sklearn_is_fitted__(self):
            return True

    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 300)
    logits = 4 * (np.eye(3)[labels] + rng.normal(0, 0.6, (300, 3)))
    theirs = CalibratedClassifierCV(FrozenEstimator(Given()), method="temperature")
    theirs.fit(logits, labels)
    ours = softmax(logits / fit_temperature(logits, labels))
    assert theirs.predict_proba(logits) == pytest.approx(ours, abs=2e-3)


def test_where_all_is_right_or_all_is_chance_there_is_no_temperature():
    labels, logits, _ = _overconfident()
    assert fit_temperature(50 * (2 * np.eye(2)[labels] - 1), labels) is None
    assert fit_temperature(np.zeros_like(logits), labels) is None
    decision, notes = choose(
        _predictions(labels, 9 * (2 * np.eye(2)[labels] - 1)),
        chosen_on(_dataset(labels, np.arange(len(labels))), np.arange(len(labels))),
        NAMES, "ALL", rule="argmax", calibrate=True,
    )  # fmt: skip
    assert decision.temperature == 1
    assert "probabilities stay as they are" in notes[0]


# Threshold


@pytest.mark.parametrize(
    "text", ["", "0", "1", "-0.2", "nan", "sensitivity", "sensitivity:0", "sensitivity:1.2",
             "cost:0", "cost:inf", "cost:x", "youden:2", "yuden", "0,5"],
)  # fmt: skip
def test_what_is_no_rule_is_refused_with_the_rules(text):
    with pytest.raises(ConfigError, match=r"must be argmax, a number.*youden.*cost:5"):
        parse_rule(text)


scores_of = st.lists(
    st.tuples(st.booleans(), st.integers(0, 12)), min_size=2, max_size=40
).filter(lambda rows: len({positive for positive, _ in rows}) == 2)  # fmt: skip


@settings(deadline=None)
@given(scores_of, st.sampled_from(["youden", "cost:5", "cost:0.5", "sensitivity:0.8",
                                   "sensitivity:1"]))  # fmt: skip
def test_no_threshold_is_better_by_the_rule(rows, text):
    rule = parse_rule(text)
    positives = np.array([positive for positive, _ in rows])
    scores = np.array([score for _, score in rows]) / 12

    def told(threshold):
        said = scores >= threshold
        return said[positives].mean(), 1 - said[~positives].mean(), said

    def gain(threshold):
        sensitivity, specificity, said = told(threshold)
        if rule.kind == "youden":
            return sensitivity + specificity
        if rule.kind == "cost":
            return -(rule.value * (positives & ~said).sum() + (~positives & said).sum())
        return specificity if sensitivity >= rule.value - 1e-9 else -1

    found = choose_threshold(rule, positives, scores)
    assert 0 <= found <= 1
    tried = [gain(t) for t in np.linspace(0.001, 0.999, 200)]
    assert gain(found) >= max(tried) - 1e-9


def test_a_number_is_taken_as_it_is_and_equal_thresholds_are_near_a_half():
    positives, scores = np.array([False, True]), np.array([0.2, 0.9])
    assert choose_threshold(parse_rule("0.3"), positives, scores) == 0.3
    assert choose_threshold(parse_rule("youden"), positives, scores) == pytest.approx(0.55)


def test_a_threshold_needs_a_positive_class_and_both_classes():
    labels, logits, groups = _overconfident()
    origin = chosen_on(_dataset(labels, groups), np.arange(len(labels)))
    with pytest.raises(ConfigError, match=r"needs a positive class: give --positive.*hem, ALL"):
        choose(_predictions(labels, logits), origin, NAMES, None, rule="youden", calibrate=False)
    ones = labels == 1
    with pytest.raises(ConfigError, match=r"all 400 images of the validation.*--threshold 0\.5"):
        choose(_predictions(labels[ones], logits[ones]), origin, NAMES, "ALL", rule="youden",
               calibrate=False)  # fmt: skip


# Chosen, kept


@pytest.fixture
def place(tmp_path):
    (tmp_path / "best.safetensors").write_bytes(b"weights")
    return tmp_path


def _settle(place, wish=None, *, subjects=40, known=True, seed=0, said=None):
    labels, logits, groups = _overconfident(subjects, seed=seed)
    groups = groups if known else np.arange(len(labels))
    calls = []

    def predict():
        calls.append(1)
        return _predictions(labels, logits)

    decision = settle(
        place, place, _dataset(labels, groups, known=known), np.arange(len(labels)),
        wish or Wish(), predict, report=(said if said is not None else []).append,
    )  # fmt: skip
    return decision, len(calls)


def test_a_temperature_is_fitted_once_and_kept(place):
    decision, calls = _settle(place)
    assert (calls, decision.threshold) == (1, None)
    assert decision.temperature == pytest.approx(2.5, abs=0.5)
    assert decision.chosen_on["subjects_by_class"] == {"hem": 20, "ALL": 20}
    assert decision == read_decision(place) == _settle(place, seed=5)[0]
    assert _settle(place)[1] == 0


def test_wishes_change_what_is_kept_and_the_rest_stays(place):
    first, _ = _settle(place)
    second, calls = _settle(place, Wish(threshold="sensitivity:0.95"))
    assert (calls, second.rule, second.positive) == (1, "sensitivity:0.95", "ALL")
    assert second.temperature == first.temperature
    assert "--threshold sensitivity:0.95" in second.sentence
    assert "chosen on the validation part (800 images; subjects: 20 hem, 20 ALL)" in second.sentence
    third, _ = _settle(place, Wish(calibrate=False))
    assert (third.temperature, third.rule) == (1.0, "sensitivity:0.95")
    assert _settle(place, Wish(threshold="sensitivity:0.95"))[1] == 0
    assert _settle(place, Wish(threshold="argmax"))[0].is_default
    assert _settle(place)[0].is_default  # --no-calibrate is kept as well


def test_other_weights_get_a_decision_of_their_own(place):
    _settle(place, Wish(threshold="cost:5"))
    (place / "best.safetensors").write_bytes(b"others")
    said = []
    decision, calls = _settle(place, said=said, seed=1)
    assert (calls, decision.rule) == (1, "cost:5")
    assert "was chosen for other weights than are there now: it is chosen anew" in said[0]
    assert _settle(place, seed=1)[1] == 0
    (place / "decision.json").write_text("{")
    assert _settle(place, said=said)[1] == 1
    assert "decision.json can't be used" in said[-1]


@pytest.mark.parametrize(
    ("subjects", "known", "says"),
    [(8, True, "the validation part has 4 subjects of hem only, fewer than 5"),
     (4, False, "the validation part has 40 images of hem only, fewer than 50")],
)  # fmt: skip
def test_too_small_a_validation_part_is_told(place, subjects, known, says):
    said = []
    decision, calls = _settle(place, subjects=subjects, known=known, said=said)
    assert (decision.is_default, calls) == (True, 0)
    assert says in said[0]
    assert "--calibrate fits one all the same" in said[0]
    assert not (place / "decision.json").exists()
    wish = Wish(threshold="youden", calibrate=True)
    decision, calls = _settle(place, wish, subjects=subjects, known=known, said=said)
    assert (calls, decision.rule) == (1, "youden")
    assert f"{says}: a temperature and a threshold chosen on it may not hold" in said[-1]
    assert too_small(decision.chosen_on) == says


# How far probabilities can be believed


def test_slope_and_intercept_are_those_of_a_logistic_regression():
    labels, logits, _ = _overconfident(lean=0.7)
    scores = softmax(logits)[:, 1]
    weights = np.stack([np.ones(len(labels)), np.random.default_rng(0).integers(0, 4, len(labels))])
    slopes, intercepts = slope_and_intercept(scores, labels == 1, weights)
    values = np.log(scores / (1 - scores))
    for row, (slope, intercept) in enumerate(zip(slopes, intercepts, strict=True)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000)
            model.fit(values[:, None], labels, sample_weight=weights[row])
        assert slope == pytest.approx(model.coef_[0, 0], rel=1e-3)
        shifted = 1 / (1 + np.exp(-(values + intercept)))
        assert (weights[row] * (labels - shifted)).sum() == pytest.approx(0, abs=1e-6)
    apart = np.where(labels == 1, 0.9, 0.1)
    assert np.isnan(slope_and_intercept(apart, labels == 1, weights[:1])[0]).all()
    assert np.isnan(slope_and_intercept(scores, labels == 2, weights[:1])[0]).all()


def test_the_slope_of_a_timid_network_is_a_number_and_an_undefined_one_has_its_reason():
    rng = np.random.default_rng(3)
    labels = np.arange(200) % 2
    scores = 0.503 + 0.004 * (labels + rng.normal(0, 0.7, 200))  # 0.49 to 0.52
    (slope,), _ = slope_and_intercept(scores, labels == 1, np.ones((1, 200)))
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    model.fit(np.log(scores / (1 - scores))[:, None], labels)
    assert slope == pytest.approx(model.coef_[0, 0], rel=1e-3)
    assert slope > 100
    assert undefined_slope(scores, labels == 1) == ""
    for bad, true, reason in (
        (scores, labels == 2, "one class only"),
        (np.where(labels == 1, 0.51, 0.50), labels == 1, "the scores separate the classes"),
        (np.where(labels == 1, 0.3, 0.4), labels == 1, "the scores separate the classes"),
        (np.full(200, 0.5), labels == 1, "all scores are equal"),
    ):
        assert np.isnan(slope_and_intercept(bad, true, np.ones((1, 200)))[0][0])
        assert undefined_slope(bad, true) == reason


def test_a_temperature_from_other_subjects_mends_what_is_overconfident():
    labels, logits, _ = _overconfident(seed=1)
    decision = Decision(fit_temperature(logits, labels), class_names=NAMES)
    labels, logits, subjects = _overconfident(seed=2)
    told = calibration(
        labels, softmax(logits), decision.probabilities(logits, logits=True), subjects, NAMES,
        "ALL", decision,
    )  # fmt: skip
    before, after = (told[stage]["figures"] for stage in ("before", "after"))
    assert after["ece_15"]["estimate"] < before["ece_15"]["estimate"] / 1.5
    assert after["brier"]["estimate"] < before["brier"]["estimate"]
    assert before["slope"]["high"] < 1
    assert after["slope"]["low"] < 1.15
    assert abs(after["slope"]["estimate"] - 1) < abs(before["slope"]["estimate"] - 1)
    for figure in (*before.values(), *after.values()):
        assert figure["low"] < figure["estimate"] < figure["high"]
    assert (told["clusters"], told["over"]) == (40, "subjects")
    same = calibration(labels, softmax(logits), softmax(logits), None, NAMES, "ALL", Decision())
    assert "after" not in same
    assert same["over"] == "images"


def test_the_diagram_is_scikit_learns_and_the_decision_curve_its_definition():
    labels, logits, subjects = _overconfident(factor=2.0)
    scores = softmax(logits)[:, 1]
    found = calibration(labels, softmax(logits), softmax(logits), subjects, NAMES, "ALL",
                        Decision())["before"]  # fmt: skip
    bins = found["reliability"]["bins"]
    assert sum(each["images"] for each in bins) == len(labels)
    observed, mean = calibration_curve(labels, scores, n_bins=10)
    assert [each["observed"] for each in bins] == pytest.approx(observed)
    assert [each["probability"] for each in bins] == pytest.approx(mean)
    curve = found["decision_curve"]
    place = curve["thresholds"].index(0.2)
    said = scores >= 0.2
    right, wrong = (said & (labels == 1)).mean(), (said & (labels == 0)).mean()
    assert curve["model"][place] == pytest.approx(right - wrong * 0.2 / 0.8)
    assert curve["all"][place] == pytest.approx(0.5 - 0.5 * 0.2 / 0.8)
    assert curve["low"][place] < curve["model"][place] < curve["high"][place]


def test_without_a_positive_class_it_is_the_predicted_class_that_is_looked_at():
    labels, logits, subjects = _overconfident()
    names = ("a", "b")
    found = calibration(labels, softmax(logits), softmax(logits), subjects, names, None,
                        Decision())["before"]  # fmt: skip
    assert found["reliability"]["of"] == "predicted"
    assert found["decision_curve"] is None
    assert "slope" not in found["figures"]
    right = (logits.argmax(1) == labels).mean()
    bins = found["reliability"]["bins"]
    assert sum(b["images"] * b["observed"] for b in bins) / len(labels) == pytest.approx(right)
