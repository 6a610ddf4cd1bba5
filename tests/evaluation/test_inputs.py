"""Labels, scores and subjects of other programs: the order of the classes, what is missing."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn.metrics as sk

from fastleuk.data.labels.subjects import NOT_KNOWN
from fastleuk.data.manifest import MISSING
from fastleuk.errors import ConfigError
from fastleuk.evaluation import subject_interval
from fastleuk.evaluation.intervals.figures import figures
from fastleuk.evaluation.metrics import classification_metrics
from tests.makers.tables_of_others import pandas_or_stand_in

pd = pandas_or_stand_in()
NAMES = ["hem", "ALL"]  # not the alphabet's order
CODES = np.tile(np.repeat([0, 1], 3), 8)
SUBJECTS = np.repeat(np.arange(16), 3)
STRINGS = [NAMES[code] for code in CODES]
SCORE = np.clip(np.random.default_rng(0).normal(0.3 + 0.4 * CODES, 0.2), 0.01, 0.99)
CHANCES = np.stack([1 - SCORE, SCORE], axis=1)
AUC = sk.roc_auc_score(CODES, SCORE)


class Tensor:
    """Like a tensor that requires a gradient: no array without ``detach``."""

    def __init__(self, values, *, detached=False):
        self.values, self.detached, self.dtype = np.asarray(values), detached, "float32"

    def detach(self):
        return Tensor(self.values, detached=True)

    def cpu(self):
        return self

    def __array__(self, dtype=None, copy=None):
        if not self.detached:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        return np.asarray(self.values, dtype)


def _predicted(chances=CHANCES, **changes):
    """As ``fastleuk.load(run).predict`` returns it."""
    labels = [NAMES[code] for code in chances.argmax(axis=1)]
    values = {"class_names": tuple(NAMES), "probabilities": chances, "labels": labels,
              "errors": [""] * len(labels), **changes}  # fmt: skip
    return SimpleNamespace(**values)


def _auc(labels, scores, subjects=SUBJECTS, **options):
    return subject_interval("auc", labels, scores, subjects, resamples=20, **options).estimate


@pytest.mark.parametrize(
    ("labels", "scores", "options"),
    [
        (CODES, CHANCES, {}),
        (CODES.tolist(), CHANCES.tolist(), {}),
        (CODES.astype(float), SCORE, {}),
        (CODES.astype(bool), CHANCES, {}),
        (CODES + 1, CHANCES, {}),  # numbers have an order of their own
        (STRINGS, CHANCES, {"classes": NAMES}),
        (np.array(STRINGS).astype("S"), CHANCES, {"classes": tuple(NAMES)}),
        (pd.Categorical(STRINGS, NAMES), CHANCES, {}),
        (pd.Series(pd.Categorical(STRINGS, NAMES)), CHANCES, {}),
        (pd.Series(CODES).astype("Int64"), pd.DataFrame(CHANCES), {}),
        (STRINGS, pd.DataFrame(CHANCES, columns=NAMES), {}),
        (STRINGS, pd.DataFrame(CHANCES, columns=["p_hem", "p_ALL"]), {}),
        (pd.Series(STRINGS), pd.Series(SCORE, name="p_ALL"), {}),
        # Columns say more than categories in the alphabet's order.
        (pd.Series(STRINGS).astype("category"), pd.DataFrame(CHANCES, columns=NAMES), {}),
        (pd.Series(STRINGS).astype("category"), CHANCES, {"classes": NAMES}),
        (STRINGS, pd.DataFrame(CHANCES, columns=NAMES), {"classes": NAMES}),
        (STRINGS, _predicted(), {}),
        (CODES, _predicted(), {}),
        (CODES, CHANCES, {"classes": NAMES}),
        (CODES, Tensor(CHANCES), {}),
        (Tensor(CODES), Tensor(SCORE), {"subjects": Tensor(SUBJECTS)}),
        (CODES, [Tensor(row) for row in CHANCES], {}),
    ],
)
def test_the_order_of_the_classes_is_read_where_it_is_stated(labels, scores, options):
    assert _auc(labels, scores, **options) == pytest.approx(AUC)


def test_tensors_that_require_a_gradient_are_taken():
    torch = pytest.importorskip("torch")
    scores = torch.tensor(CHANCES, requires_grad=True)
    assert _auc(torch.tensor(CODES), scores, torch.tensor(SUBJECTS)) == pytest.approx(AUC)


def test_predicted_labels_are_those_of_the_runs_threshold():
    said = (SCORE > 0.8).astype(int)
    found = subject_interval(
        "accuracy", STRINGS, _predicted(labels=[NAMES[code] for code in said]), SUBJECTS
    )
    assert found.estimate == pytest.approx((said == CODES).mean())


@pytest.mark.parametrize(
    ("labels", "scores", "options", "says"),
    [
        (STRINGS, CHANCES, {}, "strings .ALL, hem.*Give it with classes="),
        (np.array(STRINGS), SCORE, {}, "Give it with classes="),
        (STRINGS, pd.DataFrame(CHANCES), {}, "Give it with classes="),
        (STRINGS, pd.Series(SCORE, name="score"), {}, "Give it with classes="),
        (STRINGS, pd.DataFrame(CHANCES, columns=NAMES), {"classes": NAMES[::-1]},
         "columns of the probabilities are named hem, ALL"),
        (STRINGS, pd.DataFrame(CHANCES, columns=["hem", "AML"]), {}, "no class: ALL"),
        (["hem", 1, *STRINGS[2:]], CHANCES, {}, "strings and numbers"),
        (STRINGS, CHANCES, {"classes": ["hem", "hem"]}, "twice"),
        (STRINGS, _predicted(errors=["", "not an image", *[""] * 46]), {}, "image 1: not an im"),
        (CODES, [["a", "b"]] * 48, {}, "not numbers"),
        (np.stack([CODES, CODES]), CHANCES, {}, "one label for each sample"),
    ],
)  # fmt: skip
def test_an_order_that_is_not_stated_or_contradicts_is_refused(labels, scores, options, says):
    with pytest.raises(ConfigError, match=says):
        _auc(labels, scores, **options)


MISSING_VALUES = ["", "  ", None, float("nan"), np.nan, pd.NA, pd.NaT, *sorted(MISSING), "NaN",
                  " N/A "]  # fmt: skip


@pytest.mark.parametrize(
    "value", MISSING_VALUES, ids=lambda value: f"{type(value).__name__}-{str(value)[:8]!r}"
)
@pytest.mark.parametrize("wrap", [list, lambda v: np.array(v, dtype=object), pd.Series])
def test_missing_subjects_and_labels_are_refused_by_name(value, wrap):
    people = [f"P{n}" for n in SUBJECTS]
    people[5] = value
    with pytest.raises(ConfigError, match=re.escape("subjects: 1 of 48 are missing")):
        _auc(CODES, CHANCES, wrap(people))
    labels = list(STRINGS)
    labels[7] = value
    with pytest.raises(ConfigError, match=r"labels: 1 of 48 are missing(.|\n)*sample 7"):
        _auc(wrap(labels), CHANCES, classes=NAMES)


@pytest.mark.parametrize("word", sorted(NOT_KNOWN - MISSING))
def test_words_for_an_unknown_subject_are_refused_where_they_join_samples(word):
    people = [f"P{n}" for n in SUBJECTS]
    people[0] = word.upper()
    assert _auc(CODES, CHANCES, people) == pytest.approx(AUC)  # a subject of one sample
    people[40] = word.upper()
    with pytest.raises(ConfigError, match="would count as one person's"):
        _auc(CODES, CHANCES, people)


@pytest.mark.parametrize(
    "people",
    [
        np.where(SUBJECTS < 3, np.nan, SUBJECTS),
        pd.Series(np.where(SUBJECTS < 3, np.nan, SUBJECTS)).astype("Int64"),
        np.ma.MaskedArray(SUBJECTS, SUBJECTS < 3),
        pd.Categorical(np.where(SUBJECTS < 3, None, SUBJECTS.astype(str))),
    ],
)
def test_missing_subjects_of_any_column_are_counted(people):
    with pytest.raises(ConfigError, match="subjects: 9 of 48 are missing"):
        _auc(CODES, CHANCES, people)


def test_missing_numeric_labels_are_named():
    labels = CODES.astype(float)
    labels[[1, 4]] = np.nan
    with pytest.raises(ConfigError, match=r"labels: 2 of 48 are missing(.|\n)*sample 4: nan"):
        _auc(labels, CHANCES)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.where(SUBJECTS < 1, np.nan, CODES), "3 of 48 are missing"),
        ([None, *CODES[1:].tolist()], "1 of 48 are missing"),
        (STRINGS, "not all are whole numbers"),
        (CODES + 0.5, "not all are whole numbers"),
        (CODES + 1, "from 0 to 1, found 1 to 2"),
    ],
)
@pytest.mark.parametrize("function", [classification_metrics, figures])
def test_codes_are_checked_where_codes_are_asked_for(function, labels, says):
    more = (None,) if function is figures else ()
    with pytest.raises(ConfigError, match=says):
        function(labels, CHANCES, *more, NAMES)
    assert function(Tensor(CODES.astype(float)), Tensor(CHANCES), *more, NAMES)
