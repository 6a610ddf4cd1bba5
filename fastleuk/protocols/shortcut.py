"""What can be told without looking at the cell: the shortcut that a split by image may reward.

Slides of one subject share their stain, light and focus. A classifier that knows nothing but the
colours of an image and the size of what is not black may recognise the subject, and so the class,
where the subject also stands in the training part. How far it does is measured in both splits, and
beside it stands what the networks of the same splits do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastleuk.data.dataset import DataSet
from fastleuk.data.split.parts import Split
from fastleuk.evaluation.baselines.classifiers import COLOURS, TITLES, colours_alone
from fastleuk.evaluation.baselines.measure import SIDE
from fastleuk.evaluation.baselines.measure import colour_statistics as statistics_of
from fastleuk.loading.prepare import decoder
from fastleuk.protocols.predictions import PredictionTable, make_table

NAME = TITLES[COLOURS]


def colour_statistics(dataset: DataSet, *, backend: str, workers: int) -> np.ndarray:
    """Mean and standard deviation of each channel where the image isn't black, and its share.

    Args:
        dataset: ``N`` images; all are read.
        backend: ``dali`` or ``torchvision``, which decodes them.
        workers: Threads.

    Returns:
        ``(N, 7)`` float64.
    """
    decode = decoder(dataset, SIDE, backend, workers)
    rows = [
        statistics_of(np.asarray(image))
        for images, _ in decode(np.arange(len(dataset.manifest)))
        for image in images
    ]
    return np.array(rows)


def shortcut_figures(
    dataset: DataSet, split: Split, statistics: np.ndarray, *, seed: int
) -> dict[str, Any]:
    """Return the figures of :func:`shortcut_table`; the arguments are the same."""
    return shortcut_table(dataset, split, statistics, seed=seed).figures()


def shortcut_table(
    dataset: DataSet, split: Split, statistics: np.ndarray, *, seed: int
) -> PredictionTable:
    """Fit a random forest to the training and validation part; return what it says of the test's.

    Args:
        dataset: The images.
        split: Their parts.
        statistics: :func:`colour_statistics`.
        seed: Of the forest.
    """
    manifest, names = dataset.manifest, dataset.manifest.class_names
    known = np.concatenate([split.indices("train"), split.indices("val")])
    test = split.indices("test")
    chances = colours_alone(
        statistics[known], manifest.labels[known], statistics[test], len(names), seed=seed
    )
    return make_table(
        [manifest.paths[row] for row in test],
        [manifest.subjects[row] for row in test],
        manifest.labels[test],
        chances,
        names,
        dataset.positive,
    )
