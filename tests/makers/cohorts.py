"""Manifests of subjects with any number of images, for splits and folds."""

import numpy as np
from hypothesis import strategies as st

from tests.makers.data_trees import manifest_of


def number(subjects):
    return np.unique(subjects, return_inverse=True)[1].astype(np.int64)


def cohort(root, sizes, folds=None):
    """Subjects of one class each: ``sizes[c]`` lists their numbers of images."""
    labels, people, where = [], [], []
    for code, of_class in enumerate(sizes):
        for k, size in enumerate(of_class):
            labels += [code] * size
            people += [f"c{code}s{k}"] * size
            where += [k % folds if folds else -1] * size
    manifest = manifest_of(root, labels, people, where)
    return manifest, number(people)


def counts_by_class(least_people, most_people, least):
    """Draw the images of two classes that each subject has, at least ``least`` of the second."""
    each = st.tuples(st.integers(1, 9), st.integers(least, 9))
    return st.lists(each, min_size=least_people, max_size=most_people)


def mixed_cohort(root, counts):
    """Subjects of two classes each: ``counts`` lists their numbers of images of both."""
    labels, subjects = [], []
    for k, (a, b) in enumerate(counts):
        labels += [0] * a + [1] * b
        subjects += [f"s{k}"] * (a + b)
    return manifest_of(root, labels, subjects), number(subjects)
