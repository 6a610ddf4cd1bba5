"""Within what clusters are drawn, and whose influence is looked at."""

import numpy as np

from fastleuk.evaluation.intervals.resampling import MOST_NUDGED, Plan
from fastleuk.evaluation.intervals.subjects import SubjectCounts


def _strata(*sets):
    """Strata of subjects that have samples of these classes, of three."""
    true = np.array([[float(code in each) for code in range(3)] for each in sets])
    return SubjectCounts(true, true, true).strata.tolist()


def test_a_subject_that_is_alone_joins_those_without_a_class_it_has_not():
    alone = _strata({0, 1}, {0}, {0}, {0, 2}, {0, 2}, {0, 2}, {1}, {1})
    assert alone[0] == alone[1] == alone[2]
    assert len(set(alone)) == 3


def test_a_subject_that_is_alone_joins_the_largest_where_all_have_a_class_it_has_not():
    alone = _strata({0, 1}, {0, 2}, {0, 2}, {2}, {2}, {2})
    assert alone[0] == alone[3] != alone[1]


def test_of_many_clusters_some_of_each_stratum_are_looked_at():
    strata = np.repeat([0, 1, 2], [3 * MOST_NUDGED, 40, 900])
    chosen = Plan(strata).nudged
    assert len(np.unique(chosen)) == len(chosen)
    share = MOST_NUDGED // 3
    assert np.bincount(strata[chosen]).tolist() == [share, 40, share]
    assert Plan(strata[:MOST_NUDGED]).nudged.tolist() == list(range(MOST_NUDGED))
