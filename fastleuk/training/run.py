"""The former place of :mod:`fastleuk.training.train`, for code that imports from it."""

from fastleuk.training.train import resume, train

__all__ = ["resume", "train"]
