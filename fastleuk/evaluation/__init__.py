"""Metrics, predictions and pictures of a run.

:func:`subject_interval` gives any metric an interval over subjects.
"""

from fastleuk.evaluation.intervals.any_metric import subject_interval

__all__ = ["subject_interval"]
