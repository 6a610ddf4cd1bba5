"""Figures of many runs: which ones are reported, their means and deviations, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastleuk.data.dataset import DataSet

SYNTHETIC = (
    "**SYNTHETIC**: these are cells drawn by a program, not patients. The figures show that the "
    "machinery works; they say nothing about leukemia."
)
_BINARY = ("f1_positive", "auc", "sensitivity", "specificity")


def data_facts(dataset: DataSet) -> dict[str, Any]:
    """Return what a protocol's results say of its data."""
    manifest = dataset.manifest
    return {
        "root": str(manifest.root),
        "content": dataset.content_hash,
        "images": len(manifest.labelled),
        "subjects": len({manifest.subjects[row] for row in manifest.labelled}),
        "subject_is_image": manifest.subject_is_image,
    }


def reported(figures: Mapping[str, Any]) -> list[str]:
    """Return the names of the figures that are reported for data like those of ``figures``."""
    names = ["accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", *_BINARY]
    return [name for name in names if name in figures]


def title_of(name: str, figures: Mapping[str, Any]) -> str:
    """Return a figure's name for people; ``figures`` tells the positive class."""
    titles = {
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "f1_macro": "macro-F1",
        "f1_weighted": "weighted F1",
        "f1_positive": f"F1 of {figures.get('positive_class')}",
        "auc": "AUC",
        "sensitivity": "sensitivity",
        "specificity": "specificity",
    }
    return titles[name]


def mean_sd(values: Sequence[float | None]) -> dict[str, float | None]:
    """Return ``mean`` and ``sd`` (n - 1 in the denominator) of the values that are there.

    ``sd`` is None below two values, ``mean`` where there is none.

    >>> mean_sd([1.0, 3.0])
    {'mean': 2.0, 'sd': 1.4142135623730951}
    """
    there = [value for value in values if value is not None]
    return {
        "mean": float(np.mean(there)) if there else None,
        "sd": float(np.std(there, ddof=1)) if len(there) > 1 else None,
    }


def fraction(value: float | None, sd: float | None = None) -> str:
    """Lay out a figure between 0 and 1 with its deviation, or a dash.

    >>> fraction(0.91234, 0.01)
    '0.912 ± 0.010'
    """
    if value is None:
        return "–"
    return f"{value:.3f}" + ("" if sd is None else f" ± {sd:.3f}")


def percent(value: float | None, sd: float | None = None) -> str:
    """Lay out a figure between 0 and 1 in percent with two decimals, as the paper does.

    >>> percent(0.91234), percent(None)
    ('91.23', '–')
    """
    if value is None:
        return "–"
    return f"{100 * value:.2f}" + ("" if sd is None else f" ± {100 * sd:.2f}")


def notes_list(notes: Sequence[str]) -> str:
    """Lay out notes as a Markdown list."""
    return "\n".join(f"- {note}" for note in notes)
