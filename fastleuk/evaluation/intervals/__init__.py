"""Intervals over subjects: of any metric, of every figure, and of curves."""
