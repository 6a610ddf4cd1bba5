"""Tables and columns of pandas, or stand-ins with the attributes that are read, without pandas."""

from types import SimpleNamespace
from typing import Any

import numpy as np


class _NotAvailable:
    """Like ``pandas.NA``: comparisons are neither true nor false."""

    def __ne__(self, other):
        return self

    __eq__ = __ne__

    def __repr__(self):
        return "<NA>"

    __hash__ = object.__hash__

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")


NA = _NotAvailable()


class _Values:
    def __init__(self, values):
        self.values = np.asarray(values)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)

    def __iter__(self):
        return iter(self.values)


class Categorical(_Values):
    def __init__(self, values, categories=None):
        super().__init__(np.array(list(values), dtype=object))
        self.categories = sorted(set(values) - {None}) if categories is None else categories


class Series(_Values):
    def __init__(self, values, name=None):
        rows = list(values)
        column = np.empty(len(rows), dtype=object)
        column[:] = rows
        super().__init__(column)
        self.name = name
        if isinstance(values, Categorical):
            self.cat = values

    def astype(self, kind):
        if kind == "category":
            return Series(Categorical(self.values))
        return Series([NA if value != value else int(value) for value in self.values])


class DataFrame(_Values):
    def __init__(self, values, columns=None):
        super().__init__(values)
        self.columns = range(self.values.shape[1]) if columns is None else columns


def pandas_or_stand_in() -> Any:
    """Return pandas where it is installed."""
    try:
        import pandas
    except ImportError:
        return SimpleNamespace(
            Categorical=Categorical, Series=Series, DataFrame=DataFrame, NA=NA,
            NaT=np.datetime64("NaT"),
        )  # fmt: skip
    return pandas
