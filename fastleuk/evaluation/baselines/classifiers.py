"""Classifiers that see no cell, only what was measured of it."""

from __future__ import annotations

import numpy as np

SIZE, COLOURS = "size", "colours"
TITLES = {
    SIZE: "size alone (logistic regression)",
    COLOURS: "colours alone (random forest)",
}
TREES = 300

FEWEST_FOUND = 0.5
"""Share of the images in which a cell must have been found for size to be worth a classifier."""


def colours_alone(
    known: np.ndarray, labels: np.ndarray, asked: np.ndarray, classes: int, *, seed: int
) -> np.ndarray:
    """Fit a random forest to colours.

    Args:
        known: float64 ``(K, 7)``, see :func:`.measure.colour_statistics`, of what was trained on.
        labels: int64 ``(K,)``.
        asked: float64 ``(N, 7)``, of what is asked about.
        classes: C.
        seed: Of the forest.

    Returns:
        float64 ``(N, C)``, probabilities.
    """
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(TREES, random_state=seed, n_jobs=1)
    forest.fit(known, labels)
    chances = np.zeros((len(asked), classes))
    chances[:, forest.classes_] = forest.predict_proba(asked)
    return chances


def size_alone(
    known: np.ndarray, labels: np.ndarray, asked: np.ndarray, classes: int
) -> np.ndarray | str:
    """Fit a logistic regression to the logarithm of the cell's area, and to its square.

    Args:
        known: float64 ``(K,)``, areas of what was trained on; NaN where no cell was found.
        labels: int64 ``(K,)``.
        asked: float64 ``(N,)``, of what is asked about.
        classes: C.

    Returns:
        float64 ``(N, C)``, probabilities; or why there are none.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    found = np.isfinite(known)
    for areas, what in ((known, "training"), (asked, "evaluated")):
        there = int(np.isfinite(areas).sum())
        if there < FEWEST_FOUND * len(areas) or not there:
            return (
                f"a cell could be told from the rest in {there} of {len(areas)} {what} images only"
            )
    if len(np.unique(labels[found])) < 2:
        return "cells could be told from the rest in images of one class only"
    middle = np.nanmedian(known)
    model = make_pipeline(
        StandardScaler(),
        PolynomialFeatures(2, include_bias=False),
        StandardScaler(),
        LogisticRegression(max_iter=1000),
    )
    model.fit(np.log(known[found])[:, None], labels[found])
    chances = np.zeros((len(asked), classes))
    filled = np.where(np.isfinite(asked), asked, middle)
    chances[:, model.classes_] = model.predict_proba(np.log(filled)[:, None])
    return chances
