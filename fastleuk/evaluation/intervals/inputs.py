"""Labels, scores and subjects of other programs: arrays, tables, categories and tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastleuk.data.labels.subjects import NOT_KNOWN
from fastleuk.data.manifest import MISSING
from fastleuk.errors import ConfigError, listed

_PREFIX = "p_"


@dataclass(frozen=True, eq=False, slots=True)
class Scores:
    """Probabilities of N samples, and what their container says of the columns.

    Attributes:
        probabilities: float64 ``(N, C)``.
        columns: C names in the order of the columns; of a single named column its name; None
            without names.
        predicted: N names of predicted classes; None: the most probable ones.
    """

    probabilities: np.ndarray
    columns: tuple[Any, ...] | None = None
    predicted: tuple[str, ...] | None = None


def as_array(values: Any) -> np.ndarray:
    """Return the array of numbers in anything that has one; tensors are detached and copied."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        # NumPy has no bfloat16.
        return np.asarray(values.float() if "bfloat16" in str(values.dtype) else values)
    if isinstance(values, (list, tuple)) and any(hasattr(each, "detach") for each in values):
        return np.array([as_array(each) for each in values])
    return np.asarray(values)


def as_column(values: Any) -> np.ndarray:
    """Return an array of names or numbers, in which what is missing stays so."""
    if isinstance(values, (list, tuple)):
        # As an array of strings it would have the text "nan" in place of NaN.
        values = [as_array(each).item() if hasattr(each, "detach") else each for each in values]
        found = np.empty(len(values), dtype=object)
        found[:] = values
        return found
    found = as_array(values)
    if isinstance(values, np.ma.MaskedArray):
        found = np.array(values.data, dtype=object)
        found[np.ma.getmaskarray(values)] = None
        return found
    return np.char.decode(found, "utf-8") if found.dtype.kind == "S" else found


def read_scores(given: Any) -> Scores:
    """Read probabilities ``(N, C)`` or, of two classes, ``(N,)``.

    Raises:
        ConfigError: values that are no numbers, or predictions with errors.
    """
    if hasattr(given, "class_names") and hasattr(given, "probabilities"):
        return _read_predicted(given)
    columns = _column_names(given)
    try:
        scores = as_array(given).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"probabilities: not numbers. {error}".rstrip(".") + ".") from error
    if scores.ndim == 1:
        scores = np.stack([1 - scores, scores], axis=1)
    return Scores(scores, columns)


def _read_predicted(given: Any) -> Scores:
    errors = [f"image {n}: {text}" for n, text in enumerate(given.errors) if text]
    if errors:
        raise ConfigError(
            f"probabilities: {len(errors)} of {len(given.errors)} images couldn't be predicted. "
            f"Leave these images out:\n{listed(errors)}"
        )
    names = tuple(given.class_names)
    return Scores(np.asarray(given.probabilities, np.float64), names, tuple(given.labels))


def _column_names(given: Any) -> tuple[Any, ...] | None:
    """Return the names of a table's columns, or of a single one; None without strings."""
    columns = getattr(given, "columns", None)
    found = [getattr(given, "name", None)] if columns is None else list(columns)
    names = [name for name in found if isinstance(name, str)]
    if len(names) < len(found):
        return None
    if all(name.startswith(_PREFIX) for name in names):
        names = [name.removeprefix(_PREFIX) for name in names]
    return tuple(names)


def _categories(labels: Any) -> list[Any] | None:
    """Return the order that a categorical column has; None of any other."""
    holder = labels if hasattr(labels, "categories") else getattr(labels, "cat", None)
    found = getattr(holder, "categories", None)
    return None if found is None else list(found)


def is_missing(value: Any) -> bool:
    """Return True for None, NaN, pandas' NA and NaT, and blank strings."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):  # pandas' NA is neither true nor false
        return True


def read_labels(
    labels: Any, scores: Scores, classes: Sequence[Any] | None
) -> tuple[list[Any], np.ndarray]:
    """Return the classes in the order of the columns, and each sample's code, int64 ``(N,)``.

    Raises:
        ConfigError: missing labels, strings without an order, orders that contradict each other,
            or labels of another class.
    """
    values = as_column(labels)
    if values.ndim != 1:
        raise ConfigError(f"labels: shape {values.shape}. Give one label for each sample, (N,).")
    given = values.tolist()
    _refuse_missing_labels(given, classes)
    count = scores.probabilities.shape[1] if scores.probabilities.ndim == 2 else 0
    names = _order(labels, given, scores, classes, count)
    if len(names) != count:
        raise ConfigError(
            f"The labels are of {len(names)} classes, the probabilities have {count} columns. "
            "Give classes= in the order of the columns."
        )
    places = {name: code for code, name in enumerate(names)}
    if len(places) != len(names):
        raise ConfigError(f"classes: {_names(names)} names a class twice.")
    strangers = [name for name in dict.fromkeys(given) if name not in places]
    if strangers:
        raise ConfigError(
            f"Labels that are no class: {_names(strangers)}. The columns of the probabilities are "
            f"{_names(names)}."
        )
    return names, np.array([places[name] for name in given], dtype=np.int64)


def _names(names: Sequence[Any]) -> str:
    return ", ".join(map(str, names))


def _refuse_missing_labels(given: Sequence[Any], classes: Sequence[Any] | None) -> None:
    known = set() if classes is None else set(map(str, classes))
    bad = [
        f"sample {n}: {value!r}"
        for n, value in enumerate(given)
        if is_missing(value)
        or (isinstance(value, str) and value.strip().casefold() in MISSING and value not in known)
    ]
    if bad:
        raise ConfigError(
            f"labels: {len(bad)} of {len(given)} are missing. Label these samples, or leave them "
            f"out:\n{listed(bad)}"
        )


def _order(
    labels: Any, given: list[Any], scores: Scores, classes: Sequence[Any] | None, count: int
) -> list[Any]:
    """Return the classes in the order of the columns."""
    kinds = {isinstance(value, str) for value in given}
    if len(kinds) > 1:
        raise ConfigError("labels: strings and numbers stand together. Give one or the other.")
    strings, columns = kinds == {True}, scores.columns
    named = columns is not None and len(columns) == count and not _codes(given, count)
    if classes is not None:
        asked = list(classes)
        if named and columns is not None and asked != list(columns):
            raise ConfigError(
                f"classes={asked}: the columns of the probabilities are named "
                f"{_names(columns)}. Leave classes= out, or give it in that order."
            )
        if len(asked) == count and _codes(given, count) and not set(asked) & set(given):
            return list(range(count))
        return asked
    if named and columns is not None:
        return list(columns)
    categories = _categories(labels)
    if categories is not None:
        return categories
    if _codes(given, count):
        return list(range(count))
    found = sorted(set(given))
    if not strings:
        return found
    if columns is not None and len(columns) == 1 and count == 2 and columns[0] in found:
        others = [name for name in found if name != columns[0]]
        if len(others) == 1:
            return [others[0], columns[0]]
    raise ConfigError(
        f"labels: the classes are strings ({_names(found)}), and nothing tells the order of the "
        f"probabilities' columns. Give it with classes=, such as classes={found}."
    )


def read_codes(labels: Any) -> np.ndarray:
    """Return class codes, int64 ``(N,)``.

    Raises:
        ConfigError: missing labels, or some that are no whole numbers.
    """
    values = as_column(labels)
    if values.dtype.kind not in "iub":
        given = values.tolist()
        _refuse_missing_labels(given, None)
        if not _codes(given, np.inf):
            raise ConfigError(
                "labels: not all are whole numbers. Give each class's code, its place among the "
                "columns of the probabilities from 0 on."
            )
    return values.astype(np.int64)


def _codes(given: Sequence[Any], count: float) -> bool:
    """Return True for whole numbers from 0 to C - 1."""
    try:
        return all(
            not isinstance(v, str) and float(v).is_integer() and 0 <= v < count for v in given
        )
    except (TypeError, ValueError):
        return False


def read_subjects(given: Any, size: int) -> np.ndarray:
    """Return the number of each sample's subject, int64 ``(N,)``, numbered as they come.

    Raises:
        ConfigError: not N subjects, or some that are missing or say only that they aren't known.
    """
    names = as_column(given)
    if names.dtype.kind in "OU":
        words = {n: name.strip().casefold() for n, name in enumerate(names.reshape(-1).tolist())
                 if isinstance(name, str)}  # fmt: skip
        unknown = Counter(word for word in words.values() if word in NOT_KNOWN - MISSING)
        several = [f"{word!r}: {count} samples" for word, count in unknown.items() if count > 1]
        if several:
            raise ConfigError(
                "subjects that say only that the subject isn't known: all their samples would "
                "count as one person's. Give each sample its subject, leave out these samples, "
                f"or, if this is somebody's name, write it in another way:\n{listed(several)}"
            )
        names = names.astype(object)
        names.reshape(-1)[[n for n, word in words.items() if word in MISSING]] = None
    return number_subjects(names, size)


def number_subjects(names: np.ndarray, size: int) -> np.ndarray:
    """Number subjects as they come, int64 ``(N,)``: it doesn't matter how they are called.

    Raises:
        ConfigError: not N subjects, or some that are missing.
    """
    if names.shape != (size,):
        raise ConfigError(
            f"There are {size} samples, but subjects of the shape {names.shape}: give one for each."
        )
    if names.dtype.kind in "iub":
        _, first, places = np.unique(names, return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[places.reshape(-1)]
    given = names.tolist()
    bad = [f"sample {n}: {name!r}" for n, name in enumerate(given) if is_missing(name)]
    if bad:
        raise ConfigError(
            f"subjects: {len(bad)} of {size} are missing. Fill in every subject, or give none "
            f"(subjects=None):\n{listed(bad)}"
        )
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in given], dtype=np.int64)
