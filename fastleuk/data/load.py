"""The former place of :mod:`fastleuk.data.dataset`, for code that imports from it."""

from fastleuk.data.dataset import DataSet, load_dataset

__all__ = ["DataSet", "load_dataset"]
