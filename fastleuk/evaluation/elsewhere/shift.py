"""How far other data lie from what a run was trained on: size, colour, background, classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastleuk.evaluation.baselines.measure import Measured
from fastleuk.tables import text_lines

RANGE = (1, 99)
"""Percentiles over the training images between which an image is an ordinary one."""
OUTSIDE, FEWEST = 0.1, 3
"""Share of the images, and number of them, outside the range from which a feature is said to
differ; of training itself it is 2 %. With few training images new ones of the same kind lie outside
their range more often: 4 / (K + 1) of K is added."""
FOUND = 0.5
"""Share of the images in which a cell must have been found for a feature of cells to be told."""

LEVEL = 1.0
"""Of 255, by which a colour may lie outside the range: rounding, and the losses of a JPEG."""

_Column = Callable[[Measured], np.ndarray]
_FEATURES: dict[str, tuple[str, int, _Column]] = {
    "area": ("foreground area, pixels of the file", 0, lambda m: m.area),
    "share": ("foreground area, share of the image", 3, lambda m: m.share),
    "red": ("mean colour of the foreground, red", 1, lambda m: m.cell[:, 0]),
    "green": ("mean colour of the foreground, green", 1, lambda m: m.cell[:, 1]),
    "blue": ("mean colour of the foreground, blue", 1, lambda m: m.cell[:, 2]),
    "background": ("background level", 1, lambda m: m.background),
}  # fmt: skip
_WORDS = {
    "area": ("the cells are larger in pixels", "the cells are smaller in pixels"),
    "share": ("the cells fill more of the image", "the cells fill less of the image"),
    "red": ("the foreground has more red", "the foreground has less red"),
    "green": ("the foreground has more green", "the foreground has less green"),
    "blue": ("the foreground has more blue", "the foreground has less blue"),
    "background": ("the background is brighter", "the background is darker"),
}


def shift(
    trained: Measured,
    trained_labels: np.ndarray,
    asked: Measured,
    labels: np.ndarray,
    class_names: Sequence[str],
) -> dict[str, Any]:
    """Compare images with those that a run was trained on.

    Args:
        trained: Of K training images.
        trained_labels: int64 ``(K,)``.
        asked: Of N other images.
        labels: int64 ``(N,)``.
        class_names: C names.

    Returns:
        Fit for JSON: ``range`` (in words), ``images`` and ``training_images``, ``features`` (by
        name: ``title``, ``median``, ``training_median``, ``low``, ``high`` of the range,
        ``outside``, the share of the images that lie outside it, and ``differs``; or ``none``: why
        not), ``classes`` (by name the ``share`` and ``training_share``, ``missing``) and
        ``sentences``.
    """
    features = {
        name: _feature(title, _slack(name), column(trained), column(asked))
        for name, (title, _, column) in _FEATURES.items()
    }
    own, theirs = (_shares(codes, len(class_names)) for codes in (trained_labels, labels))
    classes = {
        name: {"share": theirs[code], "training_share": own[code], "missing": not theirs[code]}
        for code, name in enumerate(class_names)
    }
    told = {
        "range": f"{RANGE[0]}st to {RANGE[1]}th percentile over the {len(trained_labels)} "
        "training images",
        "images": len(labels),
        "training_images": len(trained_labels),
        "features": features,
        "classes": classes,
    }
    return {**told, "sentences": _sentences(features)}


def _feature(title: str, slack: float, trained: np.ndarray, asked: np.ndarray) -> dict[str, Any]:
    for values, what in ((trained, "training"), (asked, "these")):
        found = int(np.isfinite(values).sum())
        if found < FOUND * len(values) or not found:
            why = f"a cell could be told from the rest in {found} of {len(values)} {what} images"
            return {"title": title, "none": why}
    known, values = trained[np.isfinite(trained)], asked[np.isfinite(asked)]
    low, middle, high = np.percentile(known, (RANGE[0], 50, RANGE[1])).tolist()
    median = float(np.median(values))
    usual = OUTSIDE + 4 / (len(known) + 1)
    least, most = low - slack, high + slack
    outside = int(((values < least) | (values > most)).sum())
    return {
        "title": title,
        "median": median,
        "training_median": middle,
        "low": low,
        "high": high,
        "outside": outside / len(values),
        "differs": not least <= median <= most
        or (outside >= FEWEST and outside > usual * len(values)),
    }


def _slack(name: str) -> float:
    return 0.0 if name in ("area", "share") else LEVEL


def _shares(labels: np.ndarray, count: int) -> list[float]:
    return [float(share) for share in np.bincount(labels, minlength=count) / max(1, len(labels))]


def _sentences(features: Mapping[str, Mapping[str, Any]]) -> list[str]:
    told, differences = [], []
    apart = {name: each for name, each in features.items() if each.get("differs")}
    for name, each in apart.items():
        more, less = _WORDS[name]
        words = more if each["median"] > each["training_median"] else less
        value, usual = (f"{each[key]:,.{_FEATURES[name][1]}f}" for key in ("median",
                        "training_median"))  # fmt: skip
        differences.append(f"{words} ({value} against {usual})")
    if differences:
        told.append(f"Unlike training: {', '.join(differences)}.")
    if "area" in apart and not features["share"].get("differs", True):
        told.append(
            "As a share of the image, which is resized before the network sees it, the cells are "
            "of the usual size."
        )
    compared = [each for each in features.values() if "none" not in each]
    if apart:
        told.append(
            "Part of a difference to the run's own test figures may come from that, not from the "
            "cells' classes."
        )
    elif compared:
        told.append(
            "Size, colour and background lie where the training images' do. That does not show "
            "that the data are alike in all else."
        )
    reasons = dict.fromkeys(each["none"] for each in features.values() if "none" in each)
    return told + [f"Not compared: {why} only." for why in reasons]


def feature_rows(told: Mapping[str, Any]) -> list[list[str]]:
    """Return title, median, training's median, its range, and the share outside it, as texts.

    Args:
        told: Of :func:`shift`.
    """
    rows = []
    for name, each in told["features"].items():
        if "none" in each:
            continue
        median, usual, low, high = (
            f"{each[key]:,.{_FEATURES[name][1]}f}"
            for key in ("median", "training_median", "low", "high")
        )
        rows.append([each["title"], median, usual, f"{low} to {high}", f"{each['outside']:.0%}"])
    return rows


def format_shift(told: Mapping[str, Any]) -> str:
    """Lay the comparison out for a terminal.

    Args:
        told: Of :func:`shift`.
    """
    rows = feature_rows(told)
    head = ["beside the training images", "median", "training", "range", "outside"]
    lines = text_lines([head, *rows]) if rows else []
    if rows:
        lines.append(f"Range: {told['range']}.")
    lines += told["sentences"]
    lines.append(f"Classes: {classes_sentence(told)}.")
    return "\n".join(lines)


def classes_sentence(told: Mapping[str, Any]) -> str:
    """Return the classes with their shares, here and in training.

    Args:
        told: Of :func:`shift`.
    """
    return ", ".join(
        f"{name} {each['share']:.0%} (training {each['training_share']:.0%})"
        for name, each in told["classes"].items()
    )
